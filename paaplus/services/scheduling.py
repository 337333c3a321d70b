"""Scheduling: decide which users are due for training, when and why, and enqueue their jobs."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value

from paaplus import faults
from paaplus.configs import PRIOR_STRATEGIES, Policy
from paaplus.db import due_times
from paaplus.db.clock import db_now
from paaplus.db.due_times import Due
from paaplus.db.engine import Database
from paaplus.db.exclusions import is_excluded
from paaplus.db.locks import lock_user
from paaplus.db.prepared import Prepared, as_uuid, listed, one_of
from paaplus.db.raw_values import document_of, moment_of, uuid_of
from paaplus.db.row_sets import driver_value, encoded, row_set
from paaplus.db.tables import AdapterRow, DueRow, FeedbackRow, MatchRow, UserRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.jobs import JobKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.db.users import loaded_user, locked_user
from paaplus.queue import bell, jobs
from paaplus.queue.jobs import DeadJob
from paaplus.services import audit, events, history
from paaplus.settings import Settings

SCAN_BATCH = 2_000  # some 20 ms under SQLite's write lock
BY_HAND_PRIORITY = 1
_DEFAULT_POLICY: Final = Policy()
_USERS: Final = cast(sa.Table, UserRow.__table__)
_DUE_TIMES: Final = cast(sa.Table, DueRow.__table__)
# Reasons that do not depend on feedback: the starting point has changed. Nothing else would make the user due again,
# so a pause keeps the reason, without a time, until it ends.
STARTING_POINT_REASONS = (
    DueReason.NEW_BASE_MODEL,
    DueReason.NEW_PRIOR,
    DueReason.NEW_MATCH,
    DueReason.NEW_PREFERENCE,
)
AT_ONCE: Final = sa.text("reason <> 'interval'")  # as in the index, so that the database uses it


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What one scan did. `num_ready`: ready jobs by queue."""

    num_enqueued: int
    num_reaped: int
    num_ready: dict[str, int]


def policy_of(user: UserRow) -> Policy:
    """The default policy with the user's own overrides."""
    return policy_with(user.policy)


def policy_with(overrides: dict[str, Any]) -> Policy:
    """The default policy with these overrides."""
    return _DEFAULT_POLICY if not overrides else _parsed_policy(json.dumps(overrides, sort_keys=True))


@lru_cache(maxsize=1024)
def _parsed_policy(overrides: str) -> Policy:
    return Policy().overridden(json.loads(overrides))


def default_policy() -> Policy:
    """The default policy."""
    return _DEFAULT_POLICY


lock_key = jobs.adaptation_lock_key


@dataclass(slots=True)
class DueState:
    """What decides when a user is due, read under the lock of the user's row.

    `pending_count` and `pending_since` are of the events since the last training that are not excluded.
    """

    policy: dict[str, Any]
    pending_count: int
    pending_since: datetime | None
    last_trained_at: datetime | None
    next_due_at: datetime | None
    due_reason: str | None

    def decide(self, now: datetime, *, has_new_retraction: bool) -> None:
        """Set `next_due_at` and `due_reason`.

        Args:
            has_new_retraction: a retraction that no training has read retracts an event of the active version.
        """
        policy = policy_with(self.policy)
        if policy.paused:
            self.next_due_at = None
            if self.due_reason not in STARTING_POINT_REASONS:
                self.due_reason = None
        elif self.due_reason in STARTING_POINT_REASONS:
            self.next_due_at = self.next_due_at or now
        elif self.due_reason == DueReason.DRIFT and self.next_due_at is not None and self.pending_count > 0:
            return
        elif has_new_retraction:
            self.next_due_at, self.due_reason = now, DueReason.TAKEN_BACK
        elif self.pending_count == 0:
            self.next_due_at, self.due_reason = None, None
        elif self.pending_count >= policy.min_new_feedback:
            self.next_due_at, self.due_reason = now, DueReason.NEW_FEEDBACK
        else:
            since = self.last_trained_at or self.pending_since or now
            self.next_due_at = since + timedelta(seconds=policy.max_interval_s)
            self.due_reason = DueReason.INTERVAL


