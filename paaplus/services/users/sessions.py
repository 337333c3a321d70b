"""Browser sessions of the studio: a browser that has the access of an API key, and one-time links that open one.

A session's secret is in a cookie; only its SHA-256 is stored. The secret is replaced every few minutes. A session ends
when its key is revoked, when its user is erased, when it was idle for too long, and at the latest after a day.
"""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ApiKeyRow, BrowserSessionRow, UserRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.types import utcnow
from paaplus.errors import Forbidden, Unauthenticated
from paaplus.ids import new_id, sha256_hex
from paaplus.services import audit
from paaplus.services.users import keys, users
from paaplus.services.users.keys import Principal

LONGEST: Final = timedelta(hours=24)
IDLE: Final = timedelta(hours=4)
LINK_LASTS: Final = timedelta(hours=1)
INVITATION_LASTS: Final = timedelta(days=7)
ROTATED_AFTER: Final = timedelta(minutes=15)
GRACE: Final = timedelta(minutes=1)  # requests that were on their way at a rotation bring the old secret
USED_EVERY: Final = timedelta(minutes=1)  # how exactly `used_at` is known: not every request writes
OPERATOR_KEY: Final = "studio on this machine"
BROWSER_KEY: Final = "studio"
COOKIE: Final = "paaplus_studio"


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """A session that is open.

    Attributes:
        principal: the owner of the key that the session was opened with.
        person: whose pages are shown; None: nobody's (an admin or an application has chosen no user).
        form_token: every change must bring it, so that another site's form cannot make one.
        is_stale: the secret should be replaced.
        is_unnoted: the use of the session should be written down again.
    """

    id: UUID
    principal: Principal
    person: Principal | None
    form_token: str
    is_stale: bool
    is_unnoted: bool


def open_for(session: Session, key_id: UUID) -> str:
    """Open a session with the access of a key; returns its secret.

    Raises:
        Unauthenticated: the key is revoked or unknown.
    """
    _principal(session, key_id)
    _delete_ended(session)
    now = utcnow()
    return _new_row(session, key_id, now, now + LONGEST, opened_at=now)


def make_link(session: Session, key_id: UUID, lasts: timedelta = LINK_LASTS) -> str:
    """The code of a link that opens one session with the access of a key, once.

    Raises:
        Unauthenticated: the key is revoked or unknown.
    """
    _principal(session, key_id)
    _delete_ended(session)
    now = utcnow()
    return _new_row(session, key_id, now, now + lasts, opened_at=None)


def operator_link(session: Session) -> str:
    """The code of a one-time link with an admin's access, for the operator of this machine.

    The sessions of such links have one key of their own, which is listed and can be revoked as every other. Nobody
    knows its secret.
    """
    query = sa.select(ApiKeyRow.id).where(
        ApiKeyRow.name == OPERATOR_KEY, ApiKeyRow.scope == KeyScope.ADMIN, ApiKeyRow.revoked_at.is_(None)
    )
    key_id = session.execute(query.order_by(ApiKeyRow.id).limit(1)).scalar_one_or_none()
    if key_id is None:
        key_id = keys.create(session, name=OPERATOR_KEY, scope=KeyScope.ADMIN, actor=keys.OPERATOR.actor).row.id
        session.flush()
    return make_link(session, key_id)


def invite(session: Session, user_id: UUID, *, actor: str, as_expert: bool = False) -> str:
    """The code of a one-time link with this user's access only; `as_expert`: the access of an expert's key instead.

    Raises:
        NotFound: no such user.
    """
    scope = KeyScope.EXPERT if as_expert else KeyScope.USER
    created = keys.create(session, name=BROWSER_KEY, scope=scope, user_id=user_id, actor=actor)
    session.flush()
    return make_link(session, created.row.id, INVITATION_LASTS)


def invite_here(session: Session, user_id: UUID, *, name: str, actor: str) -> tuple[UUID, str, str]:
    """A one-time link with this user's access only, for whoever is at this machine.

    Keys of former such links, whose sessions have ended, are revoked.

    Returns:
        The id of the key that the session will have, the key's secret, and the code of the link.

    Raises:
        NotFound: no such user.
    """
    _delete_ended(session)
    in_use = sa.exists().where(BrowserSessionRow.key_id == ApiKeyRow.id, BrowserSessionRow.used_at > utcnow() - IDLE)
    query = sa.select(ApiKeyRow.id).where(
        ApiKeyRow.name == name, ApiKeyRow.user_id == user_id, ApiKeyRow.revoked_at.is_(None), ~in_use
    )
    for key_id in session.execute(query).scalars().all():
        keys.revoke(session, key_id, actor=actor)
    created = keys.create(session, name=name, scope=KeyScope.USER, user_id=user_id, actor=actor)
    session.flush()
    return created.row.id, created.token, make_link(session, created.row.id)


def use_link(session: Session, code: str) -> str:
    """Open the session of a one-time link; returns the session's secret. The link is used up.

    Raises:
        Unauthenticated: the link is unknown, was used already, or has expired.
    """
    now = utcnow()
    query = sa.select(BrowserSessionRow).where(
        BrowserSessionRow.secret_sha256 == sha256_hex(code.encode()),
        BrowserSessionRow.opened_at.is_(None),
        BrowserSessionRow.expires_at > now,
    )
    row = session.execute(query.with_for_update()).scalar_one_or_none()
    if row is None:
        raise Unauthenticated("this link is unknown, was used already, or has expired")
    _principal(session, row.key_id)
    secret = _new_secret()
    row.secret_sha256, row.opened_at, row.rotated_at, row.used_at = sha256_hex(secret.encode()), now, now, now
    row.expires_at = now + LONGEST
    audit.record(session, actor=f"key:{row.key_id}", action="browser_link_used", subject_id=row.key_id)
    return secret


