"""Train users' next adapter versions: read the log, train on the new feedback, apply the gate, commit.

Users whose jobs were claimed together are read, judged and trained together, and committed several in a transaction.
What becomes of one does not depend on the others.

Nothing is locked during a training. The commit checks again what it depends on (the user's epoch, the lease), in the
one transaction that writes the run, the version, the active pointer, the history and the end of the job.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

import structlog
from sqlalchemy.exc import SQLAlchemyError

from paaplus import faults
from paaplus.configs import PRIOR_STRATEGIES
from paaplus.db.tables.jobs import RunOutcome
from paaplus.errors import LeaseLost, TrainingStopped
from paaplus.gate import Evidence, FeedbackVerdict, gather, judge, wording
from paaplus.pipelines.claim_reading import Opened, is_by_hand, open_snapshot, read_together
from paaplus.pipelines.context import Outcome, Running, WorkerContext, outcome_of
from paaplus.pipelines.learning_sets import compared_set, prequential, verdicts_on
from paaplus.pipelines.lineage import Lineage, SortedFeedback, lineage_of, must_train, sort_feedback
from paaplus.pipelines.robustness import robustness_evidence
from paaplus.queue import jobs
from paaplus.services.adaptation import commit
from paaplus.services.adaptation.contradictions import MIDDLE
from paaplus.services.adaptation.finished import Candidate, Quarantine, RunResult
from paaplus.services.adaptation.snapshot import Snapshot
from paaplus.services.adapters.versions import MATCHED_NUMBER
from paaplus.services.feedback.counted_events import trained_up_to
from paaplus.services.predictions.served_users import PREFERENCE_VERSION
from paaplus.training import Trained, TrainingRequest, middles_of, train_many

log = structlog.get_logger(__name__)

COMMITTED_TOGETHER = 16  # users in one transaction: some 25 ms under SQLite's write lock


@dataclass(frozen=True)
class _Prepared:
    """A job that has been read and needs a training. `result` is its run so far, without a candidate."""

    running: Running
    snapshot: Snapshot
    verdict: FeedbackVerdict
    lineage: Lineage
    feedback: SortedFeedback
    request: TrainingRequest
    result: RunResult


@dataclass(frozen=True)
class _Finished:
    """A job that only has to be committed. `line`: for the log, once it is."""

    running: Running
    user_id: UUID
    result: RunResult
    line: str


@dataclass(frozen=True)
class _TrainedUser:
    """One user's training and the evidence on it. Times are this user's share of the time of all in the stack."""

    trained: Trained
    evidence: Evidence
    train_s: float
    judge_s: float


def run(running: Running) -> str:
    """Do one training job. Returns a line for the log.

    Raises:
        NotReady: features of rated images are still being extracted, or the user changed meanwhile.
        LeaseLost: another worker has the job.
    """
    [(_, outcome)] = run_together([running])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def run_together(runnings: Sequence[Running]) -> Iterator[tuple[Running, Outcome]]:
    """Do training jobs of different users. Yields each user's outcome as soon as it is known.

    An error of one user is that user's outcome; the others are not affected.
    """
    opened: list[Opened] = []
    for running, read in read_together(runnings):
        outcome = outcome_of(partial(open_snapshot, running, read))
        if isinstance(outcome, Opened):
            opened.append(outcome)
        else:
            yield running, outcome
    prepared: list[_Prepared] = []
    finished: list[_Finished] = []
    for each, verdict in zip(opened, _verdicts(opened), strict=True):
        readied = outcome_of(partial(_prepare, each, verdict))
        if isinstance(readied, _Prepared):
            prepared.append(readied)
        elif isinstance(readied, _Finished):
            finished.append(readied)
        else:
            yield each.running, readied
    yield from _committed(finished)
    _report_totals(prepared)
    for group in _by_strategy(prepared):
        trained = _train_group(group)
        for first in range(0, len(group), COMMITTED_TOGETHER):
            part = slice(first, first + COMMITTED_TOGETHER)
            finished = []
            for user, result in zip(group[part], trained[part], strict=True):
                judged = outcome_of(partial(_finish, user, result))
                if isinstance(judged, _Finished):
                    finished.append(judged)
                else:
                    yield user.running, judged
            yield from _committed(finished)


def _committed(finished: Sequence[_Finished]) -> Iterator[tuple[Running, Outcome]]:
    """Commit trainings, several in a transaction, and yield how each ended."""
    for first in range(0, len(finished), COMMITTED_TOGETHER):
        part = finished[first : first + COMMITTED_TOGETHER]
        errors = commit.commit_many(part[0].running.context.database, [(each.user_id, each.result) for each in part])
        yield from ((each.running, error or each.line) for each, error in zip(part, errors, strict=True))


def _verdicts(opened: Sequence[Opened]) -> list[tuple[FeedbackVerdict | Exception, float]]:
    """The gate's verdict on each user's feedback, or that user's error, and a share of the time of all."""
    if not opened:
        return []
    clock = time.perf_counter()
    verdicts = verdicts_on([user.snapshot for user in opened], opened[0].running.context.evidence)
    share_s = (time.perf_counter() - clock) / len(opened)
    return [(verdict, share_s) for verdict in verdicts]