DUE_COLUMNS: Final = (
    UserRow.policy,
    UserRow.pending_count,
    UserRow.pending_since,
    UserRow.last_trained_at,
)


def due_state(row: Sequence[Any], due: Due = due_times.NOT_DUE) -> DueState:
    """Of `DUE_COLUMNS` as the driver gives them, and of when the user was due so far."""
    policy, pending_count, pending_since, last_trained_at = row
    return DueState(document_of(policy), pending_count, moment_of(pending_since), moment_of(last_trained_at), *due)


def pending_feedback(session: Session, user_id: UUID) -> int:
    """Number of events since the last training that are not excluded."""
    count = session.execute(sa.select(UserRow.pending_count).where(UserRow.id == user_id)).scalar_one_or_none()
    return count or 0


PENDING: Final = ("pending_count", "pending_since")


def refresh_due(session: Session, user: UserRow) -> None:
    """Count the (locked) user's pending events again, and recompute when the user is due.

    Call it in the transaction of every change that this depends on. `intake` alone keeps the counters up to date by
    itself, because counting again would cost as much as there are pending events.
    """
    refresh_due_of(session, [user.id])


def refresh_due_of(session: Session, user_ids: Collection[UUID]) -> None:
    """As `refresh_due`, for several users, in statements for all of them."""
    pending = count_pending(session, user_ids)
    retracting, now = with_new_retraction(session, user_ids), db_now(session)
    connection = session.connection()
    counted: dict[UUID, tuple[int, datetime | None]] = {}
    changed: dict[UUID, Due] = {}
    for raw_id, at, reason, *columns in _DUE.rows(connection, ids=listed(connection, user_ids)):
        user_id, before = uuid_of(raw_id), Due(moment_of(at), reason)
        state = due_state(columns, before)
        # Of many users at once most stay as they are, and a row that is written costs as if it changed.
        if pending[user_id] != (state.pending_count, state.pending_since):
            state.pending_count, state.pending_since = counted[user_id] = pending[user_id]
        state.decide(now, has_new_retraction=user_id in retracting)
        if before != (due := Due(state.next_due_at, state.due_reason)):
            changed[user_id] = due
    _write_pending(session, counted)
    due_times.write(session, changed)


def _write_pending(session: Session, pending: Mapping[UUID, Sequence[Any]]) -> None:
    """Write `PENDING` of users."""
    if not pending:
        return
    connection = session.connection()
    rows = encoded(connection.dialect.name, ((user_id, *values) for user_id, values in pending.items()))
    _WRITE_PENDING.rows(connection, users=rows)
    for user_id, values in pending.items():
        if (user := loaded_user(session, user_id)) is not None:
            for name, value in zip(PENDING, values, strict=True):
                set_committed_value(user, name, value)


def count_pending(session: Session, user_ids: Collection[UUID]) -> dict[UUID, tuple[int, datetime | None]]:
    """Users' pending events, counted in the log, by user: how many, and when the first was received."""
    session.flush()
    connection = session.connection()
    rows = _PENDING.rows(connection, ids=listed(connection, user_ids))
    return {uuid_of(user_id): (num, moment_of(since)) for user_id, num, since in rows}


_DUE: Final = Prepared(
    lambda dialect: (
        sa.select(UserRow.id, DueRow.due_at, DueRow.reason, *DUE_COLUMNS)
        .join(DueRow, DueRow.user_id == UserRow.id, isouter=True)
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
    )
)
_PENDING: Final = Prepared(
    lambda dialect: (
        sa.select(UserRow.id, sa.func.count(FeedbackRow.id), sa.func.min(FeedbackRow.received_at))
        .join(
            FeedbackRow,
            sa.and_(
                FeedbackRow.user_id == UserRow.id,
                FeedbackRow.sequence > UserRow.trained_sequence,
                ~is_excluded(),
            ),
            isouter=True,
        )
        .where(UserRow.id.in_(one_of(dialect, "ids", sa.Uuid())))
        .group_by(UserRow.id)
    )
)


