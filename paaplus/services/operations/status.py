"""Status of the deployment, counted in SQL on request; metrics and alerts are made from it.

Every query uses an index, except two counts: of jobs by state, and of untrained feedback.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import errors, pauses
from paaplus.db.clock import db_now
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, DeliveryRow, JobRow, UserRow, WebhookRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.errors import PaaplusError
from paaplus.ids import first_id_of
from paaplus.services.registry import base_models
from paaplus.settings import Settings

Ts = TypeVarTuple("Ts")

RECENT: Final = timedelta(days=1)

# Prefixes of `JobRow.last_error` that are counted by reason. `run_jobs` and `reap` write them.
_CODES = sorted(
    {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PaaplusError)}
)
SILENT, CRASHED = "worker_silent", "crashed"


@dataclass(frozen=True, slots=True)
class Status:
    """Status at one moment. Ages are in seconds, 0 if nothing waits. "Recent" is the last day."""

    num_jobs: dict[JobState, int]
    """Jobs by state; every state is a key."""
    num_due_users: int
    """Due users without a job; a scheduler enqueues them."""
    oldest_due_s: float
    oldest_ready_s: dict[str, float] = field(default_factory=dict)
    """By queue, how long the oldest ready job has waited for a worker."""
    num_expired_leases: int = 0
    """Running jobs whose lease has expired, and which no scheduler has requeued yet."""
    num_failures: dict[tuple[JobKind, JobState, str], int] = field(default_factory=dict)
    """By kind, state and reason: jobs that wait for another attempt, and jobs that were given up recently."""
    num_gate_outcomes: dict[PointerMove, int] = field(default_factory=dict)
    """Recent decisions of the gate."""
    num_stale_adapters: int = 0
    """Active versions for another base model than the default one; their users get generic scores."""
    num_untrained_feedback: int = 0
    """Events that no training has read."""
    num_deliveries: dict[str, int] = field(default_factory=dict)
    """Deliveries to webhooks: `sent` and `failed` (given up) of recent events, `waiting` for the next try, and
    `disabled`: waiting for a webhook that is disabled."""
    num_disabled_webhooks: int = 0


def read(session: Session, settings: Settings) -> Status:
    now = db_now(session)
    counts = _asked(session, sa.select(JobRow.state, sa.func.count()).group_by(JobRow.state))
    num_due, first_due = _asked(
        session, sa.select(sa.func.count(), sa.func.min(UserRow.next_due_at)).where(UserRow.next_due_at <= now)
    ).one()
    return Status(
        num_jobs=dict.fromkeys(JobState, 0) | {state: int(count) for state, count in counts},
        num_due_users=int(num_due),
        oldest_due_s=_age_s(now, first_due),
        oldest_ready_s=_oldest_ready(session, now),
        num_expired_leases=_count(session, JobRow.state == JobState.RUNNING, JobRow.lease_expires_at < now),
        num_failures=_failures(session, now),
        num_gate_outcomes=_gate_outcomes(session, now),
        num_stale_adapters=_stale_adapters(session, settings),
        num_untrained_feedback=int(
            _asked(
                session,
                sa.select(sa.func.coalesce(sa.func.sum(UserRow.feedback_sequence - UserRow.trained_sequence), 0)),
            ).scalar_one()
        ),
        num_deliveries=_deliveries(session, now),
        num_disabled_webhooks=_count(session, WebhookRow.disabled_at.is_not(None)),
    )


def _asked(session: Session, statement: sa.Select[*Ts]) -> sa.Result[*Ts]:
    """The rows of one of the queries; between two of them others go first."""
    pauses.pause()
    return session.execute(statement)


def _age_s(now: datetime, then: datetime | None) -> float:
    return max(0.0, (now - then).total_seconds()) if then is not None else 0.0


def _count(session: Session, *conditions: sa.ColumnElement[bool]) -> int:
    return int(_asked(session, sa.select(sa.func.count()).where(*conditions)).scalar_one())


def _oldest_ready(session: Session, now: datetime) -> dict[str, float]:
    rows = _asked(
        session,
        sa.select(JobRow.queue, sa.func.min(JobRow.run_after))
        .where(JobRow.state == JobState.QUEUED, JobRow.run_after <= now)
        .group_by(JobRow.queue),
    )
    return {"cpu": 0.0, "gpu": 0.0} | {queue: _age_s(now, first) for queue, first in rows}


def _failures(session: Session, now: datetime) -> dict[tuple[JobKind, JobState, str], int]:
    reason = sa.case(
        *((JobRow.last_error.startswith(f"{code}: ", autoescape=True), code) for code in _CODES),
        (JobRow.last_error.startswith("worker "), SILENT),
        else_=CRASHED,
    )
    waits_again = sa.and_(JobRow.state == JobState.QUEUED, JobRow.attempts > 0, JobRow.last_error.is_not(None))
    given_up = sa.and_(JobRow.state == JobState.DEAD, JobRow.finished_at > now - RECENT)
    rows = _asked(
        session,
        sa.select(JobRow.kind, JobRow.state, reason.label("why"), sa.func.count())
        .where(sa.or_(waits_again, given_up))
        .group_by(JobRow.kind, JobRow.state, "why"),
    )
    return {(kind, state, why): int(count) for kind, state, why, count in rows}


def _gate_outcomes(session: Session, now: datetime) -> dict[PointerMove, int]:
    moves = (PointerMove.GATE_PROMOTED, PointerMove.GATE_REFUSED)
    rows = _asked(
        session,
        sa.select(AdapterHistoryRow.move, sa.func.count())
        .where(AdapterHistoryRow.id >= first_id_of(now - RECENT), AdapterHistoryRow.move.in_(moves))
        .group_by(AdapterHistoryRow.move),
    )
    return dict.fromkeys(moves, 0) | {move: int(count) for move, count in rows}


def _stale_adapters(session: Session, settings: Settings) -> int:
    base = base_models.find_default(session, settings)
    if base is None:
        return 0
    return _count(session, AdapterRow.state == AdapterState.ACTIVE, AdapterRow.base_model_id != base.id)


def _deliveries(session: Session, now: datetime) -> dict[str, int]:
    ended = _asked(
        session,
        sa.select(DeliveryRow.delivered_at.is_not(None), sa.func.count())
        .where(DeliveryRow.id >= first_id_of(now - RECENT), DeliveryRow.next_at.is_(None))
        .group_by(DeliveryRow.delivered_at.is_not(None)),
    )
    open_ones = _asked(
        session,
        sa.select(WebhookRow.disabled_at.is_not(None), sa.func.count())
        .join(DeliveryRow, DeliveryRow.webhook_id == WebhookRow.id)
        .where(DeliveryRow.next_at.is_not(None))
        .group_by(WebhookRow.disabled_at.is_not(None)),
    )
    found = {"sent" if is_sent else "failed": int(count) for is_sent, count in ended}
    found |= {"disabled" if is_disabled else "waiting": int(count) for is_disabled, count in open_ones}
    return dict.fromkeys(("sent", "failed", "waiting", "disabled"), 0) | found