def _prepare(opened: Opened, reached: tuple[FeedbackVerdict | Exception, float]) -> _Prepared | _Finished:
    """What a training needs, or the end of the job where there is nothing to train on."""
    running, snapshot, (verdict, verdict_s) = opened.running, opened.snapshot, reached
    if isinstance(verdict, Exception):
        raise verdict
    context, lease, by_hand = running.context, running.lease, is_by_hand(running)
    clock = time.perf_counter() - opened.read_s - verdict_s
    snapshot, quarantine = _in_window(running, snapshot, verdict)
    lineage = lineage_of(snapshot, by_hand)
    feedback = sort_feedback(snapshot, lineage.trained_up_to)
    result = RunResult(
        job=lease,
        epoch=snapshot.epoch,
        strategy=snapshot.policy.strategy,
        config=snapshot.policy.training.to_dict(),
        seed=snapshot.policy.training.seed,
        from_sequence=lineage.trained_up_to.high_water,
        to_sequence=snapshot.log.head,
        num_new=feedback.num_new,
        num_held_out=feedback.num_held_out,
        base_model_id=snapshot.base_model_id,
        device=context.device,
        started_at=opened.started_at,
        outcome=RunOutcome.NOTHING_NEW,
        timings={"read_s": time.perf_counter() - clock},
        is_tainted=snapshot.active is not None and snapshot.log.is_tainted(trained_up_to(snapshot.active)),
        quarantine=quarantine,
        retire_reason=None if verdict.stays_live else wording.retired(verdict),
    )
    if not (feedback.num_new or must_train(snapshot, lineage)):
        return _finished(running, snapshot, feedback, result)
    request = _request(context, snapshot, lineage, feedback)
    return _Prepared(running, snapshot, verdict, lineage, feedback, request, result)


def _in_window(running: Running, snapshot: Snapshot, verdict: FeedbackVerdict) -> tuple[Snapshot, Quarantine | None]:
    """The snapshot with only the verdict's window to train on, and the change of the quarantine that this takes.

    If nothing may be served, nothing is quarantined: no part of the feedback is better than the rest.
    """
    may_serve = verdict.may_serve(_is_live(snapshot))
    outside = snapshot.log.outside(verdict.in_window) if may_serve else set()
    if outside == snapshot.log.quarantined():
        return snapshot, None
    quarantine = Quarantine(frozenset(outside), wording.quarantined(verdict, len(outside)))
    return snapshot.with_quarantine(running.context.database, outside), quarantine


def _is_live(snapshot: Snapshot) -> bool:
    """Whether a trained version is active; that of a match was not trained on the user's feedback."""
    return snapshot.active is not None and snapshot.active.number > MATCHED_NUMBER


def _request(context: WorkerContext, snapshot: Snapshot, lineage: Lineage, feedback: SortedFeedback) -> TrainingRequest:
    policy = snapshot.policy
    return TrainingRequest(
        strategy=policy.strategy,
        adapter_kind=policy.adapter,
        config=policy.training,
        base=snapshot.base,
        new=feedback.new,
        past=feedback.past,
        parent=lineage.parent,
        state=lineage.state,
        device=context.device,
        new_compared=compared_set(snapshot, feedback.new_compared),
        past_compared=compared_set(snapshot, feedback.past_compared),
        prior=snapshot.starting_point.prior if policy.strategy in PRIOR_STRATEGIES else None,
        center=snapshot.starting_point.center if policy.strategy not in PRIOR_STRATEGIES else None,
        memory=context.sums.of(snapshot.user_id),
        joined=feedback.training,
    )


def _report_totals(prepared: Sequence[_Prepared]) -> None:
    """Store how many answers each job trains on. A lease that is lost is found at the commit."""
    totals = [(user.running.lease, user.feedback.num_new + user.feedback.num_past) for user in prepared]
    if not totals:
        return
    try:
        with prepared[0].running.context.database.session() as session:
            jobs.report_totals(session, totals)
    except SQLAlchemyError as error:  # nothing depends on it
        log.warning("progress not written", error=str(error))


def _by_strategy(prepared: Sequence[_Prepared]) -> list[list[_Prepared]]:
    groups: dict[tuple[str, str], list[_Prepared]] = {}
    for user in prepared:
        groups.setdefault((user.request.adapter_kind, user.request.strategy), []).append(user)
    return list(groups.values())


