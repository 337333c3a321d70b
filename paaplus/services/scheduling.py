"""Scheduling: decide which users are due for training, when and why, and enqueue their jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.configs import PRIOR_STRATEGIES, Policy
from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import AdapterRow, ExclusionRow, FeedbackRow, MatchRow, UserRow
from paaplus.db.tables.jobs import JobKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.db.users import locked_user
from paaplus.queue import jobs
from paaplus.services import audit, history
from paaplus.settings import Settings

SCAN_BATCH = 200
BY_HAND_PRIORITY = 1
# Reasons that do not depend on feedback: the starting point has changed. Nothing else would make the user due again,
# so a pause keeps the reason, without a time, until it ends.
STARTING_POINT_REASONS = (
    DueReason.NEW_BASE_MODEL,
    DueReason.NEW_PRIOR,
    DueReason.NEW_MATCH,
    DueReason.NEW_PREFERENCE,
)
# Due since the moment of the change. A later time was written before the clock was set back.
AT_ONCE = (DueReason.NEW_FEEDBACK, DueReason.TAKEN_BACK, DueReason.DRIFT, *STARTING_POINT_REASONS)


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What one scan did. `num_ready`: ready jobs by queue."""

    num_enqueued: int
    num_reaped: int
    num_ready: dict[str, int]


def policy_of(user: UserRow) -> Policy:
    """The default policy with the user's own overrides."""
    return Policy().overridden(user.policy)


def lock_key(user_id: UUID) -> str:
    return f"adapt:{user_id}"


@dataclass(frozen=True, slots=True)
class Pending:
    """Events since the last training that are not excluded: how many, and when the first was received."""

    count: int
    oldest_at: datetime | None


def pending(session: Session, user_id: UUID) -> Pending:
    """The user's events since the last training."""
    trained = sa.select(UserRow.trained_sequence).where(UserRow.id == user_id).scalar_subquery()
    excluded = sa.exists().where(ExclusionRow.feedback_id == FeedbackRow.id, ExclusionRow.released_at.is_(None))
    count, oldest_at = session.execute(
        sa.select(sa.func.count(), sa.func.min(FeedbackRow.received_at)).where(
            FeedbackRow.user_id == user_id, FeedbackRow.sequence > trained, ~excluded
        )
    ).one()
    return Pending(int(count), oldest_at)


def pending_feedback(session: Session, user_id: UUID) -> int:
    """Number of events since the last training that are not excluded."""
    return pending(session, user_id).count


def refresh_due(session: Session, user: UserRow) -> None:
    """Recompute when the user is due. Call it in the transaction of every change that this depends on."""
    session.flush()
    policy = policy_of(user)
    if policy.paused:
        _clear_due(user)
        return
    if user.due_reason in STARTING_POINT_REASONS:
        user.next_due_at = user.next_due_at or db_now(session)
        return
    waiting = pending(session, user.id)
    if user.due_reason == DueReason.DRIFT and user.next_due_at is not None and waiting.count > 0:
        return
    if _has_new_retraction(session, user):
        user.next_due_at, user.due_reason = db_now(session), DueReason.TAKEN_BACK
    elif waiting.count == 0:
        user.next_due_at, user.due_reason = None, None
    elif waiting.count >= policy.min_new_feedback:
        user.next_due_at, user.due_reason = db_now(session), DueReason.NEW_FEEDBACK
    else:
        since = user.last_trained_at or waiting.oldest_at or db_now(session)
        user.next_due_at = since + timedelta(seconds=policy.max_interval_s)
        user.due_reason = DueReason.INTERVAL


def _clear_due(user: UserRow) -> None:
    user.next_due_at = None
    if user.due_reason not in STARTING_POINT_REASONS:
        user.due_reason = None


def _has_new_retraction(session: Session, user: UserRow) -> bool:
    """Whether a retraction that no training has read retracts an event that the active version was trained on."""
    retracted = sa.exists().where(
        FeedbackRow.user_id == user.id,
        FeedbackRow.sequence > user.trained_sequence,
        FeedbackRow.sequence > AdapterRow.high_water_sequence,
        FeedbackRow.retracts_sequence <= AdapterRow.high_water_sequence,
    )
    tainted = sa.select(AdapterRow.id).where(
        AdapterRow.user_id == user.id, AdapterRow.state == AdapterState.ACTIVE, retracted
    )
    return session.execute(tainted).first() is not None


