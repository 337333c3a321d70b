"""Dependencies of the routes: the process's context, a transaction, and the caller's API key.

Every route declares its callers with exactly one of the keys below (`UserKey`, `ApplicationKey` ...) or `Public`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final, cast
from uuid import UUID

import structlog
from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from paaplus.api.metrics import Metrics
from paaplus.api.middleware import HEADERS_KEY
from paaplus.api.places import Places
from paaplus.api.schemas.common import WholeText
from paaplus.api.scrapes import Scrapes
from paaplus.api.threads import Threads
from paaplus.api.waiting import OneAtATime, Streams, Turns, Waiter, Workshop
from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import Conflict, Forbidden, Unauthenticated
from paaplus.services import idempotency
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.idempotency import Once
from paaplus.services.operations.readiness import Readiness
from paaplus.services.predictions.audiences import Audiences
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users.failed_attempts import FailedAttempts
from paaplus.services.users.keys import KeyRing, Principal
from paaplus.services.users.rate_limits import RateLimiter, RateLimitKind
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


@dataclass(frozen=True)
class ApiContext:
    """One API process's connections and caches."""

    settings: Settings
    database: Database
    blobs: BlobStore
    keys: KeyRing
    allowances: RateLimiter
    feedback: FeedbackWriter
    predictor: Predictor
    audiences: Audiences
    metrics: Metrics
    scrapes: Scrapes
    failures: FailedAttempts
    readiness: Readiness
    features: Waiter[UUID]
    trainings: Waiter[tuple[UUID, int]]  # users, and the sequence up to which they wait to be trained
    news: Waiter[tuple[UUID, UUID]]  # users, and the last of their events that was seen
    streams: Streams
    turns: Turns
    places: Places
    exports: OneAtATime
    thumbnails: Workshop
    threads: Threads
    audience_turns: Workshop


async def get_context(request: Request) -> ApiContext:
    return cast(ApiContext, request.app.state.context)


Context = Annotated[ApiContext, Depends(get_context)]


def get_read_session(context: Context) -> Iterator[Session]:
    with context.database.read_session() as session:
        yield session


class CarriedOut(Exception):
    """The request was carried out before, under the same idempotency key."""

    def __init__(self, answer: idempotency.StoredAnswer) -> None:
        super().__init__()
        self.response = Response(
            answer.body,
            answer.status_code,
            media_type="application/json",
            headers={"Idempotent-Replayed": "true"},
        )


def begin_once(session: Session, once: Once) -> None:
    """Begin an act in its transaction.

    Raises:
        CarriedOut: it was carried out already; its answer is given again.
        Conflict: it was carried out already, and its answer contained a secret; or the key was used for another act.
    """
    _give_again(idempotency.begin(session, once), once)


def give_again(database: Database, once: Once | None) -> None:
    """Give the stored answer of an act again, before anything is read for it. Raises as `begin_once`."""
    if once is not None:
        with database.read_session() as session:
            _give_again(idempotency.find(session, once), once)


def _give_again(answer: idempotency.StoredAnswer | None, once: Once) -> None:
    if answer is None:
        return
    if answer.body is None:
        raise Conflict(
            f"this act was carried out under idempotency key {once.key!r} already; its answer contained a secret, "
            "which is not stored"
        )
    raise CarriedOut(answer)


def get_once(request: Request) -> Once | None:
    return cast(Once | None, request.state.once)


IdempotencyKey = Annotated[Once | None, Depends(get_once)]


def get_session(context: Context, request: Request) -> Iterator[Session]:
    """A transaction that is committed before the answer goes out (`scope="function"`).

    Under an idempotency key it begins by looking for the answer of the same act; `api/routing.py` stores the answer at
    its end.

    Only endpoints may use it, not other dependencies. Its first statement takes SQLite's write lock. While it holds
    the lock it must not wait for a free thread, because the threads may wait for the lock.
    """
    once: Once | None = getattr(request.state, "once", None)
    with context.database.session() as session:
        if once is not None:
            begin_once(session, once)
            request.state.write_session = session
        yield session


