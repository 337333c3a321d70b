"""Status of the deployment, counted in SQL on request; metrics and alerts are made from it.

Every query uses an index, except two counts: of jobs by state, and of untrained feedback.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import errors, pauses
from paaplus.db.clock import db_now
from paaplus.db.prepared import Prepared, plain
from paaplus.db.raw_values import moment_of
from paaplus.db.row_sets import driver_value
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, DeliveryRow, DueRow, JobRow, UserRow, WebhookRow
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.errors import PaaplusError
from paaplus.ids import first_id_of
from paaplus.services.registry import base_models
from paaplus.settings import Settings

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
    """The status now. Queries are prepared: whoever watches the deployment asks again and again."""
    now, asked = db_now(session), _Asked(session)
    since = asked.moment(now - RECENT)
    first_recent = plain(asked.connection, first_id_of(now - RECENT))
    [(num_due, first_due)] = asked.rows(_DUE, now=asked.moment(now))
    return Status(
        num_jobs=dict.fromkeys(JobState, 0) | {JobState(state): count for state, count in asked.rows(_JOBS)},
        num_due_users=num_due,
        oldest_due_s=_age_s(now, first_due),
        oldest_ready_s={"cpu": 0.0, "gpu": 0.0}
        | {queue: _age_s(now, first) for queue, first in asked.rows(_OLDEST_READY, now=asked.moment(now))},
        num_expired_leases=asked.number(_EXPIRED, now=asked.moment(now)),
        num_failures={
            (JobKind(kind), JobState(state), why): count
            for kind, state, why, count in asked.rows(_FAILURES, since=since)
        },
        num_gate_outcomes=dict.fromkeys(_GATE_MOVES, 0)
        | {PointerMove(move): count for move, count in asked.rows(_GATE_OUTCOMES, first=first_recent)},
        num_stale_adapters=_stale_adapters(asked, settings),
        num_untrained_feedback=asked.number(_UNTRAINED),
        num_deliveries=_deliveries(asked, first_recent),
        num_disabled_webhooks=asked.number(_DISABLED_WEBHOOKS),
    )


class _Asked:
    """Asks the queries of one session; between two of them others go first."""

    def __init__(self, session: Session) -> None:
        self.connection = session.connection()

    def moment(self, moment: datetime) -> Any:
        return driver_value(self.connection.dialect.name, moment)

    def rows(self, query: Prepared, **values: Any) -> list[Any]:
        pauses.pause()
        return query.rows(self.connection, **values)

    def number(self, query: Prepared, **values: Any) -> int:
        [(number,)] = self.rows(query, **values)
        return int(number)


def _age_s(now: datetime, then: Any) -> float:
    """Seconds since a moment, as the driver gives it."""
    moment = moment_of(then)
    return max(0.0, (now - moment).total_seconds()) if moment is not None else 0.0


def _stale_adapters(asked: _Asked, settings: Settings) -> int:
    base = base_models.find_default_id(asked.connection, settings)
    return asked.number(_STALE, base=plain(asked.connection, base.id)) if base is not None else 0


def _deliveries(asked: _Asked, first_recent: Any) -> dict[str, int]:
    found = dict.fromkeys(("sent", "failed", "waiting", "disabled"), 0)
    ended, is_open = asked.rows(_ENDED, first=first_recent), asked.rows(_OPEN)
    found |= {"sent" if is_sent else "failed": count for is_sent, count in ended}
    return found | {"disabled" if is_disabled else "waiting": count for is_disabled, count in is_open}


def _count(*conditions: sa.ColumnElement[bool]) -> Prepared:
    return Prepared(lambda _: sa.select(sa.func.count()).where(*conditions))


def _failed_jobs(_: str) -> sa.Select[Any]:
    reason = sa.case(
        *((JobRow.last_error.startswith(f"{code}: ", autoescape=True), code) for code in _CODES),
        (JobRow.last_error.startswith("worker "), SILENT),
        else_=CRASHED,
    )
    waits_again = sa.and_(JobRow.state == JobState.QUEUED, JobRow.attempts > 0, JobRow.last_error.is_not(None))
    given_up = sa.and_(JobRow.state == JobState.DEAD, JobRow.finished_at > sa.bindparam("since"))
    return (
        sa.select(JobRow.kind, JobRow.state, reason.label("why"), sa.func.count())
        .where(sa.or_(waits_again, given_up))
        .group_by(JobRow.kind, JobRow.state, "why")
    )


_JOBS: Final = Prepared(lambda _: sa.select(JobRow.state, sa.func.count()).group_by(JobRow.state))
_DUE: Final = Prepared(
    lambda _: sa.select(sa.func.count(), sa.func.min(DueRow.due_at)).where(DueRow.due_at <= sa.bindparam("now"))
)
_OLDEST_READY: Final = Prepared(
    lambda _: (
        sa.select(JobRow.queue, sa.func.min(JobRow.run_after))
        .where(JobRow.state == JobState.QUEUED, JobRow.run_after <= sa.bindparam("now"))
        .group_by(JobRow.queue)
    )
)
_EXPIRED: Final = _count(JobRow.state == JobState.RUNNING, JobRow.lease_expires_at < sa.bindparam("now"))
_FAILURES: Final = Prepared(_failed_jobs)
_GATE_MOVES: Final = (PointerMove.GATE_PROMOTED, PointerMove.GATE_REFUSED)
_GATE_OUTCOMES: Final = Prepared(
    lambda _: (
        sa.select(AdapterHistoryRow.move, sa.func.count())
        .where(
            AdapterHistoryRow.id >= sa.bindparam("first"),
            sa.or_(*(AdapterHistoryRow.move == move for move in _GATE_MOVES)),
        )
        .group_by(AdapterHistoryRow.move)
    )
)
_STALE: Final = _count(AdapterRow.state == AdapterState.ACTIVE, AdapterRow.base_model_id != sa.bindparam("base"))
_UNTRAINED: Final = Prepared(
    lambda _: sa.select(sa.func.coalesce(sa.func.sum(UserRow.feedback_sequence - UserRow.trained_sequence), 0))
)
_ENDED: Final = Prepared(
    lambda _: (
        sa.select(DeliveryRow.delivered_at.is_not(None), sa.func.count())
        .where(DeliveryRow.id >= sa.bindparam("first"), DeliveryRow.next_at.is_(None))
        .group_by(DeliveryRow.delivered_at.is_not(None))
    )
)
_OPEN: Final = Prepared(
    lambda _: (
        sa.select(WebhookRow.disabled_at.is_not(None), sa.func.count())
        .join(DeliveryRow, DeliveryRow.webhook_id == WebhookRow.id)
        .where(DeliveryRow.next_at.is_not(None))
        .group_by(WebhookRow.disabled_at.is_not(None))
    )
)
_DISABLED_WEBHOOKS: Final = _count(WebhookRow.disabled_at.is_not(None))
