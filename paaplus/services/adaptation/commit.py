"""The transaction that ends a training: it writes the run, the version, the pointer, the schedule and the job."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus import faults
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, RunRow, UserRow
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import LeaseLost
from paaplus.ids import new_id, sha256_hex
from paaplus.queue import jobs
from paaplus.queue.jobs import Lease
from paaplus.scoring.adapters import Adapter
from paaplus.services import events, scheduling
from paaplus.services.adapters import versions
from paaplus.services.feedback import exclusions
from paaplus.services.feedback.feedback_log import GATE

_ACTIVATIONS = (PointerMove.GATE_PROMOTED, PointerMove.PROMOTED, PointerMove.ROLLED_BACK, PointerMove.PINNED)


@dataclass(frozen=True)
class Quarantine:
    """Events that the gate keeps from training, by sequence: these and no others. `reason` is for the user."""

    sequences: frozenset[int]
    reason: str


@dataclass(frozen=True)
class Candidate:
    """A trained adapter with the gate's decision, before it becomes a version."""

    adapter: Adapter
    taste_prior_id: UUID | None  # it started from; None: the base model's own prior, or that of a match
    match_id: UUID | None
    learner_state: bytes
    parent_id: UUID | None
    num_ratings: int
    gate_report: dict[str, Any]
    gate_reason: str
    promote: bool
    preference: list[float] | None = None  # its generic scores were computed with; None: without one


@dataclass(frozen=True)
class RunResult:
    """One finished training, with the lease and the user's epoch that must still hold when it commits."""

    job: Lease
    epoch: int
    strategy: str
    config: dict[str, Any]
    seed: int
    from_sequence: int
    to_sequence: int
    num_new: int
    num_held_out: int
    base_model_id: UUID
    device: str
    started_at: datetime
    outcome: RunOutcome
    timings: dict[str, float]
    metrics: dict[str, Any] = field(default_factory=dict)
    candidate: Candidate | None = None
    is_tainted: bool = False  # the active version was trained on feedback that no longer counts
    quarantine: Quarantine | None = None  # None: it stays as it is
    retire_reason: str | None = None  # why no version of the user may be served; None: one may


def commit(database: Database, user_id: UUID, result: RunResult) -> AdapterRow | None:
    """Write the run, the version, the pointer, the history and the schedule, and end the job, in one transaction.

    Raises:
        LeaseLost: another worker holds the job, or the user's epoch has changed (rollback, pin, release) since.
    """
    with database.session() as session:
        user = lock_user(session, user_id)
        if user is None:
            raise LeaseLost(f"user {user_id} was erased while being trained")
        if user.epoch != result.epoch:
            raise LeaseLost(f"user {user_id} changed while being trained: epoch {result.epoch} became {user.epoch}")
        jobs.complete(session, result.job)
        if result.quarantine is not None:
            _quarantine(session, user, result.quarantine)
        run = _write_run(session, user, result)
        version = _write_version(session, user, run, result) if result.candidate else None
        if result.retire_reason is not None and not user.pinned:
            _retire(session, user, result.retire_reason)
        user.trained_sequence = max(user.trained_sequence, result.to_sequence)
        user.last_trained_at = utcnow()
        scheduling.refresh_due(session, user)
        events.write(session, EventKind.TRAINING_FINISHED, user.id, _finished(user, run, version))
        session.flush()
        faults.point("training_uncommitted")
    faults.point("training_committed")
    return version


def _finished(user: UserRow, run: RunRow, version: AdapterRow | None) -> dict[str, Any]:
    """What the event of a finished training tells."""
    return {
        "run_id": str(run.id),
        "outcome": run.outcome.value,
        "trained_sequence": user.trained_sequence,
        "version": version.number if version is not None else None,
    }


def _write_run(session: Session, user: UserRow, result: RunResult) -> RunRow:
    pinned_candidate = result.outcome == RunOutcome.PROMOTED and user.pinned
    run = RunRow(
        id=new_id(),
        job_id=result.job.job_id,
        user_id=user.id,
        base_model_id=result.base_model_id,
        strategy=result.strategy,
        config=result.config,
        seed=result.seed,
        from_sequence=result.from_sequence,
        to_sequence=result.to_sequence,
        num_new=result.num_new,
        num_held_out=result.num_held_out,
        device=result.device,
        outcome=RunOutcome.KEPT if pinned_candidate else result.outcome,
        metrics=result.metrics,
        timings=result.timings,
        started_at=result.started_at,
        finished_at=utcnow(),
    )
    session.add(run)
    session.flush()
    return run


