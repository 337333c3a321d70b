"""Rollbacks of many users: whom a selection finds, what they get, and that the same call again goes on."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database, Waits
from paaplus.db.locks import lock_user
from paaplus.db.prepared import listed
from paaplus.db.tables import (
    AdapterHistoryRow,
    AdapterRow,
    AuditRow,
    EventRow,
    ExclusionRow,
    FeedbackRow,
    UserRow,
)
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import InvalidInput, NotFound, PaaplusError, Unavailable
from paaplus.ids import new_id
from paaplus.services import audit, history
from paaplus.services.adapters import bulk_rollback, rollbacks
from paaplus.services.adapters.bulk_rollback import BulkReport, Selection
from paaplus.services.adapters.rollbacks import Wanted
from paaplus.services.adapters.versions import PointerChange
from paaplus.services.feedback import event_numbers, exclusions
from paaplus.settings import Settings
from tests.support.deployment import Deployment


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Deployment:
    return Deployment(database, Settings(home=tmp_path / "home", database_url=database_url))


def trained(deployment: Deployment, name: str, seed: int) -> UUID:
    user = deployment.add_user(name)
    deployment.rate(user, range(60), seed=seed)
    deployment.work()
    return user


def roll_back(deployment: Deployment, selection: Selection, **options: object) -> BulkReport:
    return bulk_rollback.roll_back(deployment.database, selection, actor="admin", reason="stolen key", **options)


@pytest.mark.slow
def test_all_go_back_to_the_newest_version_from_before_the_time(deployment: Deployment) -> None:
    users = [trained(deployment, f"user{seed}", seed) for seed in range(2)]
    before = [deployment.scores(user) for user in users]
    since = utcnow()
    for seed, user in enumerate(users):
        deployment.rate(user, range(60, 120), seed=seed)
    deployment.work()
    assert all(deployment.active(user).number == 2 for user in users)

    dry = roll_back(deployment, Selection(since=since), dry_run=True)
    assert {(u.user_id, u.from_number, u.to_number) for u in dry.users} == {(user, 2, 1) for user in users}
    assert all(deployment.active(user).number == 2 for user in users), "a dry run changes nothing"

    first = roll_back(deployment, Selection(since=since), limit=1)
    assert (len(first.users), first.next_after) == (1, first.users[0].user_id)
    rest = roll_back(deployment, Selection(since=since))  # the same call again: it goes on with the others
    assert {u.user_id for u in (*first.users, *rest.users)} == set(users)
    assert rest.next_after is None
    for user, scores in zip(users, before, strict=True):
        assert np.array_equal(deployment.scores(user), scores)
    assert roll_back(deployment, Selection(since=since)).users == []
    with deployment.database.read_session() as session:
        acts = session.execute(sa.select(AuditRow.action)).scalars().all()
    assert sorted(act for act in acts if "roll" in act) == ["bulk_rollback"] * 2 + ["rolled_back"] * 2


@pytest.mark.parametrize("source", ["key:01932a7c-8f3e-7c55-b7a0-3f3a5d7f00ff", "import:stolen.csv"])
def test_only_those_trained_on_a_source_go_back(deployment: Deployment, source: str) -> None:
    anna, ben = trained(deployment, "anna", 0), trained(deployment, "ben", 1)
    with deployment.database.session() as session:
        session.execute(sa.update(FeedbackRow).where(FeedbackRow.user_id == ben).values(source=source))
    report = roll_back(deployment, Selection(source=source))
    assert [(u.user_id, u.to_number, u.error) for u in report.users] == [(ben, None, None)]
    assert deployment.active(ben) is None
    assert deployment.active(anna) is not None
    assert deployment.user(ben).pending_count == 0, "what was rolled back does not train again"


def test_a_run_a_strategy_and_an_application_select_too(deployment: Deployment) -> None:
    anna = trained(deployment, "anna", 0)
    trained(deployment, "ben", 1)
    run = deployment.runs(anna)[0].id
    for selection, count in [
        (Selection(run_id=run), 1),
        (Selection(strategy="bayes"), 2),
        (Selection(strategy="naive"), 0),
        (Selection("test-app", strategy="bayes"), 2),
    ]:
        assert len(roll_back(deployment, selection, dry_run=True).users) == count


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (Selection("elsewhere", strategy="bayes"), "there is no application 'elsewhere'; there are: test-app"),
        (Selection(strategy="bayse"), "no version was made by the strategy 'bayse'"),
        (Selection(run_id=UUID(int=7)), f"no version was made by the run '{UUID(int=7)}'"),
    ],
)
def test_a_condition_that_names_nothing_is_told(deployment: Deployment, selection: Selection, message: str) -> None:
    trained(deployment, "anna", 0)
    for dry_run in (True, False):
        with pytest.raises(NotFound, match=message):
            roll_back(deployment, selection, dry_run=dry_run)


def test_a_rollback_of_everything_must_be_asked_for(deployment: Deployment) -> None:
    with pytest.raises(InvalidInput, match="say what"):
        Selection("test-app")
    with pytest.raises(InvalidInput, match="reason"):
        bulk_rollback.roll_back(deployment.database, Selection(strategy="bayes"), actor="admin", reason=" ")


@pytest.mark.parametrize("application", [None, "test-app"])
@pytest.mark.parametrize("after", [None, new_id()])
def test_each_call_reads_on_where_the_last_one_ended(
    database: Database, application: str | None, after: UUID | None
) -> None:
    """Otherwise each call of a hundred would read and sort all users that are left."""
    query = bulk_rollback._active_query(Selection(application, strategy="bad"), 1_000, after)
    with database.engine.connect() as connection:
        text = str(query.compile(connection, compile_kwargs={"literal_binds": True}))
        if connection.dialect.name == "sqlite":
            plan = str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
        else:
            connection.exec_driver_sql("SET enable_seqscan = off")  # a table of few rows is read whole
            connection.exec_driver_sql("SET enable_bitmapscan = off")
            plan = str(connection.exec_driver_sql(f"EXPLAIN {text}").all())
    assert "TEMP B-TREE" not in plan, plan
    assert "Sort" not in plan, plan


def copied(deployment: Deployment, version: AdapterRow, **changed: object) -> UUID:
    """Another version of the same user, like this one but for what is changed."""
    with deployment.database.session() as session:
        row = session.get_one(AdapterRow, version.id, options=[sa.orm.undefer("*")])
        values = {column.key: getattr(row, column.key) for column in AdapterRow.__table__.columns}
        session.add(AdapterRow(**{**values, "id": new_id(), **changed}))
    return version.user_id


def raised(name: str, version: AdapterRow) -> dict[str, object]:
    return {"number": version.number + 1, "state": AdapterState.ACTIVE, "strategy": name, "run_id": None}


def with_bad_version(deployment: Deployment, name: str, seed: int) -> UUID:
    """A user whose active version, of another strategy, was trained on all 60 ratings, and the one before on 40."""
    user = trained(deployment, name, seed)
    version = deployment.active(user)
    with deployment.database.session() as session:
        session.execute(
            sa.update(AdapterRow)
            .where(AdapterRow.id == version.id)
            .values(state=AdapterState.RETIRED, high_water_sequence=40)
        )
        session.execute(sa.update(UserRow).where(UserRow.id == user).values(adapter_sequence=2))
    return copied(deployment, version, parent_id=version.id, **raised("bad", version))


def state(deployment: Deployment, user: UUID) -> list[object]:
    """All that a rollback changes and writes of a user, without ids and times."""
    with deployment.database.read_session() as session:
        row = session.get_one(UserRow, user)
        versions = session.execute(
            sa.select(AdapterRow.number, AdapterRow.state).where(AdapterRow.user_id == user).order_by(AdapterRow.number)
        )
        excluded = [
            (event.sequence, event.exclusion.actor, event.exclusion.reason, event.exclusion.excluded_epoch)
            for event in exclusions.list_open(session, user)
        ]
        history = session.execute(
            sa.select(AdapterHistoryRow.move, AdapterHistoryRow.reason, AdapterHistoryRow.details)
            .where(AdapterHistoryRow.user_id == user, AdapterHistoryRow.move == PointerMove.ROLLED_BACK)
            .order_by(AdapterHistoryRow.id)
        )
        rolled_back = EventRow.kind == EventKind.ADAPTER_ROLLED_BACK
        events = session.execute(sa.select(EventRow.data).where(EventRow.user_id == user, rolled_back))
        acts = session.execute(sa.select(AuditRow.action, AuditRow.details).where(AuditRow.subject_id == user))
        due = (row.epoch, row.pending_count, row.due_reason, row.next_due_at is None)
        return [due, excluded, *([tuple(each) for each in rows] for rows in (versions, history, events, acts))]


@pytest.mark.slow
def test_together_as_alone(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users become the same whether they share a transaction or not, and the chain of the audit is whole."""
    selection = Selection(strategy="bad")
    alone = [with_bad_version(deployment, f"alone{seed}", seed) for seed in range(2)]
    monkeypatch.setattr(bulk_rollback, "AT_ONCE", 1)
    assert [user.to_number for user in roll_back(deployment, selection).users] == [1, 1]
    monkeypatch.undo()
    together = [with_bad_version(deployment, f"together{seed}", seed) for seed in range(2)]
    dry = roll_back(deployment, selection, dry_run=True)
    assert roll_back(deployment, selection).users == dry.users
    for one, other in zip(alone, together, strict=True):
        assert state(deployment, one) == state(deployment, other)
        assert len(state(deployment, one)[1]) == 20, "the events of the rolled back version are excluded"
    with deployment.database.read_session() as session:
        assert audit.verify(session).is_intact


