"""Train one user's next adapter version: read the log, learn the increment, judge it, commit it behind the fence.

Nothing is locked while it learns. What the commit stands on (the user's epoch, the lease) is checked again in the
one transaction that writes run, version, pointer, history and the job's end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np

from paaplus import faults
from paaplus.configs import PRIOR_STRATEGIES
from paaplus.db.tables import AdapterRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.gate import Evidence, completed, gather, judge
from paaplus.pipelines.context import NotReady, Running
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.scoring.base import BaseScorer
from paaplus.services import adaptation
from paaplus.services.adaptation import Snapshot
from paaplus.services.feedback_log import NOTHING_SEEN, ComparedWord, Seen, Word, seen_by
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


@dataclass(frozen=True)
class _Words:
    """The user's latest words: what is new to the version that is gone on from, what it knew, what only judges."""

    new: list[Word]
    past: list[Word]
    held_out: list[Word]
    new_compared: list[ComparedWord]
    past_compared: list[ComparedWord]
    num_held_out_comparisons: int

    @property
    def num_new(self) -> int:
        return len(self.new) + len(self.new_compared)

    @property
    def num_past(self) -> int:
        return len(self.past) + len(self.past_compared)

    @classmethod
    def of(cls, snapshot: Snapshot, seen: Seen) -> _Words:
        log, usable = snapshot.log, snapshot.features
        words = [word for word in log.words() if word.image_id in usable]
        compared = [word for word in log.compared_words() if word.first_id in usable and word.second_id in usable]
        training = [word for word in words if not word.held_out]
        training_compared = [word for word in compared if not word.held_out]
        return cls(
            new=[word for word in training if log.is_new(seen, word)],
            past=[word for word in training if not log.is_new(seen, word)],
            held_out=[word for word in words if word.held_out],
            new_compared=[word for word in training_compared if log.is_new(seen, word)],
            past_compared=[word for word in training_compared if not log.is_new(seen, word)],
            num_held_out_comparisons=len(compared) - len(training_compared),
        )


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
    words = _Words.of(snapshot, lineage.seen)
    restarted = lineage.start is not lineage.reference or lineage.reference_row is not snapshot.active
    restarted = restarted or _has_another_prior(snapshot, lineage)
    read_s = time.perf_counter() - clock

    result = adaptation.RunResult(
        job=lease,
        epoch=snapshot.epoch,
        strategy=snapshot.policy.strategy,
        config=snapshot.policy.training.to_dict(),
        seed=snapshot.policy.training.seed,
        from_sequence=lineage.seen.high_water,
        to_sequence=snapshot.log.head,
        num_new=words.num_new,
        num_held_out=len(words.held_out) + words.num_held_out_comparisons,
        base_model_id=snapshot.base_model_id,
        device=context.device,
        started_at=started_at,
        outcome=RunOutcome.NOTHING_NEW,
        timings={"read_s": read_s},
        is_tainted=snapshot.active is not None and snapshot.log.is_tainted(seen_by(snapshot.active)),
    )
    if words.num_new or restarted:
        running.progress(0, words.num_new + words.num_past)
        result = _train_and_judge(running, snapshot, lineage, words, result)
    adaptation.commit(context.database, snapshot.user_id, result)
    return f"{result.outcome}: {words.num_new} new, {words.num_past} past"


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


def _has_another_prior(snapshot: Snapshot, lineage: _Lineage) -> bool:
    """True if a new training would start from another taste prior than the version it goes on from."""
    row = lineage.reference_row
    return row is not None and row.strategy in PRIOR_STRATEGIES and row.taste_prior_id != snapshot.prior_id