def skip(database: Database, user_id: UUID, job: Lease) -> None:
    """End a paused user's job without a training. The user becomes due again when the pause ends.

    Raises:
        LeaseLost: another worker holds the job.
    """
    with database.session() as session:
        user = lock_user(session, user_id)
        jobs.complete(session, job)
        if user is not None and job.reason in scheduling.STARTING_POINT_REASONS:
            scheduling.due_for(session, user, DueReason(job.reason))


def _write_version(session: Session, user: UserRow, run: RunRow, result: RunResult) -> AdapterRow:
    candidate = result.candidate
    assert candidate is not None, "a version without a candidate"
    data = candidate.adapter.to_bytes()
    current = versions.active(session, user.id)
    goes_live = candidate.promote and not user.pinned
    user.adapter_sequence += 1
    version = AdapterRow(
        id=new_id(),
        user_id=user.id,
        number=user.adapter_sequence,
        parent_id=candidate.parent_id,
        base_model_id=run.base_model_id,
        taste_prior_id=candidate.taste_prior_id,
        match_id=candidate.match_id,
        run_id=run.id,
        kind=candidate.adapter.kind,
        strategy=run.strategy,
        digest=sha256_hex(data),
        state=AdapterState.CANDIDATE if candidate.promote else AdapterState.REJECTED,
        high_water_sequence=run.to_sequence,
        epoch=user.epoch,
        num_ratings=candidate.num_ratings,
        size_bytes=len(data),
        gate_report=candidate.gate_report,
        metrics=run.metrics,
        preference=candidate.preference,
        data=data,
        learner_state=candidate.learner_state,
        created_at=utcnow(),
    )
    session.add(version)
    session.flush()
    if goes_live:
        versions.point(session, current, version)
    faults.point("version_written")
    reason = f"pinned: {candidate.gate_reason}" if candidate.promote and user.pinned else candidate.gate_reason
    versions.write_history(
        session,
        user.id,
        PointerMove.GATE_PROMOTED if goes_live else PointerMove.GATE_REFUSED,
        current,
        version,
        actor=GATE,
        reason=reason,
        details={"run": str(run.id)},
    )
    if result.is_tainted and not goes_live and not user.pinned:
        _retire_tainted(session, user, current, candidate.parent_id)
    return version


def _retire_tainted(session: Session, user: UserRow, current: AdapterRow | None, untainted_id: UUID | None) -> None:
    """Serve the nearest untainted version: the active one is tainted, and the gate refused its successor."""
    untainted = session.get(AdapterRow, untainted_id) if untainted_id else None
    versions.point(session, current, untainted)
    versions.write_history(
        session,
        user.id,
        PointerMove.ROLLED_BACK,
        current,
        untainted,
        actor=GATE,
        reason="the active version was trained on feedback that no longer counts, and its successor was refused",
        details={},
    )


def _quarantine(session: Session, user: UserRow, quarantine: Quarantine) -> None:
    """Exclude the events, release those that the gate had excluded before, and tell it in the history."""
    current = {seq for row, seq in exclusions.list_open(session, user.id) if row.actor == GATE}
    new, ended = quarantine.sequences - current, current - quarantine.sequences
    exclusions.close(session, user, ended, actor=GATE)
    exclusions.exclude(session, user, new, actor=GATE, reason=quarantine.reason)
    user.epoch += 1
    versions.write_history(
        session,
        user.id,
        PointerMove.QUARANTINED,
        None,
        None,
        actor=GATE,
        reason=quarantine.reason if quarantine.sequences else "No event is quarantined any more.",
        details={"num_quarantined": len(new), "num_released": len(ended)},
    )


def _retire(session: Session, user: UserRow, reason: str) -> None:
    """Serve the match's version, or generic scores. A version that a person made active stays."""
    current = versions.active(session, user.id)
    if current is None or current.number == versions.MATCHED_NUMBER or not _promoted_by_gate(session, current):
        return
    matched = session.execute(
        sa.select(AdapterRow).where(
            AdapterRow.user_id == user.id,
            AdapterRow.number == versions.MATCHED_NUMBER,
            AdapterRow.base_model_id == current.base_model_id,
            AdapterRow.match_id == current.match_id,
        )
    ).scalar_one_or_none()
    versions.point(session, current, matched)
    versions.write_history(
        session, user.id, PointerMove.GATE_RETIRED, current, matched, actor=GATE, reason=reason, details={}
    )


def _promoted_by_gate(session: Session, version: AdapterRow) -> bool:
    move = session.execute(
        sa.select(AdapterHistoryRow.move)
        .where(AdapterHistoryRow.to_adapter_id == version.id, AdapterHistoryRow.move.in_(_ACTIVATIONS))
        .order_by(AdapterHistoryRow.id.desc())
        .limit(1)
    ).scalar_one_or_none()
    return move in (None, PointerMove.GATE_PROMOTED)
