"""A finished training: what a commit needs of it, and the rows that it becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paaplus.db.tables import UserRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.types import utcnow
from paaplus.ids import sha256_hex
from paaplus.queue.jobs import Lease
from paaplus.scoring.adapters import Adapter
from paaplus.services.adapters.versions import Key, Move
from paaplus.services.feedback.counted_events import GATE


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


@dataclass(frozen=True)
class Ended:
    """A training whose user is locked and whose job is completed, before its rows are written."""

    user: UserRow
    result: RunResult
    data: bytes  # the adapter's
    run_id: UUID
    version_id: UUID
    finished_at: datetime

    @property
    def goes_live(self) -> bool:
        return self.result.candidate is not None and self.result.candidate.promote and not self.user.pinned

    @property
    def outcome(self) -> RunOutcome:
        pinned_candidate = self.result.outcome == RunOutcome.PROMOTED and self.user.pinned
        return RunOutcome.KEPT if pinned_candidate else self.result.outcome


def told(ended: Ended) -> dict[str, Any]:
    """What the event of a finished training tells."""
    return {
        "run_id": str(ended.run_id),
        "outcome": ended.outcome.value,
        "trained_sequence": ended.user.trained_sequence,
        "version": ended.user.adapter_sequence if ended.result.candidate is not None else None,
    }


def run_row(ended: Ended) -> dict[str, Any]:
    """The row of a run."""
    result = ended.result
    return {
        "id": ended.run_id,
        "job_id": result.job.job_id,
        "user_id": ended.user.id,
        "base_model_id": result.base_model_id,
        "strategy": result.strategy,
        "config": result.config,
        "seed": result.seed,
        "from_sequence": result.from_sequence,
        "to_sequence": result.to_sequence,
        "num_new": result.num_new,
        "num_held_out": result.num_held_out,
        "device": result.device,
        "outcome": ended.outcome,
        "metrics": result.metrics,
        "timings": result.timings,
        "started_at": result.started_at,
        "finished_at": ended.finished_at,
    }


def candidate_of(ended: Ended) -> Candidate:
    assert ended.result.candidate is not None, "a version without a candidate"
    return ended.result.candidate


def version_row(ended: Ended) -> dict[str, Any]:
    """The row of a version."""
    candidate, result = candidate_of(ended), ended.result
    kept = AdapterState.CANDIDATE if candidate.promote else AdapterState.REJECTED
    return {
        "id": ended.version_id,
        "user_id": ended.user.id,
        "number": ended.user.adapter_sequence,
        "parent_id": candidate.parent_id,
        "base_model_id": result.base_model_id,
        "taste_prior_id": candidate.taste_prior_id,
        "match_id": candidate.match_id,
        "run_id": ended.run_id,
        "kind": candidate.adapter.kind,
        "strategy": result.strategy,
        "digest": sha256_hex(ended.data),
        "state": AdapterState.ACTIVE if ended.goes_live else kept,
        "high_water_sequence": result.to_sequence,
        "epoch": ended.user.epoch,
        "num_ratings": candidate.num_ratings,
        "size_bytes": len(ended.data),
        "gate_report": candidate.gate_report,
        "metrics": result.metrics,
        "preference": candidate.preference,
        "data": ended.data,
        "learner_state": candidate.learner_state,
        "created_at": utcnow(),
    }


def move_of(ended: Ended, current: Key) -> Move:
    """The entry of the history about a new version."""
    candidate = candidate_of(ended)
    pinned = "pinned: " if candidate.promote and ended.user.pinned else ""
    return Move(
        ended.user.id,
        PointerMove.GATE_PROMOTED if ended.goes_live else PointerMove.GATE_REFUSED,
        current,
        Key(ended.version_id, ended.user.adapter_sequence),
        actor=GATE,
        reason=pinned + candidate.gate_reason,
        details={"run": str(ended.run_id)},
    )
