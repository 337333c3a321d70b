"""Train one user's next adapter version: read the log, learn the increment, judge it, commit it behind the fence.

Nothing is locked while it learns. What the commit stands on (the user's epoch, the lease) is checked again in the
one transaction that writes run, version, pointer, history and the job's end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from paaplus.db.tables import AdapterRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.gate import Evidence, judge
from paaplus.pipelines.context import NotReady, Running
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.scoring.base import BaseScorer
from paaplus.services import adaptation
from paaplus.services.adaptation import Snapshot
from paaplus.services.feedback_log import NOTHING_SEEN, Seen, Word, seen_by
from paaplus.training import Trained, TrainingRequest, train

FEATURES_WAIT_S = 2.0


@dataclass(frozen=True)
class _Lineage:
    """Where this training starts from, and what the candidate is measured against."""

    reference: Adapter | None  # None: the base
    reference_row: AdapterRow | None
    start: Adapter | None  # the reference, or None to begin at zero change
    state: bytes | None
    seen: Seen  # what `start` had been shown


def run(running: Running) -> str:
    """Do one adaptation job; the returned line goes into the log.

    Raises:
        NotReady: features of rated images are still being extracted, or the user changed meanwhile.
        LeaseLost: another worker has the job.
    """
    context, lease = running.context, running.lease
    assert lease.user_id is not None, "an adaptation job without a user"
    started_at, clock = utcnow(), time.perf_counter()
    snapshot = adaptation.read_snapshot(context.database, context.blobs, lease.user_id, context.settings)
    if snapshot.num_missing_features:
        raise NotReady(f"features of {snapshot.num_missing_features} rated image(s) are pending", FEATURES_WAIT_S)
    forced = lease.reason == DueReason.BY_HAND
    if snapshot.policy.paused and not forced:
        adaptation.skip(context.database, lease)
        return "paused"
    lineage = _lineage(snapshot, forced)
    words = [word for word in snapshot.log.words() if word.image_id in snapshot.features]
    training = [word for word in words if not word.held_out]
    new = [word for word in training if snapshot.log.is_new(lineage.seen, word)]
    past = [word for word in training if not snapshot.log.is_new(lineage.seen, word)]
    restarted = lineage.start is not lineage.reference or lineage.reference_row is not snapshot.active
    read_s = time.perf_counter() - clock

    result = adaptation.RunResult(
        job=lease,
        epoch=snapshot.epoch,
        strategy=snapshot.policy.strategy,
        config=snapshot.policy.training.to_dict(),
        seed=snapshot.policy.training.seed,
        from_sequence=lineage.seen.high_water,
        to_sequence=snapshot.log.head,
        num_new=len(new),
        num_held_out=sum(word.held_out for word in words),
        base_model_id=snapshot.base_model_id,
        device=context.device,
        started_at=started_at,
        outcome=RunOutcome.NOTHING_NEW,
        timings={"read_s": read_s},
        is_tainted=snapshot.active is not None and snapshot.log.is_tainted(seen_by(snapshot.active)),
    )
    if new or restarted:
        running.progress(0, len(training))
        result = _train_and_judge(running, snapshot, lineage, new, past, words, result)
    adaptation.commit(context.database, snapshot.user_id, result)
    return f"{result.outcome}: {len(new)} new, {len(past)} past"


def _lineage(snapshot: Snapshot, forced: bool) -> _Lineage:
    """The nearest version, from the active one back, that has learned nothing that was taken back since."""
    reference_row: AdapterRow | None = None
    for row in snapshot.ancestry:
        if row.base_model_id != snapshot.base_model_id:
            break  # made for another base model: its numbers mean nothing here
        if not snapshot.log.is_tainted(seen_by(row)):
            reference_row = row
            break
    if reference_row is None:
        return _Lineage(None, None, None, None, NOTHING_SEEN)
    reference = adapter_from_bytes(reference_row.data)
    policy = snapshot.policy
    continues = not forced and (reference_row.kind, reference_row.strategy) == (policy.adapter, policy.strategy)
    if not continues:  # another kind of learner, or asked for by hand: from zero change, on everything
        return _Lineage(reference, reference_row, None, None, NOTHING_SEEN)
    return _Lineage(reference, reference_row, reference, reference_row.learner_state, seen_by(reference_row))


def _train_and_judge(
    running: Running,
    snapshot: Snapshot,
    lineage: _Lineage,
    new: list[Word],
    past: list[Word],
    words: list[Word],
    result: adaptation.RunResult,
) -> adaptation.RunResult:
    base, policy = snapshot.base, snapshot.policy
    clock = time.perf_counter()
    request = TrainingRequest(
        strategy=policy.strategy,
        adapter_kind=policy.adapter,
        config=policy.training,
        base=base,
        new=rated_set(snapshot, new),
        past=rated_set(snapshot, past),
        parent=lineage.start,
        state=lineage.state,
        device=running.context.device,
    )
    trained = train(request, should_stop=running.should_stop)
    train_s = time.perf_counter() - clock
    clock = time.perf_counter()
    report = judge(_evidence(snapshot, lineage, request, trained, words), policy.gate)
    metrics = {**trained.metrics, **_prequential(base, lineage.reference, request.new)}
    return replace(
        result,
        outcome=RunOutcome.PROMOTED if report.promote else RunOutcome.KEPT,
        metrics=metrics,
        timings={**result.timings, "train_s": train_s, "judge_s": time.perf_counter() - clock},
        candidate=adaptation.Candidate(
            adapter=trained.adapter,
            learner_state=trained.state,
            parent_id=lineage.reference_row.id if lineage.reference_row else None,
            num_ratings=len(new) + len(past),
            gate_report=report.to_dict(),
            gate_reason=report.reason,
            promote=report.promote,
        ),
    )


def rated_set(snapshot: Snapshot, words: list[Word]) -> RatedSet:
    """Words as arrays: features projected to taste space, scores by aspect with NaN for what was not rated."""
    base = snapshot.base
    features_ND = np.stack([snapshot.features[word.image_id] for word in words]) if words else _no_features(base)
    taste_NR = base.project(features_ND)
    target_NA = np.array([[word.scores.get(aspect, np.nan) for aspect in base.aspects] for word in words])
    return RatedSet.of(
        np.array([word.sequence for word in words], np.int64),
        taste_NR,
        base.generic(taste_NR),
        target_NA.reshape(len(words), len(base.aspects)),
    )


def _no_features(base: BaseScorer) -> np.ndarray:
    return np.empty((0, base.feature_dim), np.float16)


def _score(adapter: Adapter | None, taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
    return generic_NA if adapter is None else adapter.score(taste_NR, generic_NA)


def _evidence(
    snapshot: Snapshot, lineage: _Lineage, request: TrainingRequest, trained: Trained, words: list[Word]
) -> Evidence:
    """Held-out ratings of all increments, leave-one-out predictions of new ones where the strategy gives them,
    and a pool of the deployment's images for the size of the shift."""
    held = rated_set(snapshot, [word for word in words if word.held_out])
    pool_PD = np.stack(snapshot.pool) if snapshot.pool else _no_features(snapshot.base)
    pool_PR = snapshot.base.project(pool_PD)
    pool_PA = snapshot.base.generic(pool_PR)
    boundary = lineage.reference_row.high_water_sequence if lineage.reference_row else 0
    evidence = Evidence(
        sequence_N=held.sequence_N,
        target_NA=held.target_NA,
        active_NA=_score(lineage.reference, held.taste_NR, held.generic_NA),
        candidate_NA=trained.adapter.score(held.taste_NR, held.generic_NA),
        boundary=boundary,
        pool_active_PA=_score(lineage.reference, pool_PR, pool_PA),
        pool_candidate_PA=trained.adapter.score(pool_PR, pool_PA),
    )
    if trained.loo_NA is None:
        return evidence
    everything = RatedSet.concatenate(request.past, request.new)
    # only where the reference had not seen the rating either
    fresh_N = everything.sequence_N > boundary
    fresh = everything.select(fresh_N)
    return replace(
        evidence,
        prequential_sequence_N=fresh.sequence_N,
        prequential_target_NA=fresh.target_NA,
        prequential_active_NA=_score(lineage.reference, fresh.taste_NR, fresh.generic_NA),
        prequential_candidate_NA=trained.loo_NA[fresh_N],
    )


def _prequential(base: BaseScorer, reference: Adapter | None, new: RatedSet) -> dict[str, Any]:
    """How well what was served predicted the new ratings before learning from them: mean absolute error by aspect."""
    if not len(new):
        return {}
    error_NA = np.abs(_score(reference, new.taste_NR, new.generic_NA) - new.target_NA)
    rated_A = ~np.isnan(error_NA).all(axis=0)
    return {
        "prequential_mae": {
            aspect: float(np.nanmean(error_NA[:, a])) for a, aspect in enumerate(base.aspects) if rated_A[a]
        }
    }