ReadSession = Annotated[Session, Depends(get_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(get_session, scope="function")]

_bearer = HTTPBearer(auto_error=False, scheme_name="ApiKey", description="Create one with `paaplus keys create`.")


class OpensTo:
    """Accepts keys of these scopes."""

    def __init__(self, *scopes: KeyScope) -> None:
        self.scopes: Final = frozenset(scopes)

    async def __call__(
        self, request: Request, _documented: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        return cast(Principal, request.state.principal)  # `api/routing.py` has checked it, before it read the body

    async def check(self, context: ApiContext, request: Request) -> Principal:
        """The owner of the request's key, from the headers alone.

        Raises:
            Unauthenticated: no key, or it is unknown or revoked.
            Forbidden: the key is of another scope.
            TooMany: the key's rate limit, or the address's limit of failed attempts, is reached.
        """
        address = request.client.host if request.client is not None else ""
        try:
            token = _token(request)
        except Unauthenticated:
            context.failures.require_room(address, "")
            context.failures.count(address)
            raise
        principal = context.keys.cached(token)
        if principal is None:
            context.failures.require_room(address, token)
            try:
                context.keys.refuse_known_wrong(token)  # here, because a thread costs more than all the rest
                principal = await run_in_threadpool(context.keys.authenticate, token)
            except Unauthenticated:
                context.failures.count(address)
                raise
            context.failures.remember(token)
        structlog.contextvars.bind_contextvars(key_id=str(principal.key_id))
        if principal.scope not in self.scopes:
            needed = ", ".join(sorted(self.scopes))
            raise Forbidden(f"a key of scope {principal.scope.value!r} may not do this; needed: {needed}")
        try:
            if not context.allowances.spend_reserved(principal, RateLimitKind.REQUESTS):
                await run_in_threadpool(context.allowances.spend, principal, RateLimitKind.REQUESTS)
        finally:
            request.scope[HEADERS_KEY] = context.allowances.headers(principal)
        return principal


def _token(request: Request) -> str:
    given = request.headers.getlist("authorization")
    if len(given) > 1:
        raise Unauthenticated(f"{len(given)} headers 'Authorization' are given; one is needed")
    scheme, _, token = (given[0] if given else "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("an API key is needed: send the header 'Authorization: Bearer KEY'")
    return token.strip()


class OpenToAll:
    """Accepts everybody, without a key."""

    scopes: Final = frozenset[KeyScope]()

    async def __call__(self) -> None:
        return None


UserKey = Annotated[Principal, Depends(OpensTo(KeyScope.USER, KeyScope.APPLICATION, KeyScope.ADMIN))]
PersonKey = Annotated[Principal, Depends(OpensTo(*KeyScope))]  # experts answer surveys too
ApplicationKey = Annotated[Principal, Depends(OpensTo(KeyScope.APPLICATION, KeyScope.ADMIN))]
ExpertOrApplicationKey = Annotated[Principal, Depends(OpensTo(KeyScope.EXPERT, KeyScope.APPLICATION, KeyScope.ADMIN))]
ExpertKey = Annotated[Principal, Depends(OpensTo(KeyScope.EXPERT))]
AdminKey = Annotated[Principal, Depends(OpensTo(KeyScope.ADMIN))]
Public = Depends(OpenToAll())

UserPath = Annotated[
    str,
    Path(
        max_length=256,
        description="The platform's UUID of the user, or the application's external id.",
        examples=["ada"],
    ),
]
VersionPath = Annotated[WholeText, Path(ge=0, le=2**31 - 1, description="Number of the adapter version.", examples=[1])]
LIMIT_MAX: Final = 200
Limit = Annotated[WholeText, Query(ge=1, le=LIMIT_MAX, description="Maximum number of items per page.")]