def _writing_pending(dialect: str) -> sa.Update:
    rows = row_set(dialect, "users", {name: _USERS.c[name].type for name in ("id", *PENDING)})
    return sa.update(_USERS).where(_USERS.c.id == rows.c.id).values({name: rows.c[name] for name in PENDING})


_WRITE_PENDING: Final = Prepared(_writing_pending)


def with_new_retraction(session: Session, user_ids: Iterable[UUID]) -> set[UUID]:
    """Those of the users with a retraction that no training has read, of an event of their active version."""
    session.flush()
    return retracting(session.connection(), user_ids)


def retracting(connection: sa.Connection, user_ids: Iterable[UUID]) -> set[UUID]:
    """As `with_new_retraction`, in the connection's transaction."""
    return {as_uuid(user_id) for (user_id,) in _RETRACTING.rows(connection, ids=listed(connection, list(user_ids)))}


# As a text: SQLite compiles a statement anew, in .1 ms, whenever a value is bound that decides whether a partial index
# serves.
_IS_ACTIVE: Final = sa.text("adapters.state = 'active'")


def users_who_retract(dialect: str, parameter: str) -> sa.Select[Any]:
    """The ids of those of the users that the parameter lists who are to be told by `retracting`."""
    return (
        sa.select(UserRow.id)
        .join(AdapterRow, sa.and_(AdapterRow.user_id == UserRow.id, _IS_ACTIVE))
        .join(FeedbackRow, FeedbackRow.user_id == UserRow.id)
        .where(
            UserRow.id.in_(one_of(dialect, parameter, sa.Uuid())),
            FeedbackRow.retracts_sequence.is_not(None),
            FeedbackRow.sequence > UserRow.trained_sequence,
            FeedbackRow.sequence > AdapterRow.high_water_sequence,
            FeedbackRow.retracts_sequence <= AdapterRow.high_water_sequence,
        )
        .distinct()
    )


_RETRACTING: Final = Prepared(lambda dialect: users_who_retract(dialect, "ids"))


def due_for_new_match(session: Session, user: UserRow) -> None:
    """Make the (locked) user due after their match or expert form has changed, if there is anything to train."""
    session.flush()
    has_version = session.execute(sa.select(AdapterRow.id).where(AdapterRow.user_id == user.id).limit(1)).first()
    if has_version or pending_feedback(session, user.id):
        due_for(session, user, DueReason.NEW_MATCH)


def due_for(session: Session, user: UserRow, reason: DueReason) -> None:
    """Make the (locked) user due for a changed starting point: now, or when a pause ends."""
    assert reason in STARTING_POINT_REASONS, reason
    due_times.write(session, {user.id: Due(None, reason)})
    refresh_due(session, user)


def refresh_after_base_model(session: Session, base_model_id: UUID) -> int:
    """After the default base model has changed: make users due whose active version is for another one.

    Every user's epoch counts up, so that running trainings on the old base model cannot commit.

    Returns:
        Number of due users.
    """
    every = sa.select(UserRow.id).order_by(UserRow.id).with_for_update(key_share=True).subquery()
    session.execute(sa.select(sa.func.count()).select_from(every))  # locked in order, as by everybody else
    session.execute(sa.update(UserRow).values(epoch=UserRow.epoch + 1))
    stale = sa.select(AdapterRow.user_id).where(
        AdapterRow.state == AdapterState.ACTIVE, AdapterRow.base_model_id != base_model_id
    )
    return _make_due(session, DueReason.NEW_BASE_MODEL, UserRow.id.in_(stale))


def refresh_after_prior(
    session: Session, base_model_id: UUID, prior_id: UUID | None, application: str | None = None
) -> int:
    """After the taste prior in force has changed: make users due whose active version started from another one.

    Args:
        base_model_id: the base model that the prior is for.
        prior_id: the prior in force; None: the base model's own.
        application: whose users it is in force for; None: all.

    Returns:
        Number of due users.
    """
    stale = sa.select(AdapterRow.user_id).where(
        AdapterRow.state == AdapterState.ACTIVE,
        AdapterRow.base_model_id == base_model_id,
        AdapterRow.strategy.in_(PRIOR_STRATEGIES),
        AdapterRow.taste_prior_id.is_distinct_from(prior_id),
        AdapterRow.user_id.not_in(_with_own_prior()),
    )
    of_application = UserRow.application == application if application is not None else sa.true()
    return _make_due(session, DueReason.NEW_PRIOR, UserRow.id.in_(stale), of_application)


