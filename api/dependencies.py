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

from paaplus.api.metrics import Metrics
from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import Forbidden, Unauthenticated
from paaplus.services.feedback.writer import FeedbackWriter
from paaplus.services.predictions.predict import Predictor
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
    metrics: Metrics


async def get_context(request: Request) -> ApiContext:
    return cast(ApiContext, request.app.state.context)


Context = Annotated[ApiContext, Depends(get_context)]


def get_read_session(context: Context) -> Iterator[Session]:
    with context.database.read_session() as session:
        yield session


def get_session(context: Context) -> Iterator[Session]:
    """A transaction that is committed before the answer goes out (`scope="function"`).

    Only endpoints may use it, not other dependencies. Its first statement takes SQLite's write lock. While it holds
    the lock it must not wait for a free thread, because the threads may wait for the lock.
    """
    with context.database.session() as session:
        yield session


ReadSession = Annotated[Session, Depends(get_read_session, scope="function")]
WriteSession = Annotated[Session, Depends(get_session, scope="function")]

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="Create one with `paaplus keys create`.")


class OpensTo:
    """Accepts keys of these scopes."""

    def __init__(self, *scopes: KeyScope) -> None:
        self.scopes: Final = frozenset(scopes)

    async def __call__(
        self, context: Context, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Principal:
        if credentials is None:
            raise Unauthenticated("an API key is needed: send the header 'Authorization: Bearer KEY'")
        token = credentials.credentials
        principal = context.keys.cached(token)
        if principal is None:
            principal = await run_in_threadpool(context.keys.authenticate, token)
        structlog.contextvars.bind_contextvars(key_id=str(principal.key_id))
        if principal.scope not in self.scopes:
            needed = ", ".join(sorted(self.scopes))
            raise Forbidden(f"a key of scope {principal.scope.value!r} may not do this; needed: {needed}")
        if not context.allowances.spend_reserved(principal, RateLimitKind.REQUESTS):
            await run_in_threadpool(context.allowances.spend, principal, RateLimitKind.REQUESTS)
        return principal


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
VersionPath = Annotated[int, Path(ge=0, le=2**31 - 1, description="Number of the adapter version.", examples=[1])]
Limit = Annotated[int, Query(ge=1, le=200, description="Maximum number of items per page.")]
Cursor = Annotated[UUID | None, Query(description="`next_cursor` of the previous page.")]