def read(session: Session, secret: str) -> BrowserSession:
    """The open session of a secret.

    Raises:
        Unauthenticated: there is none, or it has ended.
    """
    row = _row(session, secret)
    principal = _principal(session, row.key_id)
    now = utcnow()
    is_current = row.secret_sha256 == sha256_hex(secret.encode())
    return BrowserSession(
        row.id,
        principal,
        _person(session, row, principal),
        row.form_token,
        is_stale=is_current and (row.rotated_at or row.created_at) + ROTATED_AFTER <= now,
        is_unnoted=row.used_at + USED_EVERY <= now,
    )


def touch(session: Session, secret: str, *, rotate: bool) -> str | None:
    """Write down that the session was used; with `rotate`, replace its secret and return the new one.

    Raises:
        Unauthenticated: the session has ended.
    """
    row = _row(session, secret)
    row.used_at = utcnow()
    if not rotate or row.secret_sha256 != sha256_hex(secret.encode()):  # another request has replaced it already
        return None
    return _replace_secret(row)


def act_as(session: Session, secret: str, user: str) -> str:
    """Show the pages of a user that the session's principal may see; returns the session's new secret.

    A new one, so that no process answers the next request from what it has cached.

    Raises:
        Unauthenticated: the session has ended.
        Forbidden: the session is of one user already.
        NotFound: no such user for this principal.
    """
    row = _row(session, secret)
    principal = _principal(session, row.key_id)
    if principal.user_id is not None:
        raise Forbidden("this session is of one user only")
    row.acting_user_id = users.resolve(session, principal, user).id
    return _replace_secret(row)


def _replace_secret(row: BrowserSessionRow) -> str:
    new = _new_secret()
    row.secret_sha256, row.previous_sha256, row.rotated_at = sha256_hex(new.encode()), row.secret_sha256, utcnow()
    return new


def close(session: Session, secret: str) -> None:
    """End a session. Repeating it changes nothing."""
    digest = sha256_hex(secret.encode())
    session.execute(
        sa.delete(BrowserSessionRow).where(
            sa.or_(BrowserSessionRow.secret_sha256 == digest, BrowserSessionRow.previous_sha256 == digest)
        )
    )


class SessionRing:
    """Reads sessions with a short cache, so that a page of thumbnails does not need a query for each.

    Like a revoked key, a session that has ended may work for `keys.CACHE_S` more in other processes.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, BrowserSession]] = {}
        self._lock = threading.Lock()

    def cached(self, secret: str) -> BrowserSession | None:
        """The cached session of a secret; None: it is not cached, or its entry has expired."""
        with self._lock:
            known = self._known.get(sha256_hex(secret.encode()))
        return known[1] if known is not None and known[0] > time.monotonic() else None

    def read(self, database: Database, secret: str) -> BrowserSession:
        """The open session of a secret.

        Raises:
            Unauthenticated: there is none, or it has ended.
        """
        if (known := self.cached(secret)) is not None:
            return known
        digest = sha256_hex(secret.encode())
        expires = time.monotonic() + keys.CACHE_S  # counted from before the query, so it never lasts longer
        with database.read_session() as session:
            found = read(session, secret)
        with self._lock:
            if len(self._known) >= keys.CACHE_SIZE:
                self._known.clear()
            self._known[digest] = (expires, found)
        return found

    def forget(self) -> None:
        """Empty the cache, after a session has changed."""
        with self._lock:
            self._known.clear()


def _row(session: Session, secret: str) -> BrowserSessionRow:
    now, digest = utcnow(), sha256_hex(secret.encode())
    row = session.execute(
        sa.select(BrowserSessionRow).where(
            sa.or_(
                BrowserSessionRow.secret_sha256 == digest,
                sa.and_(BrowserSessionRow.previous_sha256 == digest, BrowserSessionRow.rotated_at > now - GRACE),
            ),
            BrowserSessionRow.opened_at.is_not(None),
            BrowserSessionRow.expires_at > now,
            BrowserSessionRow.used_at > now - IDLE,
        )
    ).scalar_one_or_none()
    if row is None:
        raise Unauthenticated("the session has ended: sign in again")
    return row


def _principal(session: Session, key_id: UUID) -> Principal:
    row = session.get(ApiKeyRow, key_id)
    if row is None or row.revoked_at is not None:
        raise Unauthenticated("the key of this session is revoked")
    return Principal(row.name, row.scope, row.id, row.application, row.user_id)


def _person(session: Session, row: BrowserSessionRow, principal: Principal) -> Principal | None:
    """The principal of the pages that are a user's own: it sees this one user only."""
    if principal.user_id is not None:
        return principal
    user = session.get(UserRow, row.acting_user_id) if row.acting_user_id is not None else None
    if user is None or principal.application not in (None, user.application):
        return None
    return keys.of_user(user, principal)


def _new_row(session: Session, key_id: UUID, now: datetime, expires_at: datetime, *, opened_at: datetime | None) -> str:
    secret = _new_secret()
    session.add(
        BrowserSessionRow(
            id=new_id(),
            key_id=key_id,
            secret_sha256=sha256_hex(secret.encode()),
            form_token=secrets.token_urlsafe(24),
            created_at=now,
            opened_at=opened_at,
            rotated_at=opened_at,
            used_at=now,
            expires_at=expires_at,
        )
    )
    return secret


def _delete_ended(session: Session) -> None:
    session.execute(sa.delete(BrowserSessionRow).where(BrowserSessionRow.expires_at <= utcnow()))


def _new_secret() -> str:
    return secrets.token_urlsafe(32)
