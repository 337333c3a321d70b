"""The audit log: privileged acts in a hash chain, with internal ids only.

An entry gets its place in the chain just before its transaction commits, under a lock that is taken last. Taken
earlier, the lock would make all privileged acts wait for the slowest, and two transactions could deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

import sqlalchemy as sa
import structlog
from pydantic_core import to_json
from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction

from paaplus.db.bulk_insert import insert_rows
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import AuditHeadRow, AuditRow
from paaplus.db.types import utcnow
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import InvalidInput
from paaplus.ids import new_id, sha256_hex

GENESIS: Final = "0" * 64  # the previous hash of the first entry
MAX_LISTED = 20  # problems in a report

_HEAD_ID = 1
_AUDIT: Final = cast(sa.Table, AuditRow.__table__)
_COLUMNS: Final = (
    "id", "actor", "action", "subject_id", "details", "created_at", "sequence", "previous_sha256", "entry_sha256",
)  # fmt: skip
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))  # the same of what either database returns
_RECORDED, _STARTS, _CHAINED = "audit_recorded", "audit_starts", "audit_chained"  # keys in `Session.info`

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain. With a copy that is kept elsewhere, `verify` proves that no earlier entry has changed."""

    sequence: int
    entry_sha256: str

    @classmethod
    def parse(cls, text: str) -> Link:
        """Parse SEQUENCE:SHA256, as `str` writes it.

        Raises:
            InvalidInput: the text has another form.
        """
        sequence, _, entry_sha256 = text.partition(":")
        if not (sequence.isascii() and sequence.isdigit() and len(entry_sha256) == len(GENESIS)):
            raise InvalidInput(f"a link of the audit is SEQUENCE:SHA256, got {text!r}")
        return cls(int(sequence), entry_sha256)

    def __str__(self) -> str:
        return f"{self.sequence}:{self.entry_sha256}"


class _Entry(NamedTuple):
    """An entry, and its place in the chain once it is known."""

    id: UUID
    actor: str
    action: str
    subject_id: UUID | None
    details: dict[str, Any]
    created_at: datetime
    sequence: int = 0
    previous_sha256: str = ""


class _Told(NamedTuple):
    """What the log tells of entries of one transaction with one actor and action: subject and link of the last."""

    subject_id: UUID | None
    num_entries: int
    last: Link


def record(
    session: Session, *, actor: str, action: str, subject_id: UUID | None, details: dict[str, Any] | None = None
) -> None:
    """Write one entry, in the transaction of the act itself.

    Args:
        details: JSON without floats, which the two databases print differently, and without free text, which could
            name a person.
    """
    record_many(session, [Act(actor, action, subject_id, details or {})])


class Act(NamedTuple):
    """A privileged act, see `record`."""

    actor: str
    action: str
    subject_id: UUID | None
    details: dict[str, Any]


def record_many(session: Session, acts: Sequence[Act]) -> None:
    """As `record`, for several acts. The rows are written just before the commit, when their places are known."""
    now = utcnow()
    session.info.setdefault(_RECORDED, []).extend(
        _Entry(new_id(), act.actor, act.action, act.subject_id, act.details, now) for act in acts
    )
    session.connection()  # a session without a transaction would not commit them


def list_entries(session: Session, *, limit: int = 100, before: UUID | None = None) -> list[AuditRow]:
    """Entries, newest first."""
    query = sa.select(AuditRow).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    return list(session.execute(query).scalars())


@event.listens_for(Session, "after_transaction_create")
def _note_start(session: Session, transaction: SessionTransaction) -> None:
    """Note where the entries of a nested transaction begin."""
    if transaction.nested:
        session.info.setdefault(_STARTS, {})[transaction] = len(session.info.get(_RECORDED, ()))


@event.listens_for(Session, "after_soft_rollback")
def _forget(session: Session, transaction: SessionTransaction) -> None:
    """Forget the entries of a transaction that was rolled back. A flush that failed takes its transaction with it."""
    while not transaction.nested and transaction.parent is not None:
        transaction = transaction.parent
    start = session.info.get(_STARTS, {}).get(transaction, 0)
    del session.info.get(_RECORDED, [])[start:]


@event.listens_for(Session, "before_commit")
def _chain(session: Session) -> None:
    """Append this transaction's entries to the chain."""
    if session.in_nested_transaction() or not (entries := session.info.pop(_RECORDED, [])):
        return
    session.flush()
    insert_ignoring_conflicts(session, AuditHeadRow, [{"id": _HEAD_ID, "sequence": 0, "entry_sha256": GENESIS}])
    head = session.get_one(AuditHeadRow, _HEAD_ID, with_for_update=True, populate_existing=True)
    connection, link = session.connection(), Link(head.sequence, head.entry_sha256)
    rows: list[tuple[Any, ...]] = []
    told: dict[tuple[str, str], _Told] = {}
    for recorded in entries:
        entry = recorded._replace(sequence=link.sequence + 1, previous_sha256=link.entry_sha256)
        link = Link(entry.sequence, _digest(entry))
        rows.append(_values(connection.dialect.name, entry, link))
        like = told.get((entry.actor, entry.action))
        told[entry.actor, entry.action] = _Told(entry.subject_id, 1 if like is None else like.num_entries + 1, link)
    head.sequence, head.entry_sha256 = link.sequence, link.entry_sha256
    session.flush()
    insert_rows(connection, _AUDIT, _COLUMNS, rows)
    session.info[_CHAINED] = told