def _train_group(group: Sequence[_Prepared]) -> list[_TrainedUser | Exception]:
    """Train the users of a group and gather the evidence on each; in their order, a user's error in its place."""
    clock = time.perf_counter()
    outcomes = _train_together([(user.running, user.request) for user in group])
    train_s = (time.perf_counter() - clock) / len(group)
    return [
        trained if isinstance(trained, Exception) else outcome_of(partial(_gather_evidence, user, trained, train_s))
        for user, trained in zip(group, outcomes, strict=True)
    ]


def _gather_evidence(user: _Prepared, trained: Trained, train_s: float) -> _TrainedUser:
    clock = time.perf_counter()
    evidence = _evidence(user, trained)
    return _TrainedUser(trained, evidence, train_s, time.perf_counter() - clock)


def _train_together(requests: Sequence[tuple[Running, TrainingRequest]]) -> list[Trained | Exception]:
    """Train all requests in one stack. If that raises, train each user alone, so that only the faulty one fails."""

    def should_stop() -> bool:
        return all(running.should_stop() for running, _ in requests)

    try:
        return [*train_many([request for _, request in requests], should_stop=should_stop)]
    except TrainingStopped as stopped:
        return [stopped] * len(requests)
    except Exception as error:
        if len(requests) == 1:
            return [error]
        log.warning("stacked training failed: each is trained alone", num_trainings=len(requests), error=repr(error))
        return [outcome_of(partial(_train_one, running, request)) for running, request in requests]


def _train_one(running: Running, request: TrainingRequest) -> Trained:
    """Train one user: the result is bit-identical to that among others."""
    [outcome] = train_many([request], should_stop=running.should_stop)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _finish(user: _Prepared, trained: _TrainedUser | Exception) -> _Finished:
    """Apply the gate to a training."""
    if isinstance(trained, Exception):
        raise trained
    faults.point("trained")
    if user.running.lost.is_set():
        raise LeaseLost(f"job {user.running.lease.job_id}: the lease was lost during the training")
    return _finished(user.running, user.snapshot, user.feedback, _judge(user, trained))


def _finished(running: Running, snapshot: Snapshot, feedback: SortedFeedback, result: RunResult) -> _Finished:
    line = f"{result.outcome}: {feedback.num_new} new, {feedback.num_past} past"
    return _Finished(running, snapshot.user_id, result, line)


def _judge(user: _Prepared, trained_user: _TrainedUser) -> RunResult:
    snapshot, lineage, request = user.snapshot, user.lineage, user.request
    trained, clock = trained_user.trained, time.perf_counter()
    report = judge(trained_user.evidence, snapshot.policy.gate)
    metrics = {**trained.metrics, **prequential(snapshot.base, lineage.reference, request.new)}
    judge_s = trained_user.judge_s + time.perf_counter() - clock
    middle_A = middles_of(request)
    if middle_A is not None:
        metrics[MIDDLE] = dict(zip(snapshot.base.aspects, middle_A.tolist(), strict=True))
    if snapshot.preference is not None:
        metrics[PREFERENCE_VERSION] = snapshot.preference_version
    return replace(
        user.result,
        outcome=RunOutcome.PROMOTED if report.promote else RunOutcome.KEPT,
        metrics=metrics,
        timings={**user.result.timings, "train_s": trained_user.train_s, "judge_s": judge_s},
        candidate=Candidate(
            adapter=trained.adapter,
            taste_prior_id=snapshot.starting_point.taste_prior_id if request.prior else None,
            match_id=snapshot.starting_point.match_id,
            learner_state=trained.state,
            parent_id=lineage.reference_row.id if lineage.reference_row else None,
            num_ratings=len(user.feedback.new) + len(user.feedback.past),
            gate_report={**report.to_dict(), "feedback": user.verdict.to_dict()},
            gate_reason=report.reason,
            promote=report.promote,
            preference=snapshot.preference,
        ),
    )


def _evidence(user: _Prepared, trained: Trained) -> Evidence:
    snapshot, reference_row = user.snapshot, user.lineage.reference_row
    # Held-out feedback from before a drift describes the taste that the user no longer has.
    since = snapshot.drifted_since or 0
    held_out = user.feedback.held_out
    held_out_compared = [each for each in user.feedback.held_out_compared if each.sequence > since]
    evidence = gather(
        user.request,
        trained,
        user.lineage.reference,
        held_out.select(held_out.sequence_N > since) if since else held_out,
        compared_set(snapshot, held_out_compared),
        reference_row.high_water_sequence if reference_row else 0,
        pool_PR=snapshot.pool_PR,
        pool_PA=snapshot.pool_PA,
        verdict=user.verdict,
        is_live=_is_live(snapshot),
    )
    return replace(
        evidence, robustness=robustness_evidence(user.running, snapshot, trained.adapter, user.lineage.reference)
    )
