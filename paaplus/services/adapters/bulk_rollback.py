"""Rollbacks of many users at once: of every active version that a run, a time, a strategy or a source of feedback made.

Each user is rolled back in a transaction of their own, with history and audit. A user who was rolled back does not
match any more, so the same call again goes on where the last one ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, FeedbackRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.errors import InvalidInput, PaaplusError
from paaplus.services import audit
from paaplus.services.adapters import versions
from paaplus.services.adapters.versions import BASE

MAX_USERS = 1_000  # of one call


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
            conditions.append(AdapterRow.run_id == self.run_id)
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
    feedback: Literal["exclude", "keep"] = "exclude",
    actor: str,
    reason: str,
    dry_run: bool = False,
    limit: int = MAX_USERS,
    after: UUID | None = None,
) -> BulkReport:
    """Roll users back whose active version meets the selection, each to the newest earlier one that does not.

    Args:
        feedback: see `versions.rollback`.
        dry_run: only say what would be done.
        limit: number of users, at most `MAX_USERS`.
        after: the `next_after` of the call before; None: from the first user.

    Raises:
        InvalidInput: no reason, or a limit out of range.
    """
    if not reason.strip():
        raise InvalidInput("a reason is needed")
    if not 1 <= limit <= MAX_USERS:
        raise InvalidInput(f"limit {limit}: 1 to {MAX_USERS}")
    with database.read_session() as session:
        found = _active(session, selection, limit, after)
    if not dry_run and found:
        with database.session() as session:
            details = {"num_users": len(found), "feedback": feedback, "conditions": _told(selection)}
            audit.record(session, actor=actor, action="bulk_rollback", subject_id=None, details=details)
    done = [_one(database, selection, *row, feedback, actor, reason, dry_run) for row in found]
    return BulkReport(done, found[-1][0] if len(found) == limit else None)


def _active(session: Session, selection: Selection, limit: int, after: UUID | None) -> list[tuple[UUID, int]]:
    """Users in order of id, and the numbers of their active versions."""
    query = (
        sa.select(AdapterRow.user_id, AdapterRow.number)
        .where(AdapterRow.state == AdapterState.ACTIVE, selection.condition())
        .order_by(AdapterRow.user_id)
        .limit(limit)
    )
    if selection.application is not None:
        query = query.join(UserRow, UserRow.id == AdapterRow.user_id).where(
            UserRow.application == selection.application
        )
    if after is not None:
        query = query.where(AdapterRow.user_id > after)
    return [(user_id, number) for user_id, number in session.execute(query)]


def _one(
    database: Database,
    selection: Selection,
    user_id: UUID,
    active_number: int,
    feedback: Literal["exclude", "keep"],
    actor: str,
    reason: str,
    dry_run: bool,
) -> UserRollback:
    with database.read_session() as session:
        targets = _targets(session, selection, user_id, active_number)
    if dry_run:
        return UserRollback(user_id, active_number, targets[0])
    error: PaaplusError | None = None
    for target in targets:  # a version that was trained on retracted events is no target
        try:
            with database.session() as session:
                change = versions.rollback(
                    session,
                    user_id,
                    to=BASE if target is None else target,
                    active_number=active_number,
                    feedback=feedback,
                    actor=actor,
                    reason=reason,
                )
            return UserRollback(user_id, active_number, change.to_number)
        except PaaplusError as refused:
            error = refused
    return UserRollback(user_id, active_number, None, str(error))


def _targets(session: Session, selection: Selection, user_id: UUID, active_number: int) -> list[int | None]:
    """Earlier versions that were active once and do not meet the selection, newest first; then the base model."""
    rows = session.execute(
        sa.select(AdapterRow.number)
        .where(
            AdapterRow.user_id == user_id,
            AdapterRow.number < active_number,
            AdapterRow.state == AdapterState.RETIRED,
            ~selection.condition(),
        )
        .order_by(AdapterRow.number.desc())
    ).scalars()
    return [*rows, None]


def _told(selection: Selection) -> dict[str, str]:
    """The conditions, without anything that a person chose for themselves."""
    values = {"application": selection.application, "run": selection.run_id, "since": selection.since,
              "strategy": selection.strategy, "source": selection.source}  # fmt: skip
    return {name: str(value) for name, value in values.items() if value is not None}
