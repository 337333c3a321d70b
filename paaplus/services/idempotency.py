"""Requests that are carried out once: a repeated request under the same idempotency key gets the stored answer.

The row is written in the transaction of the act, so that both are committed or neither. A failed act leaves no row and
may be tried again under the same key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.tables import ApiKeyRow, IdempotencyRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import Conflict, InvalidInput
from paaplus.ids import sha256_hex

KEPT: Final = timedelta(hours=24)
_KEY = re.compile(r"[!-~]{1,128}")


@dataclass(frozen=True, slots=True)
class Once:
    """A request with an idempotency key.

    Args:
        actor: who asks; a key is valid for one actor.
        key: chosen by the caller, one per act.
        request_sha256: digest of everything that the request says.
    """

    actor: str
    key: str
    request_sha256: str

    @classmethod
    def of(cls, actor: str, key: str, *parts: bytes) -> Once:
        """A request whose content is `parts`.

        Raises:
            InvalidInput: the key is not 1 to 128 visible ASCII characters.
        """
        if not _KEY.fullmatch(key):
            raise InvalidInput(f"idempotency key {key[:130]!r}: 1 to 128 visible ASCII characters")
        return cls(actor, key, sha256_hex(b"".join(len(part).to_bytes(8, "big") + part for part in parts)))


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """The answer of an act that was carried out. `body`: None if it contained a secret, which is not stored."""

    status_code: int
    body: bytes | None


def begin(session: Session, once: Once) -> StoredAnswer | None:
    """Start an act in its transaction; returns the stored answer if the act was carried out already.

    If another transaction carries out the same act at this moment, waits for its end.

    Raises:
        Conflict: the key was used for another request.
    """
    now = db_now(session)
    session.execute(sa.delete(IdempotencyRow).where(IdempotencyRow.expires_at <= now))
    row = {
        "actor": once.actor,
        "key": once.key,
        "request_sha256": once.request_sha256,
        "created_at": now,
        "expires_at": now + KEPT,
    }
    insert_ignoring_conflicts(session, IdempotencyRow, [row])
    found = session.get_one(IdempotencyRow, (once.actor, once.key), populate_existing=True)
    return _answer(found, once)


def find(session: Session, once: Once) -> StoredAnswer | None:
    """The stored answer of an act that was carried out; None: there is none. For acts that read much before they write.

    Raises:
        Conflict: the key was used for another request.
    """
    found = session.get(IdempotencyRow, (once.actor, once.key))
    if found is None or found.expires_at <= db_now(session):
        return None
    return _answer(found, once)


def _answer(found: IdempotencyRow, once: Once) -> StoredAnswer | None:
    if found.request_sha256 != once.request_sha256:
        raise Conflict(f"idempotency key {once.key!r} was used for another request at {found.created_at.isoformat()}")
    return StoredAnswer(found.status_code, found.answer) if found.status_code is not None else None


def finish(session: Session, once: Once, status_code: int, body: bytes | None) -> None:
    """Store the answer of the act, in its transaction.

    Args:
        body: None: it contains a secret.
    """
    row = session.get_one(IdempotencyRow, (once.actor, once.key))
    row.status_code, row.answer = status_code, body
    session.flush()


def forget(session: Session, application: str) -> None:
    """Before a user is erased: delete all answers that may contain the user's data."""
    keys = session.execute(
        sa.select(ApiKeyRow.id).where(sa.or_(ApiKeyRow.application == application, ApiKeyRow.scope == KeyScope.ADMIN))
    ).scalars()
    actors = [f"key:{key_id}" for key_id in keys]
    session.execute(
        sa.delete(IdempotencyRow).where(
            sa.or_(IdempotencyRow.actor.in_(actors), IdempotencyRow.actor.not_like("key:%"))
        )
    )
