"""Links for whoever is at this machine: one key each, and none of former ones is left behind."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import ApiKeyRow, BrowserSessionRow
from paaplus.db.types import utcnow
from paaplus.errors import Unauthenticated
from paaplus.services.users import sessions
from tests.support.factories import make_user


def open_keys(database: Database) -> set[UUID]:
    with database.read_session() as session:
        return set(session.execute(sa.select(ApiKeyRow.id).where(ApiKeyRow.revoked_at.is_(None))).scalars())


def make(database: Database, user_id: UUID) -> tuple[UUID, str, str]:
    with database.session() as session:
        return sessions.invite_here(session, user_id, name="a test", actor="operator")


def test_a_key_whose_session_has_ended_is_revoked_by_the_next_link_and_one_in_use_is_not(database: Database) -> None:
    with database.session() as session:
        user_id = make_user(session, external_id="ada").id
    first, token, code = make(database, user_id)
    assert token
    with database.session() as session:
        secret = sessions.use_link(session, code)
        assert sessions.read(session, secret).principal.user_id == user_id
    second, _, _ = make(database, user_id)
    assert open_keys(database) == {first, second}
    with database.session() as session:
        idle = utcnow() - sessions.IDLE - timedelta(minutes=1)
        session.execute(sa.update(BrowserSessionRow).where(BrowserSessionRow.key_id == first).values(used_at=idle))
    third, _, unused = make(database, user_id)
    assert open_keys(database) == {second, third}
    with database.session() as session, pytest.raises(Unauthenticated, match=r"revoked|ended|unknown"):
        sessions.read(session, secret)
    with database.session() as session:
        other_id = make_user(session, external_id="bob").id
        assert sessions.use_link(session, unused)
    other, _, _ = make(database, other_id)
    assert other in open_keys(database)
    assert third in open_keys(database), "another user's"