def _make_due(session: Session, reason: DueReason, *which: sa.ColumnElement[bool]) -> int:
    """Make users due for a changed starting point: now, or when a pause ends. Returns how many they are."""
    is_paused = UserRow.policy["paused"].as_boolean()
    users = (
        sa.select(UserRow.id, sa.case((is_paused, None), else_=db_now(session)), sa.literal(reason.value))
        .where(*which)
        .order_by(UserRow.id)
        .with_for_update(of=UserRow, key_share=True)
    )
    connection = session.connection()
    replacing = due_times.replacing(connection.dialect.name, users).execution_options(preserve_rowcount=True)
    return connection.execute(replacing).rowcount


def _with_own_prior() -> sa.Select[UUID]:
    """Users whose match has a prior of its own."""
    return sa.select(MatchRow.user_id).where(MatchRow.superseded_at.is_(None), MatchRow.prior_digest.is_not(None))


def give_up(session: Session, job: DeadJob) -> None:
    """After a job was given up: write the event, and let the user wait a whole interval.

    A permanent fault would otherwise be tried again at once.
    """
    user = lock_user(session, job.user_id) if job.user_id is not None else None
    told = {"job_id": str(job.job_id), "kind": job.kind.value}
    events.write(session, EventKind.JOB_FAILED, user.id if user is not None else None, told)
    if user is not None and not policy_of(user).paused and pending_feedback(session, user.id):
        at = db_now(session) + timedelta(seconds=policy_of(user).max_interval_s)
        due_times.write(session, {user.id: Due(at, DueReason.INTERVAL)})


def request_training(session: Session, user_id: UUID, *, actor: str, reason: str, settings: Settings) -> UUID:
    """Enqueue a training of this user now, whatever the policy says; returns the job.

    Raises:
        NotFound: no such user.
    """
    locked_user(session, user_id)
    audit.record(session, actor=actor, action=PointerMove.RETRAIN_REQUESTED.value, subject_id=user_id)
    history.write(session, user_id, PointerMove.RETRAIN_REQUESTED, actor=actor, reason=reason)
    job_id = jobs.enqueue(
        session,
        JobKind.ADAPT,
        lock_key(user_id),
        queue=settings.adaptation_queue,
        reason=DueReason.BY_HAND,
        user_id=user_id,
        max_attempts=settings.max_attempts,
        priority=BY_HAND_PRIORITY,
    )
    jobs.run_sooner(session, job_id, reason=DueReason.BY_HAND, priority=BY_HAND_PRIORITY)
    return job_id


def enqueue_due(session: Session, settings: Settings, limit: int = SCAN_BATCH) -> int:
    """Enqueue jobs of due users, who are then not due any more; returns how many.

    Several schedulers may run at once. On PostgreSQL users whom other transactions have locked wait for the next scan.
    """
    now, connection = db_now(session), session.connection()
    driver_now = driver_value(connection.dialect.name, now)
    # A later time of a reason that counts from the moment of the change was written before the clock was set back.
    _FORGIVE_CLOCK.rows(connection, now=driver_now)
    queue, max_attempts = settings.adaptation_queue, settings.max_attempts
    values = jobs.adaptation_values(connection, queue=queue, max_attempts=max_attempts, now=now)
    if connection.dialect.name == "sqlite":
        _ENQUEUE.rows(connection, limit=limit, **values)
        _TAKE.rows(connection, now=driver_now, limit=limit)
        [(num_taken,)] = _NUM_TAKEN.rows(connection)
    else:
        [(num_taken,)] = _TAKE_AND_ENQUEUE.rows(connection, limit=limit, **values)
    if num_taken:
        bell.ring(session, queue)
    return int(num_taken)