def test_users_without_exceptions_become_what_their_logs_say(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their events are excluded as if each log had been read. Others share the transaction."""
    selection = Selection(strategy="bad")
    names = ("plain", "retracted", "excluded", "released")

    def make(kind: str) -> list[UUID]:
        users = [with_bad_version(deployment, f"{kind}-{name}", seed) for seed, name in enumerate(names)]
        deployment.retract(users[1], "r50")
        with deployment.database.session() as session:
            for user in users[2:]:
                exclusions.exclude(session, locked_user(session, user), {45, 46}, actor="admin", reason="why")
        with deployment.database.session() as session:
            exclusions.release(session, users[3], sequences=None, actor="admin", reason="why")
        return users

    read = make("read")
    monkeypatch.setattr(event_numbers, "with_exceptions", lambda _session, user_ids: set(user_ids))
    assert [user.to_number for user in roll_back(deployment, selection).users] == [1] * 4
    monkeypatch.undo()
    not_read = make("not-read")
    dry = roll_back(deployment, selection, dry_run=True)
    assert roll_back(deployment, selection).users == dry.users
    for one, other in zip(read, not_read, strict=True):
        assert state(deployment, one) == state(deployment, other)
    with deployment.database.read_session() as session:
        excluded = [[event.sequence for event in exclusions.list_open(session, user)] for user in not_read[:2]]
        rows = session.execute(sa.select(ExclusionRow).where(ExclusionRow.user_id == not_read[0])).scalars().all()
    assert excluded == [list(range(41, 61))] * 2, "event 61 of the second user is a retraction"
    assert [(row.first_sequence, row.last_sequence) for row in rows] == [(41, 60)], "one row for all events of a user"


def test_what_a_session_has_read_of_a_user_is_told_of_the_rollback(deployment: Deployment) -> None:
    """The driver writes past the session."""
    anna = with_bad_version(deployment, "anna", 0)
    with deployment.database.session() as session:
        user = session.get_one(UserRow, anna)
        version = session.execute(sa.select(AdapterRow).where(AdapterRow.user_id == anna, AdapterRow.number == 2))
        current = version.scalar_one()
        before = user.epoch
        rollbacks.rollback(session, anna, to=1, actor="admin", reason="why")
        told = (user.epoch, user.pending_count, user.next_due_at, user.due_reason)
        assert (user.epoch, current.state) == (before + 1, AdapterState.RETIRED)
    row = deployment.user(anna)
    assert told == (row.epoch, row.pending_count, row.next_due_at, row.due_reason)


def test_users_with_long_logs_share_no_transaction(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other writers wait for it, and it may read their logs."""
    users = [with_bad_version(deployment, f"user{seed}", seed) for seed in range(3)]
    act, sizes = rollbacks.rollback_many, []

    def counted(session: Session, wanted: Sequence[Wanted], **given: Any) -> list[PointerChange | PaaplusError]:
        sizes.append(len(wanted))
        return act(session, wanted, **given)

    monkeypatch.setattr(rollbacks, "rollback_many", counted)
    monkeypatch.setattr(bulk_rollback, "EVENTS_AT_ONCE", 130)  # each has 60
    report = roll_back(deployment, Selection(strategy="bad"))
    assert {user.user_id for user in report.users} == set(users)
    assert sizes == [2, 1]
    monkeypatch.setattr(bulk_rollback, "EVENTS_AT_ONCE", 1)
    for seed in range(3, 5):
        with_bad_version(deployment, f"user{seed}", seed)
    sizes.clear()
    assert len(roll_back(deployment, Selection(strategy="bad")).users) == 2
    assert sizes == [1, 1], "a user whose log is too long is alone"


def test_all_are_rolled_back_call_by_call(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [with_bad_version(deployment, f"user{seed}", seed) for seed in range(2)]
    monkeypatch.setattr(bulk_rollback, "roll_back", partial(bulk_rollback.roll_back, limit=1))
    ask = partial(bulk_rollback.roll_back_all, deployment.database, Selection(strategy="bad"), actor="a", reason="b")
    frozen = gc.get_freeze_count()
    dry = [user for report in ask(dry_run=True) for user in report.users]
    reports = list(ask())
    assert [len(report.users) for report in reports] == [1, 1, 0]
    assert [user for report in reports for user in report.users] == dry
    assert {user.user_id for user in dry} == set(users)
    assert gc.get_freeze_count() <= frozen, "later garbage is collected as before"


def test_who_cannot_go_back_keeps_nobody_else(deployment: Deployment) -> None:
    """A version that was trained on retracted events gives way to the base model."""
    anna, ben = with_bad_version(deployment, "anna", 0), with_bad_version(deployment, "ben", 1)
    deployment.retract(anna, "r0")
    dry = roll_back(deployment, Selection(strategy="bad"), dry_run=True)
    report = roll_back(deployment, Selection(strategy="bad"))
    assert {user.user_id: user.to_number for user in report.users} == {anna: None, ben: 1}
    assert report.users == dry.users


def test_one_that_fails_fails_alone(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    anna, ben = with_bad_version(deployment, "anna", 0), with_bad_version(deployment, "ben", 1)
    act = rollbacks.rollback_many

    def locked(session: Session, wanted: Sequence[Wanted], **given: Any) -> list[PointerChange | PaaplusError]:
        done = act(session, wanted, **given)
        if any(each.user_id == anna for each in wanted):
            raise Unavailable("another transaction keeps the row")
        return done

    monkeypatch.setattr(rollbacks, "rollback_many", locked)
    report = roll_back(deployment, Selection(strategy="bad"))
    assert {user.user_id: user.error for user in report.users} == {
        anna: "another transaction keeps the row",
        ben: None,
    }
    assert (deployment.active(anna).number, deployment.active(ben).number) == (2, 1)


def test_a_user_whose_row_is_locked_keeps_nobody_else(deployment: Deployment, database_url: str) -> None:
    """In a process that answers requests. On SQLite one transaction writes at a time, so there is no such row."""
    if deployment.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite locks no rows")
    anna, ben = with_bad_version(deployment, "anna", 0), with_bad_version(deployment, "ben", 1)
    impatient = Database(database_url, Waits(lock_s=0.5, statement_s=60.0, pool_s=60.0))
    with deployment.database.session() as other:
        lock_user(other, anna)
        report = bulk_rollback.roll_back(impatient, Selection(strategy="bad"), actor="admin", reason="stolen key")
    impatient.dispose()
    assert {user.user_id: user.error is None for user in report.users} == {anna: False, ben: True}
    assert (deployment.active(anna).number, deployment.active(ben).number) == (2, 1)


def test_a_version_of_a_match_is_a_target_though_no_run_made_it(deployment: Deployment) -> None:
    anna = trained(deployment, "anna", 0)
    version = deployment.active(anna)
    copied(deployment, version, number=0, state=AdapterState.RETIRED, run_id=None, strategy="match", parent_id=None,
           high_water_sequence=0)  # fmt: skip
    assert version.run_id is not None
    [done] = roll_back(deployment, Selection(run_id=version.run_id)).users
    assert (done.from_number, done.to_number, done.error) == (1, 0, None)


def test_a_users_last_entry_is_looked_up_by_an_index_of_the_user(database: Database) -> None:
    """By the order of all entries, as PostgreSQL likes to read them, each rollback would read those of all users."""
    with database.session() as session:
        connection = session.connection()
        statement, fixed, order = history._LAST_IDS._compile(connection.dialect)
        given = {**fixed, "ids": listed(connection, [UUID(int=1)])}
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET enable_seqscan = off")  # a table of few rows is read whole
            plan = connection.exec_driver_sql(f"EXPLAIN {statement}", given).all()
        else:
            values = tuple(given[name] for name in order or ())
            plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    assert "ix_adapter_history_user_id" in str(plan), plan
    assert "adapter_history_pkey" not in str(plan), plan
