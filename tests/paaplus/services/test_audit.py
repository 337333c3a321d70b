"""The audit chain: changed, removed and inserted rows are found, also with concurrent writers."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from uuid import UUID

import pytest
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import AuditHeadRow, AuditRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.audit import AuditReport, Link
from paaplus.services.users import keys
from paaplus.services.users.keys import KeyScope
from tests.support.factories import make_adapter, make_base_model, make_user

INITIAL = "29c7da1e5b7a"  # the last revision whose audit had no chain


def act(database: Database, action: str = "policy_set", num: int = 1) -> None:
    with database.session() as session:
        for i in range(num):
            audit.record(
                session, actor="key:x", action=action, subject_id=new_id(), details={"fields": ["a", "ü"], "i": i}
            )


def act_in_vain(session: Session) -> None:
    audit.record(session, actor="a", action="lost", subject_id=None)
    session.flush()
    raise RuntimeError


def report_of(database: Database, expected: Link | None = None) -> AuditReport:
    with database.read_session() as session:
        return audit.verify(session, expected)


def entries(database: Database) -> list[AuditRow]:
    """Oldest first."""
    with database.read_session() as session:
        return list(session.execute(sa.select(AuditRow).order_by(AuditRow.sequence)).scalars())


def test_nothing_done_is_an_intact_chain(database: Database) -> None:
    assert report_of(database) == AuditReport()


def test_acts_are_chained_as_documented(database: Database) -> None:
    act(database)
    act(database, num=2)
    previous = "0" * 64
    for number, row in enumerate(entries(database), start=1):
        content = [number, previous, str(row.id), "key:x", "policy_set", str(row.subject_id), row.details]
        text = json.dumps([*content, row.created_at.isoformat()], sort_keys=True, separators=(",", ":"))
        assert row.entry_sha256 == hashlib.sha256(text.encode()).hexdigest()
        previous = row.entry_sha256
    report = report_of(database)
    assert report == AuditReport(num_entries=3, head=Link(3, previous))
    assert report.is_intact


def test_a_rolled_back_act_leaves_no_gap(database: Database) -> None:
    act(database)
    with pytest.raises(RuntimeError), database.session() as session:
        act_in_vain(session)
    with database.session() as session:
        audit.record(session, actor="a", action="kept", subject_id=None)
        with pytest.raises(RuntimeError), session.begin_nested():
            act_in_vain(session)
        with session.begin_nested():
            audit.record(session, actor="a", action="nested", subject_id=None)
    assert [(row.sequence, row.action) for row in entries(database)] == [(1, "policy_set"), (2, "kept"), (3, "nested")]
    assert report_of(database).is_intact


def act_and_break_a_rule(session: Session, taken: UUID) -> None:
    audit.record(session, actor="a", action="lost", subject_id=None)
    session.add(UserRow(id=taken, application="x", external_id="y", policy={}, created_at=utcnow()))
    session.flush()


def test_a_statement_that_fails_in_a_savepoint_takes_only_its_entries(database: Database) -> None:
    with database.session() as session:
        taken = make_user(session).id
    with database.session() as session:
        audit.record(session, actor="a", action="kept", subject_id=None)
        with pytest.raises(IntegrityError), session.begin_nested():
            act_and_break_a_rule(session, taken)
        audit.record(session, actor="a", action="after", subject_id=None)
    assert [row.action for row in entries(database)] == ["kept", "after"]
    assert report_of(database).is_intact


def test_the_chain_is_of_what_the_database_returns(database: Database) -> None:
    """Whatever JSON may hold without floats: PostgreSQL sorts keys and stores numbers as such, SQLite keeps a text."""
    details = {"b": [1, {"z": None, "a": True}], "a": 2**70, "ü": '\U0001f600 "\\ \u2028', "": -5, "empty": {}}
    with database.session() as session:
        audit.record(session, actor="a", action="b", subject_id=None, details=details)
    assert [row.details for row in entries(database)] == [details]
    assert report_of(database).is_intact


def change(session: Session, rows: list[AuditRow]) -> None:
    session.execute(sa.update(AuditRow).where(AuditRow.id == rows[1].id).values(actor="somebody else"))


def change_and_hash_anew(session: Session, rows: list[AuditRow]) -> None:
    row = session.get_one(AuditRow, rows[1].id)
    row.actor = "somebody else"
    row.entry_sha256 = audit._digest(row)


def remove_from_the_middle(session: Session, rows: list[AuditRow]) -> None:
    session.execute(sa.delete(AuditRow).where(AuditRow.id == rows[1].id))


def remove_the_last(session: Session, rows: list[AuditRow]) -> None:
    session.execute(sa.delete(AuditRow).where(AuditRow.id == rows[-1].id))


def insert(session: Session, rows: list[AuditRow]) -> None:
    session.add(AuditRow(id=new_id(), actor="a", action="b", details={}, created_at=utcnow()))


def append(session: Session, rows: list[AuditRow]) -> None:
    row = AuditRow(id=new_id(), actor="a", action="b", details={}, created_at=utcnow())
    row.sequence, row.previous_sha256 = len(rows) + 1, rows[-1].entry_sha256
    row.entry_sha256 = audit._digest(row)
    session.add(row)


def swap(session: Session, rows: list[AuditRow]) -> None:
    first, second = (session.get_one(AuditRow, row.id) for row in rows[:2])
    first.sequence = None
    session.flush()
    second.sequence = 1
    session.flush()
    first.sequence = 2


def remove_all(session: Session, rows: list[AuditRow]) -> None:
    session.execute(sa.delete(AuditRow))


@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (change, "entry 2 was changed"),
        (change_and_hash_anew, "entry 3 does not follow entry 2"),
        (remove_from_the_middle, "entries 2 to 2 were removed"),
        (remove_the_last, "entries were removed"),
        (insert, "is not in the chain"),
        (append, "the newest entry should be"),
        (swap, "entry 1 was changed"),
        (remove_all, "the newest entry should be"),
    ],
)
def test_tampering_is_found(
    database: Database, tamper: Callable[[Session, list[AuditRow]], None], message: str
) -> None:
    act(database, num=4)
    rows = entries(database)
    with database.session() as session:
        tamper(session, rows)
    report = report_of(database)
    assert not report.is_intact
    assert message in "; ".join(report.problems)
    act(database)  # later entries do not hide it
    assert not report_of(database).is_intact


def test_a_rewritten_chain_is_found_with_a_link_kept_elsewhere(database: Database) -> None:
    act(database, num=3)
    kept = report_of(database).head
    assert kept is not None
    act(database)
    assert report_of(database, kept).is_intact
    with database.session() as session:  # an attacker with all rights, and time
        previous = audit.GENESIS
        session.execute(sa.update(AuditRow).where(AuditRow.sequence == 1).values(actor="nobody"))
        for row in session.execute(sa.select(AuditRow).order_by(AuditRow.sequence)).scalars():
            row.previous_sha256 = previous
            previous = row.entry_sha256 = audit._digest(row)
        session.get_one(AuditHeadRow, 1).entry_sha256 = previous
    assert report_of(database).is_intact
    assert report_of(database, kept).problems == [
        f"link {kept} is not in the chain: the chain was rewritten, or ends before it"
    ]


def test_link_is_read_as_it_is_written() -> None:
    link = Link(7, "ab" * 32)
    assert Link.parse(str(link)) == link
    for text in ("", "7", "7:", "x:" + "0" * 64, "-1:" + "0" * 64, "7:00"):
        with pytest.raises(InvalidInput, match="SEQUENCE:SHA256"):
            Link.parse(text)


def test_many_problems_are_counted_and_the_first_listed(database: Database) -> None:
    act(database, num=50)
    with database.session() as session:
        session.execute(sa.update(AuditRow).values(actor="nobody"))
    report = report_of(database)
    assert (report.num_problems, len(report.problems)) == (50, audit.MAX_LISTED)


def test_concurrent_writers_make_one_chain(database: Database) -> None:
    """Each transaction writes two entries, the second after a wait in the database: no other entry comes in between."""
    num_writers, num_each = 6, 5
    start = threading.Barrier(num_writers)
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        start.wait()
        try:
            for _ in range(num_each):
                with database.session() as session:
                    for action in ("first", "second"):
                        audit.record(session, actor=f"writer-{writer}", action=action, subject_id=None)
                        session.flush()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(w,)) for w in range(num_writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rows = entries(database)
    assert [row.sequence for row in rows] == list(range(1, 2 * num_writers * num_each + 1))
    assert [row.action for row in rows] == ["first", "second"] * (num_writers * num_each)
    assert all(a.actor == b.actor for a, b in zip(rows[::2], rows[1::2], strict=True))
    assert report_of(database).is_intact


def test_two_acts_about_two_users_in_opposite_order_do_not_wait_for_each_other(database: Database) -> None:
    """The chain's lock is taken last: if the first act took it, these two transactions would deadlock."""
    with database.session() as session:
        users = [make_user(session).id for _ in range(2)]
    start = threading.Barrier(2)
    failures: list[BaseException] = []

    def write(order: list[UUID]) -> None:
        try:
            for _ in range(10):
                start.wait()
                with database.session() as session:
                    audit.record(session, actor="a", action="b", subject_id=order[0])
                    session.flush()
                    keys.create(session, name="k", scope=KeyScope.USER, user_id=order[1], actor="a")
        except BaseException as error:
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=write, args=(order,)) for order in (users, users[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert report_of(database).num_entries == 40
    assert report_of(database).is_intact


def test_every_privileged_act_is_in_the_chain_and_an_erasure_does_not_break_it(database: Database) -> None:
    with database.session() as session:
        user = make_user(session)
        base = make_base_model(session)
        old, new = (
            make_adapter(session, user, base_model_id=base.id, state=state, learner_state=b"").number
            for state in ("retired", "active")
        )
    why = {"actor": "operator", "reason": "x"}
    with database.session() as session:
        created = keys.create(session, name="k", scope=KeyScope.USER, user_id=user.id, actor="operator").row
    for do in (
        lambda session: rollbacks.rollback(session, user.id, to=old, feedback="keep", **why),
        lambda session: versions.promote(session, user.id, new, **why),
        lambda session: versions.pin(session, user.id, old, **why),
        lambda session: versions.unpin(session, user.id, **why),
        lambda session: keys.rotate(session, created.id, actor="operator"),
        lambda session: keys.revoke(session, created.id, actor="operator"),
    ):
        with database.session() as session:
            do(session)
    with database.session() as session:
        session.delete(session.get_one(type(user), user.id))
        audit.record(session, actor="operator", action="user_erased", subject_id=user.id)
    assert [row.action for row in entries(database)] == [
        "key_created", "rolled_back", "promoted", "pinned", "unpinned", "key_rotated", "key_revoked", "user_erased",
    ]  # fmt: skip
    assert report_of(database).is_intact


def test_links_are_logged_once_they_are_committed(database: Database) -> None:
    with structlog.testing.capture_logs() as logs:
        act(database)
        with pytest.raises(RuntimeError), database.session() as session:
            act_in_vain(session)
        with database.session() as session:
            session.execute(sa.select(1))
    (entry,) = logs
    (row,) = entries(database)
    assert (entry["event"], entry["action"], entry["sequence"]) == ("audit", "policy_set", 1)
    assert (entry["entry_sha256"], entry["subject_id"]) == (row.entry_sha256, str(row.subject_id))


def test_like_acts_of_one_transaction_share_a_line_with_the_last_link(database: Database) -> None:
    with structlog.testing.capture_logs() as logs, database.session() as session:
        for action in ("rolled_back", "unpinned", "rolled_back"):
            audit.record(session, actor="a", action=action, subject_id=new_id())
    rows = {row.sequence: row for row in entries(database)}
    told = {entry["action"]: entry for entry in logs}
    assert len(logs) == len(told) == 2
    assert (told["rolled_back"]["num_entries"], told["rolled_back"]["subject_id"]) == (2, None)
    assert (told["unpinned"]["num_entries"], told["unpinned"]["subject_id"]) == (1, str(rows[2].subject_id))
    for action, last in (("rolled_back", 3), ("unpinned", 2)):
        assert (told[action]["sequence"], told[action]["entry_sha256"]) == (last, rows[last].entry_sha256)


@pytest.mark.slow
def test_acts_from_before_the_chain_are_chained_by_the_migration(empty_database_url: str) -> None:
    migrate.upgrade(empty_database_url, INITIAL)
    database = Database(empty_database_url)
    table = sa.table(
        "audit", *(sa.column(c.name, c.type) for c in AuditRow.__table__.columns if c.name in ("id", "actor", "action",
                                                                                              "details", "created_at"))
    )  # fmt: skip
    with database.session() as session:
        for i in range(3):
            session.execute(
                table.insert().values(id=new_id(), actor="a", action="b", details={"i": i}, created_at=utcnow())
            )
    migrate.upgrade(empty_database_url)
    assert report_of(database).is_intact
    act(database)
    report = report_of(database)
    assert (report.is_intact, report.num_entries) == (True, 4)
    database.dispose()