def _train_and_judge(
    running: Running,
    snapshot: Snapshot,
    lineage: _Lineage,
    words: _Words,
    result: adaptation.RunResult,
) -> adaptation.RunResult:
    base, policy = snapshot.base, snapshot.policy
    clock = time.perf_counter()
    request = TrainingRequest(
        strategy=policy.strategy,
        adapter_kind=policy.adapter,
        config=policy.training,
        base=base,
        new=rated_set(snapshot, words.new),
        past=rated_set(snapshot, words.past),
        parent=lineage.start,
        state=lineage.state,
        device=running.context.device,
        new_compared=compared_set(snapshot, words.new_compared),
        past_compared=compared_set(snapshot, words.past_compared),
        prior=snapshot.prior if policy.strategy in PRIOR_STRATEGIES else None,
    )
    trained = train(request, should_stop=running.should_stop)
    train_s = time.perf_counter() - clock
    faults.point("trained")
    clock = time.perf_counter()
    evidence = _evidence(snapshot, lineage, request, trained, words.held_out)
    report = judge(completed(evidence, request, policy.gate, running.should_stop), policy.gate)
    metrics = {**trained.metrics, **_prequential(base, lineage.reference, request.new)}
    return replace(
        result,
        outcome=RunOutcome.PROMOTED if report.promote else RunOutcome.KEPT,
        metrics=metrics,
        timings={**result.timings, "train_s": train_s, "judge_s": time.perf_counter() - clock},
        candidate=adaptation.Candidate(
            adapter=trained.adapter,
            taste_prior_id=snapshot.prior_id if request.prior else None,
            learner_state=trained.state,
            parent_id=lineage.reference_row.id if lineage.reference_row else None,
            num_ratings=len(words.new) + len(words.past),
            gate_report=report.to_dict(),
            gate_reason=report.reason,
            promote=report.promote,
        ),
    )


def rated_set(snapshot: Snapshot, words: list[Word]) -> RatedSet:
    """Words as arrays: features projected to taste space, scores by aspect with NaN for what was not rated."""
    base = snapshot.base
    taste_NR = _taste(snapshot, [word.image_id for word in words])
    target_NA = np.array([[word.scores.get(aspect, np.nan) for aspect in base.aspects] for word in words])
    return RatedSet.of(
        np.array([word.sequence for word in words], np.int64),
        taste_NR,
        base.generic(taste_NR),
        target_NA.reshape(len(words), len(base.aspects)),
    )


def compared_set(snapshot: Snapshot, words: list[ComparedWord]) -> ComparedSet:
    """The same for words on pairs."""
    base = snapshot.base
    first_CR = _taste(snapshot, [word.first_id for word in words])
    second_CR = _taste(snapshot, [word.second_id for word in words])
    preference_CA = np.array([[word.preferences.get(aspect, np.nan) for aspect in base.aspects] for word in words])
    return ComparedSet.of(
        np.array([word.sequence for word in words], np.int64),
        first_CR,
        base.generic(first_CR),
        second_CR,
        base.generic(second_CR),
        preference_CA.reshape(len(words), len(base.aspects)),
    )


def _taste(snapshot: Snapshot, image_ids: list[UUID]) -> np.ndarray:
    if not image_ids:
        return snapshot.base.project(_no_features(snapshot.base))
    return snapshot.base.project(np.stack([snapshot.features[image_id] for image_id in image_ids]))


def _no_features(base: BaseScorer) -> np.ndarray:
    return np.empty((0, base.feature_dim), np.float16)


def _score(adapter: Adapter | None, taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
    return generic_NA if adapter is None else adapter.score(taste_NR, generic_NA)


def _evidence(
    snapshot: Snapshot, lineage: _Lineage, request: TrainingRequest, trained: Trained, held_out: list[Word]
) -> Evidence:
    """What the gate looks at; the pool is of the deployment's images."""
    pool_PD = np.stack(snapshot.pool) if snapshot.pool else _no_features(snapshot.base)
    pool_PR = snapshot.base.project(pool_PD)
    boundary = lineage.reference_row.high_water_sequence if lineage.reference_row else 0
    # what was said before a drift speaks for the taste that has gone
    held = rated_set(snapshot, [word for word in held_out if word.sequence > snapshot.drifted_since])
    return gather(
        request, trained, lineage.reference, held, boundary, pool_PR=pool_PR, pool_PA=snapshot.base.generic(pool_PR)
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
