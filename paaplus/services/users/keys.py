"""API keys: creation, authentication, rotation and revocation. Only the SHA-256 of a key is stored."""

from __future__ import annotations

import re
import secrets
import threading
import time
from dataclasses import dataclass
from typing import Final, Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.prepared import Prepared
from paaplus.db.tables import ApiKeyRow, UserRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.types import utcnow
from paaplus.db.users import existing_user
from paaplus.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from paaplus.ids import new_id, sha256_hex
from paaplus.services import audit
from paaplus.services.names import check_application
from paaplus.texts import clean_name

Sees = Literal["user", "application", "all"]

PREFIX = "paa_"
CACHE_S: Final = 0.5  # how long a key may still work in other processes after it was revoked
CACHE_SIZE: Final = 4096
UNKNOWN_S: Final = 1.0  # how long a key that is none is known to be none
NAME_MAX: Final = 64
_FORM: Final = re.compile(PREFIX + r"[A-Za-z0-9_-]{43}")


_UNKNOWN: Final = "this API key is unknown or revoked"
_OWNER: Final = sa.select(
    ApiKeyRow.name, ApiKeyRow.scope, ApiKeyRow.id, ApiKeyRow.application, ApiKeyRow.user_id, ApiKeyRow.creates_users
).where(ApiKeyRow.key_sha256 == sa.bindparam("digest"), ApiKeyRow.revoked_at.is_(None))
_ID: Final = Prepared(lambda _: _OWNER.with_only_columns(ApiKeyRow.id))


@dataclass(frozen=True, slots=True)
class Principal:
    """The owner of a request. It sees one `application` (None: all), or only one user if `user_id` is set.

    `creates_users`: users that it names for the first time are created, see `first_use`.
    """

    name: str
    scope: KeyScope
    key_id: UUID | None = None
    application: str | None = None
    user_id: UUID | None = None
    creates_users: bool = False

    @property
    def sees(self) -> Sees:
        """Whose data: of one user, of one application, or of all."""
        if self.user_id is not None:
            return "user"
        return "application" if self.application is not None else "all"

    @property
    def actor(self) -> str:
        """The name in history and audit: an internal id, never a person's name."""
        return f"key:{self.key_id}" if self.key_id is not None else self.name


OPERATOR = Principal("operator", KeyScope.ADMIN)  # of the command line, which has direct access to the database


