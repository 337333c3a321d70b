"""The FastAPI application: `create_app(settings)`, and `app` for `uvicorn paaplus.api.app:app`."""

from __future__ import annotations

import gc
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
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.keys import KeyRing
from paaplus.services.users.rate_limits import RateLimiter
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore

SMALL_BODY_BYTES = 64 * 2**10
BATCH_BODY_BYTES = 8 * 2**20  # 10,000 predictions, or 1,000 events with all fields
SURVEY_BODY_BYTES = 2**20  # the longest valid form
MULTIPART_OVERHEAD_BYTES = 16 * 2**10
GC_THRESHOLDS = (50_000, 20, 100)  # a large batch makes thousands of objects, and nearly none are in circles

DESCRIPTION = """
Personal image scores: send feedback, ask for scores, roll a user back to an earlier version.

Scores and ratings are given per *aspect*. Scores are between 0 and 10; a rating brings its own scale. A user is named
by the platform's UUID or by the application's `external_id`. Every path under `/v1` needs an API key.
"""


ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorOut, "description": description}
    for status, description in {
        400: "The request is wrong.",
        401: "The key is missing, unknown or revoked.",
        403: "The key may not do this.",
        404: "It does not exist, or the key may not see it.",
        409: "The request contradicts what is stored.",
        413: "The request is too large.",
        422: "The request does not fit its schema.",
        429: "The rate limit of the key or of the user is reached; `Retry-After` says when to try again.",
        503: "The database or the storage does not answer; try again.",
    }.items()
}


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. It opens the database when it starts, and refuses a database of another schema."""
    settings = settings or get_settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        logs.configure(settings.log_level)
        # uvicorn's access log has whole paths, and paths contain the applications' names of users
        logging.getLogger("uvicorn.access").disabled = True
        # What workers commit can be computed again from the log, so only this process waits for the disk.
        database = Database(settings.resolved_database_url, synchronous=settings.sqlite_synchronous)
        if not gc.get_freeze_count():  # once in a process
            gc.freeze()  # the garbage collector need not look at what was imported, again and again
            gc.set_threshold(*GC_THRESHOLDS)
        writer: FeedbackWriter | None = None
        try:
            require_head(database.engine)
            blobs = BlobStore(settings.resolved_storage_url)
            app.state.context = ApiContext(
                settings=settings,
                database=database,
                blobs=blobs,
                keys=KeyRing(database),
                allowances=RateLimiter(database, settings),
                feedback=(writer := FeedbackWriter(database, settings)),
                predictor=Predictor(database, blobs, settings),
                metrics=Metrics(database, settings),
            )
            app.state.context.metrics.watch_caches(app.state.context.predictor.store.caches)
            yield
        finally:
            if writer is not None:
                writer.close()
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
    app.add_middleware(RequestMiddleware)  # outermost: it also counts the requests that the body limit refuses
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
    """Build `app` at its first use: importing this module reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
