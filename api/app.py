"""The FastAPI application: `create_app(settings)`, and `app` for `uvicorn paaplus.api.app:app`."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, TypeVar

from fastapi import FastAPI
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute

from paaplus import garbage, logs
from paaplus.api import errors, openapi
from paaplus.api.dependencies import ApiContext
from paaplus.api.direct import DirectMiddleware
from paaplus.api.fairness import FairnessMiddleware
from paaplus.api.metrics import Metrics
from paaplus.api.middleware import METHODS, RequestMiddleware
from paaplus.api.nouns import AT_START, Nouns
from paaplus.api.path_prefix import PathPrefixMiddleware
from paaplus.api.places import Places
from paaplus.api.scrapes import Scrapes
from paaplus.api.threads import Threads
from paaplus.api.waiting import OneAtATime, Streams, Turns, Waiter, Workshop
from paaplus.db.engine import Database, Waits
from paaplus.db.migrate import require_head
from paaplus.services import events as events_service
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.operations.readiness import Readiness
from paaplus.services.predictions.audiences import Audiences
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users import users as users_service
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.services.users.keys import KeyRing
from paaplus.services.users.rate_limits import RateLimiter
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore
from paaplus.studio import door

T = TypeVar("T")
R = TypeVar("R")
NUM_MAKING_THUMBNAILS = 2  # at once: each decodes a whole picture
MAX_WAITING_THUMBNAILS = 200  # requests: a page of them
MAX_WAITING_AUDIENCES = 100  # requests; one is scored at a time

DESCRIPTION = """
Personal image scores: send feedback, ask for scores, roll a user back to an earlier version.

Scores and ratings are given per *aspect*. Scores are between 0 and 10; a rating brings its own scale. A user is named
by the platform's UUID or by the application's `external_id`. Every path under `/v1` needs an API key.
"""


class _Application(FastAPI):
    """Its `routes` are all that there are; its router has those of the nouns that are loaded."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.nouns = Nouns(self.router)

    @property
    def routes(self) -> list[BaseRoute]:
        self.nouns.load_all()
        return super().routes


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the application. It opens the database when it starts, and refuses a database of another schema."""
    settings = settings or get_settings()
    logs.configure(settings.log_level)  # before uvicorn says that it has started

    app = _Application(
        title="paaplus",
        version=version("paaplus"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,  # a redirect names this process's host, and clients drop their key on it
    )
    app.state.settings = settings
    app.add_middleware(DirectMiddleware, routes=app.nouns.direct, load_for=app.nouns.load_for)  # innermost
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=sorted(METHODS - {"HEAD", "OPTIONS"}),
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "Idempotent-Replayed"],
            max_age=600,
        )
    app.add_middleware(FairnessMiddleware)
    app.add_middleware(RequestMiddleware)
    app.add_middleware(PathPrefixMiddleware, prefix=settings.root_path)  # outermost: all others see its paths
    errors.install(app)
    openapi.install(app)
    if find_spec("jinja2") is not None:  # the extra `studio`; first, as routes are tried in order
        app.router.routes.append(door.home())
        app.mount("/studio", door.Studio())
    app.nouns.add(AT_START)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what requests need, by `app.state.settings`, and close it at the end."""
    settings: Settings = app.state.settings
    # uvicorn's access log has whole paths, and paths contain the applications' names of users
    logging.getLogger("uvicorn.access").disabled = True
    waits = Waits(settings.lock_timeout_s, settings.statement_timeout_s, settings.pool_timeout_s)
    database = Database(settings.resolved_database_url, waits)
    garbage.leave_out_what_is_there()
    writer: FeedbackWriter | None = None
    threads: Threads | None = None
    try:
        require_head(database.engine)
        blobs = BlobStore(settings.resolved_storage_url)
        predictor = Predictor(database, blobs, settings)
        with suppress(OperationalError):  # a full disk, for example: the first receipt tries again
            predictor.prepare()
        app.state.context = ApiContext(
            settings=settings,
            database=database,
            blobs=blobs,
            keys=KeyRing(database),
            allowances=RateLimiter(database, settings),
            feedback=(writer := FeedbackWriter(database, settings)),
            predictor=predictor,
            audiences=Audiences(database, predictor, settings),
            audience_turns=Workshop(1, MAX_WAITING_AUDIENCES, "too many audiences are being scored"),
            metrics=(metrics := Metrics(database, settings)),
            scrapes=Scrapes(metrics.render),
            failures=FailedAttempts(settings.failed_attempts_per_minute),
            readiness=Readiness(database, blobs),
            features=Waiter(predictor.still_missing, settings.max_waiting_per_key),
            trainings=Waiter(partial(_read, database, users_service.untrained), settings.max_waiting_per_key),
            news=Waiter(partial(_read, database, events_service.without_newer), settings.max_streams_per_key),
            streams=Streams(settings.max_streams_per_key),
            turns=Turns(settings.max_changes_per_user),
            places=Places(settings.requests_at_once, settings.max_queued_per_caller, settings.max_queued_s),
            exports=OneAtATime("an export of this key is being written"),
            threads=(threads := Threads()),
            thumbnails=Workshop(NUM_MAKING_THUMBNAILS, MAX_WAITING_THUMBNAILS, "too many thumbnails are being made"),
        )
        metrics.watch_caches({**app.state.context.predictor.store.caches, "audiences": app.state.context.audiences})
        yield
    finally:
        if threads is not None:
            threads.close()
        if writer is not None:
            writer.close()
        database.dispose()


def _read(database: Database, query: Callable[[Session, T], R], wanted: T) -> R:
    with database.read_session() as session:
        return query(session, wanted)


def __getattr__(name: str) -> Any:
    """Build `app` at its first use: importing this module reads no settings."""
    if name == "app":
        return create_app()
    raise AttributeError(name)
