"""The FastAPI application: `create_app(settings)`, and `app` for `uvicorn paaplus.api.app:app`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI

from paaplus import logs
from paaplus.api import (
    adapters,
    anchors,
    audit,
    base_models,
    errors,
    experts,
    exposure,
    feedback,
    health,
    images,
    jobs,
    keys,
    maps,
    matches,
    predictions,
    preferences,
    quizzes,
    reviews,
    surveys,
    tools,
    users,
)
from paaplus.api.body_limit import BodyLimitMiddleware
from paaplus.api.dependencies import ApiContext
from paaplus.api.metrics import Metrics
from paaplus.api.middleware import RequestMiddleware
from paaplus.api.schemas.common import ErrorOut
from paaplus.db.engine import Database
from paaplus.db.migrate import require_head
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.keys import KeyRing
from paaplus.services.users.rate_limits import RateLimiter
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore

SMALL_BODY_BYTES = 64 * 2**10
BATCH_BODY_BYTES = 8 * 2**20  # 10,000 predictions, or 1,000 events with everything in them
SURVEY_BODY_BYTES = 2**20  # the longest form that is one
MULTIPART_OVERHEAD_BYTES = 16 * 2**10

DESCRIPTION = """
One judge of taste per user: send feedback, ask for scores, roll back what went wrong.

Scores and ratings are by *aspect*; scores run from 0 to 10, ratings carry their own scale. A user is named by the
platform's UUID or by the application's own `external_id`. Everything under `/v1` needs an API key.
"""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": description}
    for status, description in {
        400: "The request cannot be right.",
        401: "No key, or one that is unknown or revoked.",
        403: "The key does not open this.",
        404: "There is no such thing, or not for this key.",
        409: "The request contradicts what is recorded.",
        413: "More than is accepted at once.",
        422: "The request does not fit its schema.",
        429: "The key, or the user, has had its share for now; `Retry-After` says when there is more.",
        503: "Something that is needed is away; try again.",
    }.items()
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """The application. Doors open when it starts, and it does not start on a database of another version."""
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.log_level)
        # uvicorn's own lines hold whole paths, and paths hold the names that applications give their users
        logging.getLogger("uvicorn.access").disabled = True
        database = Database(settings.resolved_database_url)
        try:
            require_head(database.engine)
            blobs = BlobStore(settings.resolved_storage_url)
            app.state.context = ApiContext(
                settings=settings,
                database=database,
                blobs=blobs,
                keys=KeyRing(database),
                allowances=RateLimiter(database, settings),
                predictor=Predictor(database, blobs, settings),
                metrics=Metrics(database, settings),
            )
            yield
        finally:
            database.dispose()

    app = FastAPI(
        title="paaplus",
        version=version("paaplus"),
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    limits = {
        "/v1/images": settings.max_upload_bytes + MULTIPART_OVERHEAD_BYTES,
        "/v1/feedback": BATCH_BODY_BYTES,
        "/v1/predictions": BATCH_BODY_BYTES,
        "/v1/pseudo-labels": BATCH_BODY_BYTES,
        "/v1/pseudo-labels/precomputed": BATCH_BODY_BYTES,
        "/v1/review-batches": BATCH_BODY_BYTES,
        "/v1/surveys": SURVEY_BODY_BYTES,
    }
    app.add_middleware(BodyLimitMiddleware, limits=limits, default=SMALL_BODY_BYTES)
    app.add_middleware(RequestMiddleware)  # outermost: what is refused by the one above is counted too
    errors.install(app)
    app.include_router(health.router)
    for noun in (
        users,
        images,
        maps,
        exposure,
        feedback,
        predictions,
        anchors,
        adapters,
        jobs,
        base_models,
        keys,
        audit,
        experts,
        quizzes,
        matches,
        surveys,
        preferences,
        tools,
        reviews,
    ):
        app.include_router(noun.router, responses=ERRORS)
    return app


def __getattr__(name: str) -> Any:
    """`app`, made when it is asked for: importing this module reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
