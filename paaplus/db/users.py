"""The row of a user who has to exist."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from paaplus.db.locks import lock_user
from paaplus.db.tables import UserRow
from paaplus.errors import NotFound


def existing_user(session: Session, user_id: UUID) -> UserRow:
    """Raises NotFound if there is none."""
    return _there(session.get(UserRow, user_id), user_id)


def locked_user(session: Session, user_id: UUID) -> UserRow:
    """As `lock_user` gives it; raises NotFound if there is none."""
    return _there(lock_user(session, user_id), user_id)


def _there(user: UserRow | None, user_id: UUID) -> UserRow:
    if user is None:
        raise NotFound(f"user {user_id} does not exist")
    return user
