"""Train users' next adapter versions: read the log, learn the increment, judge it, commit it behind the fence.

Users whose jobs were claimed together are trained together; each is read, judged and committed by itself.

Nothing is locked while it learns. What the commit stands on (the user's epoch, the lease) is checked again in the
one transaction that writes run, version, pointer, history and the job's end.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import structlog

from paaplus import faults
from paaplus.configs import PRIOR_STRATEGIES
from paaplus.db.tables import AdapterRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.errors import LeaseLost, TrainingStopped
from paaplus.gate import Evidence, gather, halves, judge, with_order
from paaplus.pipelines.context import NotReady, Outcome, Running, outcome_of
from paaplus.pipelines.learning_sets import compared_set, no_features, prequential, rated_set
from paaplus.scoring.adapters import Adapter, adapter_from_bytes
from paaplus.services.adaptation import commit
from paaplus.services.adaptation.snapshot import Snapshot, read_snapshot
from paaplus.services.feedback.feedback_log import (
    TRAINED_ON_NOTHING,
    LatestComparison,
    LatestRating,
    TrainedUpTo,
    trained_up_to,
)
from paaplus.services.predictions.serving import PREFERENCE_VERSION
from paaplus.training import Trained, TrainingRequest, train_many

log = structlog.get_logger(__name__)

FEATURES_WAIT_S = 2.0


@dataclass(frozen=True)
class _Lineage:
    """Where this training starts from, and what the candidate is measured against."""

    reference: Adapter | None  # None: the base
    reference_row: AdapterRow | None
    start: Adapter | None  # the reference, or None to begin at zero change
    state: bytes | None
    seen: TrainedUpTo  # what `start` had been shown


@dataclass(frozen=True)
class _Words:
    """The user's latest words: what is new to the version that is gone on from, what it knew, what only judges."""

    new: list[LatestRating]
    past: list[LatestRating]
    held_out: list[LatestRating]
    new_compared: list[LatestComparison]
    past_compared: list[LatestComparison]
    num_held_out_comparisons: int

    @property
    def num_new(self) -> int:
        return len(self.new) + len(self.new_compared)

    @property
    def num_past(self) -> int:
        return len(self.past) + len(self.past_compared)

    @classmethod
    def of(cls, snapshot: Snapshot, seen: TrainedUpTo) -> _Words:
        log, usable = snapshot.log, snapshot.features
        words = [word for word in log.latest_ratings() if word.image_id in usable]
        compared = [word for word in log.latest_comparisons() if word.first_id in usable and word.second_id in usable]
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


@dataclass(frozen=True)
class _Begun:
    """A job that has been read and is to be trained; `result` is what its commit would say without a candidate."""

    running: Running
    snapshot: Snapshot
    lineage: _Lineage
    words: _Words
    request: TrainingRequest
    result: commit.RunResult


@dataclass(frozen=True)
class _Learned:
    """What a training gave and what it is judged by; times are this user's share of what was done together."""

    trained: Trained
    evidence: Evidence
    halves: list[TrainingRequest]  # that the gate asks for, see `gate.cross_fit`
    train_s: float
    judge_s: float


def run(running: Running) -> str:
    """Do one adaptation job; the returned line goes into the log.

    Raises:
        NotReady: features of rated images are still being extracted, or the user changed meanwhile.
        LeaseLost: another worker has the job.
    """
    [(_, outcome)] = run_together([running])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_together(runnings: Sequence[Running]) -> Iterator[tuple[Running, Outcome]]:
    """Do adaptation jobs of different users: read each, train all that need it, judge and commit each.

    Whatever happens to one user is that user's outcome, told as soon as it is known; the others go on.
    """
    begun: list[_Begun] = []
    for running in runnings:
        outcome = outcome_of(partial(_begin, running))
        if isinstance(outcome, _Begun):
            begun.append(outcome)
        else:
            yield running, outcome
    for group in _by_strategy(begun):
        for each, learned in zip(group, _train(group), strict=True):
            yield each.running, outcome_of(partial(_finish, each, learned))