def _values(dialect: str, entry: _Entry, link: Link) -> tuple[Any, ...]:
    """The row of an entry, of `_COLUMNS`."""
    subject = entry.subject_id.hex if entry.subject_id is not None else None
    details, at = to_json(entry.details).decode(), driver_value(dialect, entry.created_at)
    return entry.id.hex, entry.actor, entry.action, subject, details, at, *entry[6:], link.entry_sha256


@event.listens_for(Session, "after_commit")
def _log_entries(session: Session) -> None:
    """Write links to the log too: logs are stored elsewhere, out of reach of a database administrator.

    Like acts of one transaction share a line, with the last link, which proves all before it.
    """
    told: dict[tuple[str, str], _Told] = session.info.pop(_CHAINED, {})
    for (actor, action), each in told.items():
        log.info(
            "audit",
            actor=actor,
            action=action,
            subject_id=str(each.subject_id) if each.subject_id is not None and each.num_entries == 1 else None,
            num_entries=each.num_entries,
            sequence=each.last.sequence,
            entry_sha256=each.last.entry_sha256,
        )


def _digest(row: _Entry | sa.Row[Any]) -> str:
    """SHA-256 of an entry and its place, as canonical JSON, so that it is the same on both databases."""
    content = [
        row.sequence,
        row.previous_sha256,
        str(row.id),
        row.actor,
        row.action,
        str(row.subject_id) if row.subject_id is not None else None,
        row.details,
        row.created_at.astimezone(UTC).isoformat(timespec="microseconds"),
    ]
    return sha256_hex(_CANONICAL.encode(content).encode())


@dataclass
class AuditReport:
    """The result of `verify`. `problems` describes the first `MAX_LISTED` problems."""

    num_entries: int = 0
    num_problems: int = 0
    problems: list[str] = field(default_factory=list)
    head: Link | None = None

    @property
    def is_intact(self) -> bool:
        return self.num_problems == 0

    def add(self, problem: str) -> None:
        self.num_problems += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(problem)


def verify(session: Session, expected: Link | None = None) -> AuditReport:
    """Verify the whole chain.

    Args:
        expected: a link that was copied earlier, outside the database. Without one, a person who can write the whole
            database could compute a new valid chain.
    """
    report = AuditReport()
    columns = [column for column in AuditRow.__table__.columns if column.key != "sequence"]
    query = sa.select(AuditRow.sequence, *columns).where(AuditRow.sequence.is_not(None)).order_by(AuditRow.sequence)
    _follow(report, session.execute(query, execution_options={"yield_per": 1000}), expected)
    head = session.get(AuditHeadRow, _HEAD_ID)
    recorded = Link(head.sequence, head.entry_sha256) if head is not None else None
    if recorded != report.head:
        report.add(
            f"the newest entry should be {recorded or 'none'}, and is {report.head or 'none'}: entries were removed"
        )
    unchained = session.execute(sa.select(AuditRow.id).where(AuditRow.sequence.is_(None)).limit(MAX_LISTED)).scalars()
    for row_id in unchained:
        report.add(f"entry {row_id} is not in the chain: it was inserted from outside")
    return report


def _follow(report: AuditReport, rows: Iterable[sa.Row[Any]], expected: Link | None) -> None:
    """Check every link, and set the report's head to the last one."""
    last = Link(0, GENESIS)
    met_expected = expected is None
    for row in rows:
        report.num_entries += 1
        if row.sequence <= last.sequence:
            report.add(f"there are two entries {row.sequence}: one of them was inserted from outside")
        elif row.sequence > last.sequence + 1:
            report.add(f"entries {last.sequence + 1} to {row.sequence - 1} were removed")
        elif row.previous_sha256 != last.entry_sha256:
            report.add(f"entry {row.sequence} does not follow entry {last.sequence}: one of them was replaced")
        if row.entry_sha256 != _digest(row):
            report.add(f"entry {row.sequence} was changed")
        last = Link(row.sequence, str(row.entry_sha256))
        if last == expected:
            met_expected = True
    if not met_expected:
        report.add(f"link {expected} is not in the chain: the chain was rewritten, or ends before it")
    report.head = last if last.sequence else None
