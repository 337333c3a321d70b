"""Users: created once, found by id and by external id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import UserRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.users import DueReason
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.services.users import users
from paaplus.services.users.keys import OPERATOR, Principal
from paaplus.storage.blobs import BlobStore
from tests.support.factories import (
    APPLICATION,
    make_feedback,
    make_image,
    make_user,
)

APP = Principal("app", KeyScope.APPLICATION, application=APPLICATION)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


# --- create


def test_user_is_created_once_and_then_stays_as_they_are(database: Database) -> None:
    with database.session() as session:
        first, created = users.create(session, application="app", external_id="ada", policy={"min_new_feedback": 3})
    with database.session() as session:
        again, created_again = users.create(session, application="app", external_id="ada", policy={"paused": True})
    assert (created, created_again) == (True, False)
    assert (again.id, again.policy) == (first.id, {"min_new_feedback": 3})


def test_same_external_id_is_another_user_in_another_application(database: Database) -> None:
    with database.session() as session:
        one, _ = users.create(session, application="one", external_id="ada")
        two, created = users.create(session, application="two", external_id="ada")
    assert created
    assert one.id != two.id


def test_many_callers_at_once_make_one_user(database: Database) -> None:
    def create(_: int) -> tuple[UUID, bool]:
        with database.session() as session:
            row, created = users.create(session, application="app", external_id="ada")
            return row.id, created

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(create, range(24)))
    assert len({user_id for user_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1


def test_external_id_that_fits_into_no_url_is_refused(database: Database) -> None:
    for name in ("", "a/b", "/", ".", "..", "x" * 129, "tab\t", "nul\0", "\ud800", "a\u202eb"):
        with database.session() as session, pytest.raises(InvalidInput, match="external_id"):
            users.create(session, application="app", external_id=name)


def test_external_id_may_be_what_applications_use(database: Database) -> None:
    with database.session() as session:
        for name in ("ada", "用户-7", "ada@example.org", "a b", "%2e", "...", "x" * 128, str(new_id())):
            row, _ = users.create(session, application=APPLICATION, external_id=name)
            assert users.resolve(session, APP, name).id == row.id


def test_external_id_may_not_be_the_id_of_another_user(database: Database) -> None:
    """Otherwise an application could choose an external id that refers to another user."""
    with database.session() as session:
        victim = make_user(session)
    with database.session() as session, pytest.raises(Conflict, match=str(victim.id)):
        users.create(session, application="app", external_id=str(victim.id))


def test_an_invalid_policy_creates_no_user(database: Database) -> None:
    with database.session() as session, pytest.raises(InvalidInput, match="unknown policy field"):
        users.create(session, application="app", external_id="ada", policy={"speed": 3})
    with database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(UserRow)).scalar_one() == 0


# --- resolve


@pytest.fixture
def two_users(database: Database) -> tuple[UserRow, UserRow]:
    """One of the test application, one of another."""
    with database.session() as session:
        return make_user(session, external_id="ada"), make_user(session, application="other", external_id="bob")


def test_application_finds_its_users_by_either_name_and_no_others(
    database: Database, two_users: tuple[UserRow, UserRow]
) -> None:
    ada, bob = two_users
    refs = [
        "ada",
        str(ada.id),
        ada.id.hex,
        "bob",
        str(bob.id),
        "other/bob",
        f"{APPLICATION}/ada",
        "nobody",
        "nul\0",
        "",
    ]
    with database.read_session() as session:
        found = users.resolve_many(session, APP, refs)
    assert {ref: row.id for ref, row in found.items()} == dict.fromkeys(["ada", str(ada.id), ada.id.hex], ada.id)


def test_admin_finds_everybody_by_id_or_by_application_and_name(
    database: Database, two_users: tuple[UserRow, UserRow]
) -> None:
    ada, bob = two_users
    refs = [str(ada.id), f"{APPLICATION}/ada", "other/bob", "ada", "bob", "other/ada", "/", "nul\0/x", "other/"]
    with database.read_session() as session:
        found = users.resolve_many(session, OPERATOR, refs)
    expected = {str(ada.id): ada.id, f"{APPLICATION}/ada": ada.id, "other/bob": bob.id}
    assert {ref: row.id for ref, row in found.items()} == expected


def test_user_key_finds_itself_only(database: Database, two_users: tuple[UserRow, UserRow]) -> None:
    ada, bob = two_users
    with database.session() as session:
        neighbour = make_user(session, external_id="eve")
    principal = Principal("ada", KeyScope.USER, application=APPLICATION, user_id=ada.id)
    with database.read_session() as session:
        found = users.resolve_many(session, principal, ["ada", str(ada.id), "eve", str(neighbour.id), str(bob.id)])
        assert [row.id for row in users.list_users(session, principal)] == [ada.id]
    assert set(found) == {"ada", str(ada.id)}


def test_own_id_goes_before_a_name_that_looks_like_it(database: Database) -> None:
    with database.session() as session:
        ada = make_user(session)
        make_user(session, external_id=str(ada.id))  # could only come from an older database
    with database.read_session() as session:
        assert users.resolve(session, APP, str(ada.id)).id == ada.id


def test_unknown_user_is_not_found_by_name(database: Database) -> None:
    with database.read_session() as session, pytest.raises(NotFound, match="'nobody'"):
        users.resolve(session, APP, "nobody")


def test_thousands_of_names_are_found_in_one_go(database: Database) -> None:
    with database.session() as session:
        ada = make_user(session, external_id="ada")
    refs = [f"u{i}" for i in range(5_000)] + [str(new_id()) for _ in range(5_000)] + ["ada"]
    with database.read_session() as session:
        assert {ref: row.id for ref, row in users.resolve_many(session, APP, refs).items()} == {"ada": ada.id}


# --- list


def test_users_are_listed_newest_first_in_pages(database: Database) -> None:
    with database.session() as session:
        made = [make_user(session).id for _ in range(5)]
        make_user(session, application="other")
    with database.read_session() as session:
        page = users.list_users(session, APP, limit=2)
        rest = users.list_users(session, APP, limit=9, before=page[-1].id)
        assert [row.id for row in page + rest] == made[::-1]
        assert len(users.list_users(session, OPERATOR)) == 6
        assert len(users.list_users(session, OPERATOR, application="other")) == 1
        assert users.list_users(session, APP, application="other") == []
        assert [row.id for row in users.list_users(session, APP, external_id=page[0].external_id)] == [page[0].id]


# --- policy


def test_policy_changes_when_the_user_is_due(database: Database) -> None:
    with database.session() as session:
        user, image = make_user(session), make_image(session)
        make_feedback(session, user, image_id=image.id)
        make_feedback(session, user, image_id=image.id)
    for overrides, reason in [
        ({"min_new_feedback": 2}, DueReason.NEW_FEEDBACK),
        ({"min_new_feedback": 3}, DueReason.INTERVAL),
        ({"min_new_feedback": 2, "paused": True}, None),
        ({"min_new_feedback": 1, "training": {"seed": 3}}, DueReason.NEW_FEEDBACK),
    ]:
        with database.session() as session:
            row = users.set_policy(session, user.id, overrides, actor="operator")
            assert (row.policy, row.due_reason) == (overrides, reason)
            assert (row.next_due_at is None) == (reason is None)


def test_an_invalid_policy_changes_nothing(database: Database) -> None:
    with database.session() as session:
        user = make_user(session, policy={"min_new_feedback": 3})
    for wrong in ({"adapter": "bottleneck", "strategy": "bayes"}, {"training": {"rank": 0}}, {"gate": {"marge": 1}}):
        with database.session() as session, pytest.raises(InvalidInput):
            users.set_policy(session, user.id, wrong, actor="operator")
    with database.read_session() as session:
        row = session.get(UserRow, user.id)
        assert row is not None
        assert row.policy == {"min_new_feedback": 3}


def test_policy_of_an_unknown_user_is_not_found(database: Database) -> None:
    with database.session() as session, pytest.raises(NotFound):
        users.set_policy(session, new_id(), {}, actor="operator")


def test_page_of_an_applications_users_is_read_by_an_index(database: Database) -> None:
    """In the order of the page: otherwise all users of the application are sorted for each page."""
    query = sa.select(UserRow).where(users.visible_users(APP)).order_by(UserRow.id.desc()).limit(100)
    with database.engine.connect() as connection:
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        if connection.dialect.name == "sqlite":
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
        else:
            for way in ("seqscan", "sort"):  # a table of few rows is read whole, and its rows are sorted
                connection.exec_driver_sql(f"SET enable_{way} = off")
            plan = str(connection.exec_driver_sql(f"EXPLAIN {text}").all())
    assert "ix_users_application_id" in plan, plan
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan
