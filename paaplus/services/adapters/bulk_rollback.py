"""Rollbacks of many users at once: of every active version that a run, a time, a strategy or a source of feedback made.

Each user has a history and an audit entry of their own; hundreds of users share a transaction. A user who was rolled
back does not match any more, so the same call again goes on where the last one ended.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from paaplus import strategy_facts
from paaplus.db.engine import Database
from paaplus.db.plans import planned_anew
from paaplus.db.prepared import Prepared, listed, one_of
from paaplus.db.raw_values import raw, uuid_of
from paaplus.db.tables import AdapterRow, FeedbackRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import InvalidInput, NotFound, PaaplusError
from paaplus.services import audit
from paaplus.services.adapters import rollbacks
from paaplus.services.adapters.rollbacks import BASE, Feedback, Target, Wanted
from paaplus.services.users import users

_LOCKED = "55P03"  # PostgreSQL's code: another transaction keeps the row
_LOCKED_TOLD = "another transaction keeps this user's row; the same call again tries it again"
MAX_USERS = 1_000  # of one call
AT_ONCE = 500  # users in one transaction
EVENTS_AT_ONCE = 20_000  # of their logs together: those of users with exceptions are read


@dataclass(frozen=True, slots=True)
class Selection:
    """Which active versions are rolled back: those that meet all conditions that are not None."""

    application: str | None = None
    run_id: UUID | None = None  # the training that made it
    since: datetime | None = None  # it was made at this time or later
    strategy: str | None = None
    source: str | None = None  # it was trained on feedback of this source, such as "key:ID"

    def __post_init__(self) -> None:
        if self.since is not None and self.since.tzinfo is None:
            raise InvalidInput(f"time {self.since} has no time zone")
        if all(value is None for value in (self.run_id, self.since, self.strategy, self.source)):
            raise InvalidInput("say what to roll back: a run, a time, a strategy or a source of feedback")

    def condition(self) -> sa.ColumnElement[bool]:
        """SQL condition on a version, without the application."""
        conditions: list[sa.ColumnElement[bool]] = []
        if self.run_id is not None:
            conditions.append(AdapterRow.run_id.is_not_distinct_from(self.run_id))  # no NULL, which has no opposite
        if self.since is not None:
            conditions.append(AdapterRow.created_at >= self.since)
        if self.strategy is not None:
            conditions.append(AdapterRow.strategy == self.strategy)
        if self.source is not None:
            conditions.append(
                sa.exists().where(
                    FeedbackRow.user_id == AdapterRow.user_id,
                    FeedbackRow.source == self.source,
                    FeedbackRow.sequence <= AdapterRow.high_water_sequence,
                )
            )
        return sa.and_(*conditions)


@dataclass(frozen=True, slots=True)
class UserRollback:
    """What was, or would be, done for one user. Numbers are of versions; None: the base model. `error`: not done."""

    user_id: UUID
    from_number: int
    to_number: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BulkReport:
    """One call's rollbacks. `next_after`: where the next call goes on; None: no user is left."""

    users: list[UserRollback]
    next_after: UUID | None


def roll_back(
    database: Database,
    selection: Selection,
    *,
    feedback: Feedback = "exclude",
    actor: str,
    reason: str,
    dry_run: bool = False,
    limit: int = MAX_USERS,
    after: UUID | None = None,
) -> BulkReport:
    """Roll users back whose active version meets the selection, each to the newest earlier one that does not.

    Args:
        feedback: see `rollbacks.rollback`.
        dry_run: only say what would be done.
        limit: number of users, at most `MAX_USERS`.
        after: the `next_after` of the call before; None: from the first user.

    Raises:
        InvalidInput: no reason, or a limit out of range.
        NotFound: a condition names what does not exist: a slip of the pen must not look like a rollback of nobody.
    """
    if not reason.strip():
        raise InvalidInput("a reason is needed")
    if not 1 <= limit <= MAX_USERS:
        raise InvalidInput(f"limit {limit}: 1 to {MAX_USERS}")
    with database.read_session() as session:
        if after is None:
            _require_known(session, selection)
        found = _active(session, selection, limit, after)
    if not dry_run and found:
        with database.session() as session:
            details = {"num_users": len(found), "feedback": feedback, "conditions": _told(selection)}
            audit.record(session, actor=actor, action="bulk_rollback", subject_id=None, details=details)
    query = Prepared(partial(_targets_query, selection=selection))
    act = partial(_roll_back, database, query, feedback=feedback, actor=actor, reason=reason, dry_run=dry_run)
    done = [user for part in _parts(found) for user in act(part)]
    return BulkReport(done, found[-1].user_id if len(found) == limit else None)


def roll_back_all(
    database: Database,
    selection: Selection,
    *,
    feedback: Feedback = "exclude",
    actor: str,
    reason: str,
    dry_run: bool = False,
) -> Iterator[BulkReport]:
    """As `roll_back`, again and again until no user is left. For a process that does nothing else.

    What the process has loaded by now is kept out of garbage collections meanwhile. To look through it costs a tenth of
    a second each time, mostly while a transaction keeps other writers waiting.
    """
    after: UUID | None = None
    gc.freeze()
    try:
        while True:
            report = roll_back(
                database, selection, feedback=feedback, actor=actor, reason=reason, dry_run=dry_run, after=after
            )
            yield report
            after = report.next_after
            if after is None:
                return
    finally:
        gc.unfreeze()


def _require_known(session: Session, selection: Selection) -> None:
    """Check that there is what the conditions name; a source may be of a key that has been deleted."""
    users.require_application(session, selection.application)
    for noun, value, column in (("run", selection.run_id, AdapterRow.run_id),
                                ("strategy", selection.strategy, AdapterRow.strategy)):  # fmt: skip
        if value is None or (noun == "strategy" and value in strategy_facts.modules()):
            continue
        if session.execute(sa.select(AdapterRow.id).where(column == value).limit(1)).first() is None:
            raise NotFound(f"no version was made by the {noun} {str(value)!r}")


class _Active(NamedTuple):
    """A user's active version. `num_events`: of the user's log."""

    user_id: UUID
    number: int
    num_events: int


def _parts(found: Sequence[_Active]) -> Iterator[list[_Active]]:
    """Users of one transaction each: other writers wait for it."""
    part: list[_Active] = []
    num_events = 0
    for each in found:
        if part and (len(part) == AT_ONCE or num_events + each.num_events > EVENTS_AT_ONCE):
            yield part
            part, num_events = [], 0
        part.append(each)
        num_events += each.num_events
    if part:
        yield part


def _active(session: Session, selection: Selection, limit: int, after: UUID | None) -> list[_Active]:
    """In order of their users' ids."""
    return [_Active(*row) for row in session.execute(_active_query(selection, limit, after))]


def _active_query(selection: Selection, limit: int, after: UUID | None) -> sa.Select[*tuple[UUID, int, int]]:
    """The users' order is that of an index, so that the database reads on where it ended, and sorts nothing."""
    ordered = AdapterRow.user_id if selection.application is None else UserRow.id
    query = (
        sa.select(AdapterRow.user_id, AdapterRow.number, UserRow.feedback_sequence)
        .join(UserRow, UserRow.id == AdapterRow.user_id)
        .where(AdapterRow.state == AdapterState.ACTIVE, selection.condition())
        .order_by(ordered)
        .limit(limit)
    )
    if selection.application is not None:
        query = query.where(UserRow.application == selection.application)
    if after is not None:
        query = query.where(ordered > after)
    return query


def _roll_back(
    database: Database,
    query: Prepared,
    found: Sequence[_Active],
    *,
    feedback: Feedback,
    actor: str,
    reason: str,
    dry_run: bool,
) -> list[UserRollback]:
    """Users in one transaction; if that fails, each in one of their own, so that only the faulty one is not done."""
    try:
        with database.read_session() as session:
            targets = _targets(session, query, {each.user_id: each.number for each in found})
        wanted = [Wanted(each.user_id, targets[each.user_id], each.number) for each in found]
        if dry_run:
            with database.read_session() as session, planned_anew(session):
                outcomes = rollbacks.preview_many(session, wanted, feedback=feedback)
        else:
            with database.session() as session, planned_anew(session):
                outcomes = rollbacks.rollback_many(session, wanted, feedback=feedback, actor=actor, reason=reason)
    except (PaaplusError, OperationalError) as error:
        if isinstance(error, OperationalError) and getattr(error.orig, "sqlstate", None) != _LOCKED:
            raise  # the database is away
        if len(found) == 1:
            told = _LOCKED_TOLD if isinstance(error, OperationalError) else str(error)
            return [UserRollback(found[0].user_id, found[0].number, None, told)]
        act = partial(_roll_back, database, query, feedback=feedback, actor=actor, reason=reason, dry_run=dry_run)
        return [user for each in found for user in act([each])]
    return [
        UserRollback(each.user_id, each.number, None, str(outcome))
        if isinstance(outcome, PaaplusError)
        else UserRollback(each.user_id, each.number, outcome.to_number)
        for each, outcome in zip(found, outcomes, strict=True)
    ]


def _targets_query(dialect: str, selection: Selection) -> sa.Select[Any]:
    """Versions of users that were active and do not meet the selection, newest first."""
    return (
        sa.select(raw(AdapterRow.user_id), AdapterRow.number)
        .where(
            AdapterRow.user_id.in_(one_of(dialect, "ids", sa.Uuid())),
            AdapterRow.state == AdapterState.RETIRED,
            ~selection.condition(),
        )
        .order_by(AdapterRow.number.desc())
    )


def _targets(session: Session, query: Prepared, active_number: dict[UUID, int]) -> dict[UUID, list[Target]]:
    """By user: versions from before the active one that `query` finds, newest first; then the base model."""
    connection = session.connection()
    rows = query.rows(connection, ids=listed(connection, list(active_number)))
    targets: dict[UUID, list[Target]] = {user_id: [] for user_id in active_number}
    for raw_id, number in rows:
        user_id = uuid_of(raw_id)
        if number < active_number[user_id]:
            targets[user_id].append(number)
    return {user_id: [*numbers, BASE] for user_id, numbers in targets.items()}


def _told(selection: Selection) -> dict[str, str]:
    """The conditions, without anything that a person chose for themselves."""
    values = {"application": selection.application, "run": selection.run_id, "since": selection.since,
              "strategy": selection.strategy, "source": selection.source}  # fmt: skip
    return {name: str(value) for name, value in values.items() if value is not None}