def _begin(running: Running) -> _Begun | str:
    """Read what the job needs; where there is nothing to learn, end it."""
    context, lease = running.context, running.lease
    assert lease.user_id is not None, "an adaptation job without a user"
    if context.stopping.is_set():
        raise TrainingStopped("the worker stops before this user's turn")
    started_at, clock = utcnow(), time.perf_counter()
    snapshot = read_snapshot(context.database, context.blobs, lease.user_id, context.settings)
    if snapshot.num_missing_features:
        raise NotReady(f"features of {snapshot.num_missing_features} rated image(s) are pending", FEATURES_WAIT_S)
    forced = lease.reason == DueReason.BY_HAND
    if snapshot.policy.paused and not forced:
        commit.skip(context.database, lease.user_id, lease)
        return "paused"
    lineage = _lineage(snapshot, forced)
    words = _Words.of(snapshot, lineage.seen)
    restarted = lineage.start is not lineage.reference or lineage.reference_row is not snapshot.active
    restarted = restarted or _has_another_start(snapshot, lineage.reference_row, lineage.reference)
    result = commit.RunResult(
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
        timings={"read_s": time.perf_counter() - clock},
        is_tainted=snapshot.active is not None and snapshot.log.is_tainted(trained_up_to(snapshot.active)),
    )
    if not (words.num_new or restarted):
        return _commit(running, snapshot, words, result)
    running.progress(0, words.num_new + words.num_past)
    return _Begun(running, snapshot, lineage, words, _request(context.device, snapshot, lineage, words), result)


def _request(device: str, snapshot: Snapshot, lineage: _Lineage, words: _Words) -> TrainingRequest:
    policy = snapshot.policy
    return TrainingRequest(
        strategy=policy.strategy,
        adapter_kind=policy.adapter,
        config=policy.training,
        base=snapshot.base,
        new=rated_set(snapshot, words.new),
        past=rated_set(snapshot, words.past),
        parent=lineage.start,
        state=lineage.state,
        device=device,
        new_compared=compared_set(snapshot, words.new_compared),
        past_compared=compared_set(snapshot, words.past_compared),
        prior=snapshot.start.prior if policy.strategy in PRIOR_STRATEGIES else None,
        center=snapshot.start.center if policy.strategy not in PRIOR_STRATEGIES else None,
    )


def _by_strategy(begun: Sequence[_Begun]) -> list[list[_Begun]]:
    groups: dict[tuple[str, str], list[_Begun]] = {}
    for each in begun:
        groups.setdefault((each.request.adapter_kind, each.request.strategy), []).append(each)
    return list(groups.values())


def _train(group: Sequence[_Begun]) -> list[_Learned | Exception]:
    """Each user's training, with what there is to judge it by, or the user's error."""
    clock = time.perf_counter()
    outcomes = _trained([(each.running, each.request) for each in group])
    train_s = (time.perf_counter() - clock) / len(group)
    learned = [
        trained if isinstance(trained, Exception) else outcome_of(partial(_learned, each, trained, train_s))
        for each, trained in zip(group, outcomes, strict=True)
    ]
    return _with_orders(group, learned)


def _learned(begun: _Begun, trained: Trained, train_s: float) -> _Learned:
    """With the trainings that the gate asks for beside, which are to be done with those of the others."""
    clock = time.perf_counter()
    evidence = _evidence(begun.snapshot, begun.lineage, begun.request, trained, begun.words.held_out)
    asked = halves(evidence, begun.request, begun.snapshot.policy.gate)
    return _Learned(trained, evidence, asked, train_s, time.perf_counter() - clock)


def _with_orders(group: Sequence[_Begun], learned: list[_Learned | Exception]) -> list[_Learned | Exception]:
    """The same after the trainings that the gate has asked for."""
    asking = [u for u, each in enumerate(learned) if isinstance(each, _Learned) and each.halves]
    if not asking:
        return learned
    clock = time.perf_counter()
    answers = iter(_trained([(group[u].running, half) for u in asking for half in learned[u].halves]))  # type: ignore[union-attr]
    judge_s = (time.perf_counter() - clock) / len(asking)
    for u in asking:
        each = learned[u]
        assert isinstance(each, _Learned), "asked for more without having learned"
        answered = [next(answers) for _ in each.halves]
        trained = [answer for answer in answered if not isinstance(answer, Exception)]
        if len(trained) < len(answered):
            learned[u] = next(answer for answer in answered if isinstance(answer, Exception))
        else:
            evidence = with_order(each.evidence, group[u].request, trained)
            learned[u] = replace(each, evidence=evidence, judge_s=each.judge_s + judge_s)
    return learned


def _trained(asked: Sequence[tuple[Running, TrainingRequest]]) -> list[Trained | Exception]:
    """What comes of each. If the cohort crashes, all are trained alone, and the guilty crashes again."""

    def should_stop() -> bool:
        return all(running.should_stop() for running, _ in asked)

    try:
        return [*train_many([request for _, request in asked], should_stop=should_stop)]
    except TrainingStopped as stopped:
        return [stopped] * len(asked)
    except Exception as error:
        if len(asked) == 1:
            return [error]
        log.warning("cohort crashed: each of it is trained alone", num_trainings=len(asked), error=repr(error))
        return [outcome_of(partial(_trained_alone, running, request)) for running, request in asked]