def of_user(user: UserRow, principal: Principal | None = None) -> Principal:
    """A principal that sees one user only, on behalf of a principal that sees the user."""
    name, key_id = (principal.name, principal.key_id) if principal is not None else (OPERATOR.name, None)
    return Principal(name, KeyScope.USER, key_id, user.application, user.id)


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key. `token` is returned once and not stored."""

    row: ApiKeyRow
    token: str


def application_of(principal: Principal, named: str | None) -> str:
    """The application of a request: the key's own, or the one that an admin names.

    Raises:
        InvalidInput: an admin names none.
        Forbidden: the key is for another application.
    """
    if principal.application is None:
        if named is None:
            raise InvalidInput("an admin key belongs to no application: name one in 'application'")
        check_application(named)
        return named
    if named not in (None, principal.application):
        raise Forbidden(f"this key is for application {principal.application!r}, not {named!r}")
    return principal.application


def create(
    session: Session,
    *,
    name: str,
    scope: KeyScope,
    application: str | None = None,
    user_id: UUID | None = None,
    creates_users: bool = False,
    actor: str,
) -> CreatedKey:
    """Create a key.

    Args:
        application: for an application key: it gives access to this application's users and images.
        user_id: for a user or expert key: it gives access to this user only.
        creates_users: for an application key: users that it names for the first time are created.

    Raises:
        InvalidInput: an invalid name, or not exactly the arguments that the scope needs.
        NotFound: no such user.
    """
    name = clean_name(name, NAME_MAX, "the name of a key")
    wanted = {
        KeyScope.ADMIN: (False, False),
        KeyScope.APPLICATION: (True, False),
        KeyScope.EXPERT: (False, True),
        KeyScope.USER: (False, True),
    }[scope]
    if (application is not None, user_id is not None) != wanted:
        needs = {
            (False, False): "neither application nor user",
            (True, False): "an application",
            (False, True): "a user",
        }
        raise InvalidInput(f"a key of scope {scope.value!r} needs {needs[wanted]} and nothing else")
    if creates_users and scope != KeyScope.APPLICATION:
        raise InvalidInput(f"a key of scope {scope.value!r} creates no users; one of an application may")
    if application is not None:
        check_application(application)
    if user_id is not None:
        user = existing_user(session, user_id)
        application = user.application
    token = _new_token()
    row = ApiKeyRow(
        id=new_id(),
        name=name,
        scope=scope,
        application=application,
        user_id=user_id,
        key_sha256=sha256_hex(token.encode()),
        creates_users=creates_users,
        created_at=utcnow(),
    )
    session.add(row)
    audit.record(session, actor=actor, action="key_created", subject_id=row.id, details={"scope": scope.value})
    return CreatedKey(row, token)


def check_form(token: str) -> None:
    """Refuse what no key looks like, before the database is asked.

    Raises:
        Unauthenticated: it is no key.
    """
    if not _FORM.fullmatch(token):
        raise Unauthenticated(_UNKNOWN)


def authenticate(session: Session | sa.Connection, token: str) -> Principal:
    """The principal of a key. The look-up is by hash, so its timing reveals nothing about the key.

    Raises:
        Unauthenticated: unknown or revoked.
    """
    check_form(token)
    digest = sha256_hex(token.encode())
    if isinstance(session, Session):
        session.flush()  # a key that was made in this session
    connection = session.connection() if isinstance(session, Session) else session
    if not _ID.rows(connection, digest=digest):  # many may be tried: the driver alone finds that it is none
        raise Unauthenticated(_UNKNOWN)
    row = session.execute(_OWNER, {"digest": digest}).one_or_none()
    if row is None:
        raise Unauthenticated(_UNKNOWN)
    return Principal(*row)


def list_keys(session: Session, *, limit: int = 100, before: UUID | None = None) -> list[ApiKeyRow]:
    """Keys, newest first, also revoked ones."""
    query = sa.select(ApiKeyRow).order_by(ApiKeyRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(ApiKeyRow.id < before)
    return list(session.execute(query).scalars())


def revoke(session: Session, key_id: UUID, *, actor: str) -> ApiKeyRow:
    """Revoke a key for ever. Repeating it changes nothing.

    Raises:
        NotFound: no such key.
    """
    row = session.get(ApiKeyRow, key_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"API key {key_id} does not exist")
    if row.revoked_at is None:
        row.revoked_at = utcnow()
        audit.record(session, actor=actor, action="key_revoked", subject_id=key_id)
    return row


def rotate(session: Session, key_id: UUID, *, actor: str) -> CreatedKey:
    """Give a key a new secret, with the same id and access. The old secret is invalid from the commit on.

    To change keys without a gap, create a second key, and revoke the first when it is unused.

    Raises:
        NotFound: no such key.
        Conflict: the key is revoked.
    """
    row = session.get(ApiKeyRow, key_id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound(f"API key {key_id} does not exist")
    if row.revoked_at is not None:
        raise Conflict(f"API key {key_id} is revoked: create another one")
    token = _new_token()
    row.key_sha256, row.rotated_at = sha256_hex(token.encode()), utcnow()
    audit.record(session, actor=actor, action="key_rotated", subject_id=key_id)
    return CreatedKey(row, token)


def _new_token() -> str:
    return PREFIX + secrets.token_urlsafe(32)


class KeyRing:
    """Authenticates with a short cache, so that a busy caller does not need a query per request."""

    def __init__(self, database: Database, cache_s: float = CACHE_S) -> None:
        self._database = database
        self._cache_s = cache_s
        self._known: dict[str, tuple[float, Principal]] = {}
        self._unknown: dict[str, float] = {}  # until when
        self._lock = threading.Lock()

    def cached(self, token: str) -> Principal | None:
        """The cached principal of a key; None: it is not cached, or its entry has expired."""
        with self._lock:
            found = self._known.get(sha256_hex(token.encode()))
        if found is None or found[0] < time.monotonic():
            return None
        return found[1]

    def refuse_known_wrong(self, token: str) -> None:
        """Refuse what no key looks like, and what was looked up just now and is none, without asking the database.

        No new key is refused by it: its secret is drawn at random, so that nobody has tried it before.

        Raises:
            Unauthenticated: it is no key.
        """
        check_form(token)
        with self._lock:
            ends_at = self._unknown.get(sha256_hex(token.encode()))
        if ends_at is not None and time.monotonic() < ends_at:
            raise Unauthenticated(_UNKNOWN)

    def authenticate(self, token: str) -> Principal:
        """The principal of a key.

        Raises:
            Unauthenticated: unknown or revoked.
        """
        known = self.cached(token)
        if known is not None:
            return known
        expires = time.monotonic() + self._cache_s  # counted from before the query, so it never lasts longer
        try:
            with self._database.read_connection() as connection:
                principal = authenticate(connection, token)
        except Unauthenticated:
            self._note_unknown(token)
            raise
        with self._lock:
            if len(self._known) >= CACHE_SIZE:
                self._known.clear()
            self._known[sha256_hex(token.encode())] = (expires, principal)
        return principal

    def _note_unknown(self, token: str) -> None:
        with self._lock:
            if len(self._unknown) >= CACHE_SIZE:
                self._unknown.clear()
            self._unknown[sha256_hex(token.encode())] = time.monotonic() + UNKNOWN_S

    def forget(self) -> None:
        """Empty this process's cache, after it has revoked a key."""
        with self._lock:
            self._known.clear()

    def forget_everywhere(self) -> None:
        """Empty this process's cache, and wait until the caches of all other processes have expired."""
        self.forget()
        outlive_caches()


def outlive_caches() -> None:
    """Wait until every process's cache of keys has expired."""
    time.sleep(CACHE_S)