_NOW: Final = sa.bindparam("now", type_=_DUE_TIMES.c.due_at.type)
_LIMIT: Final = sa.bindparam("limit", type_=sa.Integer())
_FORGIVE_CLOCK: Final = Prepared(
    lambda _: (
        sa.update(_DUE_TIMES)
        .where(
            _DUE_TIMES.c.due_at > _NOW,
            _DUE_TIMES.c.user_id.in_(
                sa.select(UserRow.id)
                .join(DueRow, DueRow.user_id == UserRow.id)
                .where(DueRow.due_at > _NOW, AT_ONCE)
                .with_for_update(of=UserRow, key_share=True, skip_locked=True)
            ),
        )
        .values(due_at=_NOW)
    )
)


def _first_due() -> sa.Select[*tuple[Any, ...]]:
    """The users who are due for longest, for SQLite. Two statements of one transaction select the same ones."""
    return (
        sa.select(DueRow.user_id, DueRow.reason)
        .where(DueRow.due_at <= _NOW)
        .order_by(DueRow.due_at, sa.text("due_times.rowid"))
        .limit(_LIMIT)
    )


def _enqueuing_first_due(dialect: str) -> sa.Insert:
    """Enqueue trainings of due users, for SQLite, where nobody else writes meanwhile."""
    due = _first_due().subquery("due")
    of_users = sa.select(due, UserRow.application).join(UserRow, UserRow.id == due.c.user_id)
    return jobs.enqueuing(dialect, of_users.order_by(due.c.user_id).subquery("in_order"))


def _taking(_dialect: str) -> sa.Delete:
    """Delete the due times of those who have been enqueued, for SQLite."""
    return sa.delete(_DUE_TIMES).where(_DUE_TIMES.c.user_id.in_(sa.select(_first_due().subquery("due").c.user_id)))


def _taking_and_enqueuing(dialect: str) -> sa.Select[Any]:
    """Lock due users, delete their due times and enqueue their trainings, in one statement, for PostgreSQL; select
    how many.

    Users whom others have locked are left out. A user whom another transaction has enqueued since this statement
    began may be locked by it, but has no due time any more, or a later one: nothing is deleted and enqueued.
    """
    due = (
        sa.select(DueRow.user_id, UserRow.application)
        .join(UserRow, UserRow.id == DueRow.user_id)
        .where(DueRow.due_at <= _NOW)
        .order_by(DueRow.due_at)
        .limit(_LIMIT)
        .with_for_update(of=UserRow, key_share=True, skip_locked=True)
        .cte("due")
    )
    taken = (
        sa.delete(_DUE_TIMES)
        .where(_DUE_TIMES.c.user_id == due.c.user_id, _DUE_TIMES.c.due_at <= _NOW)
        .returning(_DUE_TIMES.c.user_id, _DUE_TIMES.c.reason, due.c.application)
        .cte("taken")
    )
    in_order = sa.select(taken).order_by(taken.c.user_id).subquery("in_order")
    enqueued = jobs.enqueuing(dialect, in_order).cte("enqueued")
    return sa.select(sa.func.count()).select_from(taken).add_cte(enqueued)


_ENQUEUE: Final = Prepared(_enqueuing_first_due)
_TAKE: Final = Prepared(_taking)
_NUM_TAKEN: Final = Prepared(lambda _: sa.select(sa.func.changes()))
_TAKE_AND_ENQUEUE: Final = Prepared(_taking_and_enqueuing)


def scan(database: Database, settings: Settings) -> ScanReport:
    """One scan: enqueue due users, requeue jobs whose lease has expired, and count ready jobs."""
    retry = jobs.RetryPolicy(settings.retry_base_s, settings.retry_cap_s)
    num_enqueued = 0
    while True:
        with database.session() as session:
            batch = enqueue_due(session, settings, SCAN_BATCH)
        if batch:
            faults.point("jobs_enqueued")
        num_enqueued += batch
        if batch < SCAN_BATCH:
            break
    with database.session() as session:  # of its own: whom a job's return concerns is locked before the job
        jobs.forgive_clock(session, settings.lease_s)
    with database.session() as session:
        reaped = jobs.reap(session, retry)
        for job in reaped.dead:
            give_up(session, job)
        num_ready = jobs.count_ready(session)
    return ScanReport(num_enqueued, reaped.num_reaped, num_ready)