def due_for_new_match(session: Session, user: UserRow) -> None:
    """Make the (locked) user due after their match or expert form has changed, if there is anything to train."""
    session.flush()
    has_version = session.execute(sa.select(AdapterRow.id).where(AdapterRow.user_id == user.id).limit(1)).first()
    if has_version or pending_feedback(session, user.id):
        due_for(session, user, DueReason.NEW_MATCH)


def due_for(session: Session, user: UserRow, reason: DueReason) -> None:
    """Make the (locked) user due for a changed starting point: now, or when a pause ends."""
    assert reason in STARTING_POINT_REASONS, reason
    user.next_due_at, user.due_reason = None, reason
    refresh_due(session, user)


def refresh_after_base_model(session: Session, base_model_id: UUID) -> int:
    """After the default base model has changed: make users due whose active version is for another one.

    Every user's epoch counts up, so that running trainings on the old base model cannot commit.

    Returns:
        Number of due users.
    """
    session.execute(sa.update(UserRow).values(epoch=UserRow.epoch + 1))
    stale = sa.select(AdapterRow.user_id).where(
        AdapterRow.state == AdapterState.ACTIVE, AdapterRow.base_model_id != base_model_id
    )
    result = session.execute(
        sa.update(UserRow)
        .where(UserRow.id.in_(stale))
        .values(next_due_at=db_now(session), due_reason=DueReason.NEW_BASE_MODEL)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def refresh_after_prior(session: Session, base_model_id: UUID, prior_id: UUID | None) -> int:
    """After the taste prior in force has changed: make users due whose active version started from another one.

    Args:
        base_model_id: the base model that the prior is for.
        prior_id: the prior in force; None: the base model's own.

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
    result = session.execute(
        sa.update(UserRow)
        .where(UserRow.id.in_(stale))
        .values(next_due_at=db_now(session), due_reason=DueReason.NEW_PRIOR)
    )
    return int(result.rowcount)  # type: ignore[attr-defined]


def _with_own_prior() -> sa.Select[UUID]:
    """Users whose match has a prior of its own."""
    return sa.select(MatchRow.user_id).where(MatchRow.superseded_at.is_(None), MatchRow.prior_digest.is_not(None))


def postpone(session: Session, user_id: UUID) -> None:
    """After a job was given up: wait a whole interval, so that a permanent fault is not retried at once."""
    user = lock_user(session, user_id)
    if user is not None and not policy_of(user).paused and pending_feedback(session, user_id):
        user.next_due_at = db_now(session) + timedelta(seconds=policy_of(user).max_interval_s)
        user.due_reason = DueReason.INTERVAL


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
    """Enqueue jobs of due users and clear their due times; returns how many. Several schedulers may run at once."""
    now = db_now(session)
    due = session.execute(
        sa.select(UserRow)
        .where(sa.or_(UserRow.next_due_at <= now, UserRow.due_reason.in_(AT_ONCE)))
        .where(UserRow.next_due_at.is_not(None))
        .order_by(UserRow.next_due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    users = list(due.scalars())
    for user in users:
        if policy_of(user).paused:
            _clear_due(user)
            continue
        jobs.enqueue(
            session,
            JobKind.ADAPT,
            lock_key(user.id),
            queue=settings.adaptation_queue,
            reason=user.due_reason or DueReason.NEW_FEEDBACK,
            user_id=user.id,
            max_attempts=settings.max_attempts,
        )
        user.next_due_at, user.due_reason = None, None
    return len(users)


def scan(database: Database, settings: Settings) -> ScanReport:
    """One scan: enqueue due users, requeue jobs whose lease has expired, and count ready jobs."""
    retry = jobs.RetryPolicy(settings.retry_base_s, settings.retry_cap_s)
    num_enqueued = 0
    while True:
        with database.session() as session:
            batch = enqueue_due(session, settings)
        if batch:
            faults.point("jobs_enqueued")
        num_enqueued += batch
        if batch < SCAN_BATCH:
            break
    with database.session() as session:
        jobs.forgive_clock(session, settings.lease_s)
        reaped = jobs.reap(session, retry)
        for user_id in reaped.dead_user_ids:
            postpone(session, user_id)
        num_ready = jobs.count_ready(session)
    return ScanReport(num_enqueued, reaped.num_reaped, num_ready)
