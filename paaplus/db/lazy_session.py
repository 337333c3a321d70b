"""A session in a connection's transaction that may not be needed."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session


class LazySession:
    """A session in the caller's transaction, made when it is first needed: most calls find everything in the caches."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._session: Session | None = None

    def get(self) -> Session:
        if self._session is None:
            self._session = Session(bind=self._connection)
        return self._session

    def __enter__(self) -> LazySession:
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()