def _trained_alone(running: Running, request: TrainingRequest) -> Trained:
    """A cohort of one, whose bits are those among others; `train` would round otherwise."""
    [outcome] = train_many([request], should_stop=running.should_stop)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _finish(begun: _Begun, learned: _Learned | Exception) -> str:
    """Judge what was learned and commit it."""
    if isinstance(learned, Exception):
        raise learned
    faults.point("trained")
    if begun.running.lost.is_set():
        raise LeaseLost(f"job {begun.running.lease.job_id}: the lease was lost while others were trained with it")
    return _commit(begun.running, begun.snapshot, begun.words, _judge(begun, learned))


def _commit(running: Running, snapshot: Snapshot, words: _Words, result: commit.RunResult) -> str:
    commit.commit(running.context.database, snapshot.user_id, result)
    return f"{result.outcome}: {words.num_new} new, {words.num_past} past"


def _lineage(snapshot: Snapshot, forced: bool) -> _Lineage:
    """How to go on from the snapshot's reference: with its parameters and state, or anew, only measured against it."""
    reference_row = snapshot.reference
    if reference_row is None:
        return _Lineage(None, None, None, None, TRAINED_ON_NOTHING)
    reference = adapter_from_bytes(reference_row.data)
    policy = snapshot.policy
    continues = not forced and (reference_row.kind, reference_row.strategy) == (policy.adapter, policy.strategy)
    if continues and policy.strategy not in PRIOR_STRATEGIES:  # those learn from everything anew in any case
        continues = not _has_another_start(snapshot, reference_row, reference)
    if not continues:  # another kind of learner, another start, or asked for by hand: anew, on everything
        return _Lineage(reference, reference_row, None, None, TRAINED_ON_NOTHING)
    return _Lineage(reference, reference_row, reference, reference_row.learner_state, trained_up_to(reference_row))


def _has_another_start(snapshot: Snapshot, row: AdapterRow | None, reference: Adapter | None) -> bool:
    """True if a new training would start from another prior, or another match, than the version it goes on from."""
    return row is not None and reference is not None and snapshot.start.differs_from(row, reference)


def _judge(begun: _Begun, learned: _Learned) -> commit.RunResult:
    snapshot, lineage, words, request = begun.snapshot, begun.lineage, begun.words, begun.request
    trained, clock = learned.trained, time.perf_counter()
    report = judge(learned.evidence, snapshot.policy.gate)
    metrics = {**trained.metrics, **prequential(snapshot.base, lineage.reference, request.new)}
    judge_s = learned.judge_s + time.perf_counter() - clock
    if snapshot.preference is not None:
        metrics[PREFERENCE_VERSION] = snapshot.preference_version
    return replace(
        begun.result,
        outcome=RunOutcome.PROMOTED if report.promote else RunOutcome.KEPT,
        metrics=metrics,
        timings={**begun.result.timings, "train_s": learned.train_s, "judge_s": judge_s},
        candidate=commit.Candidate(
            adapter=trained.adapter,
            taste_prior_id=snapshot.start.taste_prior_id if request.prior else None,
            match_id=snapshot.start.match_id,
            learner_state=trained.state,
            parent_id=lineage.reference_row.id if lineage.reference_row else None,
            num_ratings=len(words.new) + len(words.past),
            gate_report=report.to_dict(),
            gate_reason=report.reason,
            promote=report.promote,
            preference=snapshot.preference,
        ),
    )


def _evidence(
    snapshot: Snapshot, lineage: _Lineage, request: TrainingRequest, trained: Trained, held_out: list[LatestRating]
) -> Evidence:
    """What the gate looks at; the pool is of the deployment's images."""
    pool_PD = np.stack(snapshot.pool) if snapshot.pool else no_features(snapshot.base)
    pool_PR = snapshot.project(pool_PD)
    boundary = lineage.reference_row.high_water_sequence if lineage.reference_row else 0
    # what was said before a drift speaks for the taste that has gone
    held = rated_set(snapshot, [word for word in held_out if word.sequence > snapshot.drifted_since])
    return gather(
        request, trained, lineage.reference, held, boundary, pool_PR=pool_PR, pool_PA=snapshot.base.generic(pool_PR)
    )
