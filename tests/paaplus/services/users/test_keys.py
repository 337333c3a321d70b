"""API keys: only their hash is stored, and each gives access to exactly its scope."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import ApiKeyRow, AuditRow
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import InvalidInput, NotFound, Unauthenticated
from paaplus.ids import new_id
from paaplus.services.users import keys
from paaplus.services.users.keys import KeyRing, Principal
from tests.support.factories import APPLICATION, make_user


def test_new_key_is_known_by_its_hash_only(database: Database) -> None:
    with database.session() as session:
        created = keys.create(session, name="backend", scope=KeyScope.ADMIN, actor="operator")
    assert created.token.startswith("paa_")
    assert len(created.token) >= 4 + 43  # 32 bytes in base64
    with database.read_session() as session:
        row = session.execute(sa.select(ApiKeyRow)).scalar_one()
        stored = " ".join(str(getattr(row, column.key)) for column in ApiKeyRow.__table__.columns)
    assert row.key_sha256 == hashlib.sha256(created.token.encode()).hexdigest()
    assert created.token not in stored


def test_key_authenticates_as_what_it_was_made_for(database: Database) -> None:
    with database.session() as session:
        user = make_user(session)
        made = {
            scope: keys.create(session, name="k", scope=scope, actor="operator", **what)
            for scope, what in {
                KeyScope.ADMIN: {},
                KeyScope.APPLICATION: {"application": APPLICATION},
                KeyScope.USER: {"user_id": user.id},
                KeyScope.EXPERT: {"user_id": user.id},
            }.items()
        }
    with database.read_session() as session:
        found = {scope: keys.authenticate(session, created.token) for scope, created in made.items()}
    expected = {
        KeyScope.ADMIN: (None, None),
        KeyScope.APPLICATION: (APPLICATION, None),
        KeyScope.USER: (APPLICATION, user.id),
        KeyScope.EXPERT: (APPLICATION, user.id),
    }
    for scope, principal in found.items():
        assert principal == Principal("k", scope, made[scope].row.id, *expected[scope])
        assert principal.actor == f"key:{made[scope].row.id}"


def test_scope_without_what_it_needs_is_refused(database: Database) -> None:
    impossible: list[tuple[KeyScope, dict[str, Any]]] = [
        (KeyScope.ADMIN, {"application": "a"}),
        (KeyScope.ADMIN, {"user_id": new_id()}),
        (KeyScope.APPLICATION, {}),
        (KeyScope.APPLICATION, {"application": "a", "user_id": new_id()}),
        (KeyScope.USER, {}),
        (KeyScope.USER, {"application": "a"}),
        (KeyScope.EXPERT, {}),
    ]
    for scope, what in impossible:
        with database.session() as session, pytest.raises(InvalidInput, match=f"scope '{scope.value}' needs"):
            keys.create(session, name="k", scope=scope, actor="operator", **what)


def test_an_invalid_key_name_is_refused(database: Database) -> None:
    for name in ("", "x" * 65, "line\nbreak", "nul\0"):
        with database.session() as session, pytest.raises(InvalidInput, match="the name of a key"):
            keys.create(session, name=name, scope=KeyScope.ADMIN, actor="operator")


def test_application_that_cannot_be_named_is_refused(database: Database) -> None:
    for name in ("", "a/b", "-a", "x" * 65, "a b", "ä", "a\n"):
        with database.session() as session, pytest.raises(InvalidInput, match="application"):
            keys.create(session, name="k", scope=KeyScope.APPLICATION, application=name, actor="operator")


def test_key_for_an_unknown_user_is_refused(database: Database) -> None:
    with database.session() as session, pytest.raises(NotFound, match="user"):
        keys.create(session, name="k", scope=KeyScope.USER, user_id=new_id(), actor="operator")


def test_unknown_key_is_refused(database: Database) -> None:
    for token in ("", "paa_", "paa_unknown", "ü" * 40, "x" * 10_000, "nul\0"):
        with database.read_session() as session, pytest.raises(Unauthenticated, match="unknown or revoked"):
            keys.authenticate(session, token)


def test_revoked_key_is_refused_and_revoking_again_changes_nothing(database: Database) -> None:
    with database.session() as session:
        created = keys.create(session, name="k", scope=KeyScope.ADMIN, actor="operator")
    with database.session() as session:
        first = keys.revoke(session, created.row.id, actor="operator").revoked_at
    with database.session() as session:
        assert keys.revoke(session, created.row.id, actor="operator").revoked_at == first
    with database.read_session() as session, pytest.raises(Unauthenticated):
        keys.authenticate(session, created.token)


def test_revoking_an_unknown_key_is_not_found(database: Database) -> None:
    with database.session() as session, pytest.raises(NotFound, match="API key"):
        keys.revoke(session, new_id(), actor="operator")


def test_making_and_revoking_are_in_the_audit_once_each(database: Database) -> None:
    with database.session() as session:
        key_id = keys.create(session, name="k", scope=KeyScope.ADMIN, actor="key:x").row.id
    for _ in range(2):
        with database.session() as session:
            keys.revoke(session, key_id, actor="key:y")
    with database.read_session() as session:
        acts = session.execute(sa.select(AuditRow.actor, AuditRow.action, AuditRow.subject_id).order_by(AuditRow.id))
        assert [tuple(act) for act in acts] == [("key:x", "key_created", key_id), ("key:y", "key_revoked", key_id)]


def test_keys_are_listed_newest_first_in_pages(database: Database) -> None:
    with database.session() as session:
        made = [keys.create(session, name="k", scope=KeyScope.ADMIN, actor="o").row.id for _ in range(5)]
    with database.read_session() as session:
        page = keys.list_keys(session, limit=3)
        rest = keys.list_keys(session, limit=3, before=page[-1].id)
    assert [row.id for row in page + rest] == made[::-1]


def test_key_ring_asks_the_database_once_while_its_answer_is_fresh(database: Database) -> None:
    with database.session() as session:
        created = keys.create(session, name="k", scope=KeyScope.ADMIN, actor="operator")
    ring = KeyRing(database, cache_s=60.0)
    assert ring.cached(created.token) is None
    principal = ring.authenticate(created.token)
    assert ring.cached(created.token) == principal


def test_key_ring_lets_a_revoked_key_in_no_longer_than_its_cache_is_fresh(database: Database) -> None:
    with database.session() as session:
        created = keys.create(session, name="k", scope=KeyScope.ADMIN, actor="operator")
    here, elsewhere, without_cache = KeyRing(database, 60.0), KeyRing(database, 60.0), KeyRing(database, 0.0)
    for ring in (here, elsewhere, without_cache):
        ring.authenticate(created.token)
    with database.session() as session:
        keys.revoke(session, created.row.id, actor="operator")
    here.forget()  # the process that revoked it knows at once
    for ring in (here, without_cache):
        with pytest.raises(Unauthenticated):
            ring.authenticate(created.token)
    assert elsewhere.cached(created.token) is not None  # until its time is up: seconds, by default
    assert keys.CACHE_S <= 5
