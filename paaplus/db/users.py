"""Rows of users that must exist."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session
from sqlalchemy.orm.util import identity_key

from paaplus.db.locks import lock_user
from paaplus.db.tables import UserRow
from paaplus.errors import NotFound


def existing_user(session: Session, user_id: UUID) -> UserRow:
    """The user's row.

    Raises:
        NotFound: no such user.
    """
    return _required(session.get(UserRow, user_id), user_id)


def locked_user(session: Session, user_id: UUID) -> UserRow:
    """The user's row, locked by `lock_user`.

    Raises:
        NotFound: no such user.
    """
    return _required(lock_user(session, user_id), user_id)


def loaded_user(session: Session, user_id: UUID) -> UserRow | None:
    """The row, if the session has read it: what the driver writes must be told to it."""
    return session.identity_map.get(identity_key(UserRow, user_id)) if session.identity_map else None


def _required(user: UserRow | None, user_id: UUID) -> UserRow:
    if user is None:
        raise NotFound(f"user {user_id} does not exist")
    return user
