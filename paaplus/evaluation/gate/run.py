"""Run the gate study: what people are served while they send feedback increment by increment.

Every life (`lives.LIVES`) is lived by every test person. After each increment the feedback is judged and trained by the
functions that workers use (`gate.feedback_verdict`, `training.train`, `gate.gather`, `gate.judge`), with the window,
the quarantine and the retirement that they decide. What is served then is compared with the person's real ratings of
test images, reversed where the life reverses the taste.

*Worse*: squared error more than `MSE_TOLERANCE` higher than that of the generic scores (or of what was served at the
life's `compared_at`), or SRCC more than `SRCC_TOLERANCE` lower. After comparisons only the SRCC counts.

Shape letters: N = ratings, C = comparisons, A = aspects.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.gate.config import GateStudyConfig
from paaplus.evaluation.gate.lives import LIVES, Life, compared_pairs, preferences
from paaplus.evaluation.gate.summary import LifeMeasurement, summary
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.gate import EvidenceCache, FeedbackVerdict, feedback_verdict, gather, judge
from paaplus.records import NO_COMPARISONS, SCORE_MAX, SCORE_MIN, ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.priors import OwnPrior
from paaplus.training import Trained, TrainingRequest, train

MSE_TOLERANCE = 0.05  # score points squared; the default tolerance of the gate
SRCC_TOLERANCE = 0.02
HOLDOUT_SHARE = 0.2
POOL_SIZE = 256


def run_gate(
    data: EvaluationData, make_split: MakeSplit, config: GateStudyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure lives on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (one entry per learner, increment and life), `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or no test person rated enough.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    measured: list[LifeMeasurement] = []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        for user_id in round_.people:
            measured += measurement.measure(user_id)
            counter.add()
    if not measured:
        raise InvalidInput(f"none of {counter.total} test people rated enough images, with ratings that differ")
    return {
        "summary": summary(measured, [learner.name for learner in config.learners], config.increments),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            "increments": list(config.increments),
            "num_answers": config.num_answers,
            "seeds": list(config.seeds),
            "learners": [learner.name for learner in config.learners],
            "gate": asdict(config.gate),
            "training": asdict(config.training),
            "limit_people": config.limit_people,
            "fresh_support": config.fresh_support,
            "mse_tolerance": MSE_TOLERANCE,
            "srcc_tolerance": SRCC_TOLERANCE,
        },
    }


@dataclass(frozen=True)
class _Feedback:
    """All feedback of one life in order, the first answer numbered 1."""

    rated: RatedSet
    held_out_N: np.ndarray
    compared: ComparedSet
    held_out_C: np.ndarray

    def until(self, sequence: int) -> _Feedback:
        return self._select(self.rated.sequence_N <= sequence, self.compared.sequence_C <= sequence)

    def within(self, verdict: FeedbackVerdict) -> _Feedback:
        in_window = np.vectorize(verdict.in_window, otypes=[bool])
        return self._select(in_window(self.rated.sequence_N), in_window(self.compared.sequence_C))

    def part(self, *, held_out: bool) -> tuple[RatedSet, ComparedSet]:
        """The ratings and comparisons that train, or those that are held out."""
        return self.rated.select(self.held_out_N == held_out), self.compared.select(self.held_out_C == held_out)

    def _select(self, kept_N: np.ndarray, kept_C: np.ndarray) -> _Feedback:
        compared = self.compared.select(kept_C) if len(self.compared) else self.compared
        return _Feedback(self.rated.select(kept_N), self.held_out_N[kept_N], compared, self.held_out_C[kept_C])


@dataclass(frozen=True)
class _Version:
    """A version that was live. `trained_on` are sequence numbers; `boundary` is the last that there was."""

    trained: Trained
    trained_on: frozenset[int]
    boundary: int
    parent: _Version | None


class _SplitMeasurement:
    """Fits a base model on one split's train side and lives test people's lives with it."""

    def __init__(self, data: EvaluationData, round_: Round, config: GateStudyConfig, bands: Bands) -> None:
        self._side = TrainSide("gate", data, round_.split, fresh_seed=round_.seed if config.fresh_support else None)
        self._split, self._seed, self._config, self._bands = round_.split, round_.seed, config, bands
        self._prior = OwnPrior(self._side.base)

    def measure(self, user_id: str) -> Iterator[LifeMeasurement]:
        """Every life of one person; none if the SRCC on the truth is undefined or the person rated too few images."""
        side = self._side
        truth = side.rated(user_id, side.test_images(user_id))
        if not len(truth) or np.isnan(mean_srcc(truth.generic_NA, truth.target_NA)):
            return
        support = self._split.support(user_id, len(side.score_of[user_id]))
        if side.fresh_images is not None:
            support = [image for image in support if image in side.fresh_images]
        rated = side.rated(user_id, [side.image_at[image] for image in support])
        for number, (name, life) in enumerate(LIVES.items()):
            if name not in self._config.lives or len(rated) < (3 if life.compares else self._num(life)):
                continue
            key = [self._seed, zlib.crc32(user_id.encode()), number]
            feedback = self._feedback(life, rated, np.random.default_rng(key))
            cache: EvidenceCache = {}
            for learner in self._config.learners:
                for increment in self._config.increments:
                    yield self._live(user_id, name, life, learner, increment, feedback, truth, cache)

    def _feedback(self, life: Life, rated: RatedSet, rng: np.random.Generator) -> _Feedback:
        held_out_I = rng.random(len(rated)) < HOLDOUT_SHARE
        num = self._num(life)
        if life.spoil is not None:
            first = rated.select(np.arange(num))
            sent = replace(first, target_NA=life.spoil(first.target_NA, rng))
            return _Feedback(sent, held_out_I[:num], NO_COMPARISONS, np.empty(0, bool))
        assert life.answer is not None, "a life without ratings and comparisons"
        first_C, second_C = compared_pairs(len(rated), num, life.in_circles, rng).T
        honest_CA = preferences(rated.target_NA[first_C], rated.target_NA[second_C])
        compared = ComparedSet.of(
            np.arange(1, num + 1),
            rated.taste_NR[first_C],
            rated.generic_NA[first_C],
            rated.taste_NR[second_C],
            rated.generic_NA[second_C],
            life.answer(honest_CA, rng),
        )
        no_ratings = rated.select(np.zeros(len(rated), bool))
        return _Feedback(no_ratings, np.empty(0, bool), compared, held_out_I[first_C] | held_out_I[second_C])

    def _live(
        self,
        user_id: str,
        name: str,
        life: Life,
        learner: Learner,
        increment: int,
        feedback: _Feedback,
        truth: RatedSet,
        cache: EvidenceCache,
    ) -> LifeMeasurement:
        num = self._num(life)
        live: _Version | None = None
        served: list[tuple[int, Adapter | None]] = [(0, None)]
        for end in (*range(increment, num, increment), num):
            live = self._step(learner, live, feedback.until(end), end, cache)
            served.append((end, live.trained.adapter if live is not None else None))
        former = max(place for place, (end, _) in enumerate(served) if end <= life.compared_at * num)
        worse = [
            self._quality(adapter, truth, life, end).is_worse_than(
                self._quality(served[former][1], truth, life, end), life.compares
            )
            for end, adapter in served[former + 1 :]
        ]
        rated, compared = feedback.part(held_out=False)
        everything = train(self._request(learner, rated, compared, None, frozenset())).adapter
        at_end, generic = (self._quality(each, truth, life, num) for each in (served[-1][1], None))
        if life.spoil is not None and life.reversed_from is None:
            images = self._side.test_images(user_id)
            self._bands.add("generic", user_id, truth.generic_NA, truth.target_NA, images)
            band = f"{learner.name}, {name}, served at the end"
            self._bands.add(band, user_id, scores(served[-1][1], truth), truth.target_NA, images)
        return LifeMeasurement(
            user_id=user_id,
            learner=learner.name,
            increment=increment,
            life=name,
            worse_at_end=worse[-1],
            worse_ever=any(worse),
            worse_share=float(np.mean(worse)),
            ever_live=any(adapter is not None for _, adapter in served),
            live_at_end=served[-1][1] is not None,
            srcc_gain=at_end.srcc - generic.srcc,
            srcc_lost=self._quality(everything, truth, life, num).srcc - at_end.srcc,
        )

    def _step(
        self, learner: Learner, live: _Version | None, feedback: _Feedback, end: int, cache: EvidenceCache
    ) -> _Version | None:
        """One increment: what is live after it."""
        config = self._config.gate
        verdict = feedback_verdict(feedback.rated, feedback.compared, self._prior, config, cache)
        may_serve = verdict.may_serve(live is not None)
        if not may_serve:  # the order check refuses the candidate, whatever it is
            return live if verdict.stays_live else None
        window = feedback.within(verdict)
        rated, compared = window.part(held_out=False)
        usable = frozenset(map(int, np.concatenate([rated.sequence_N, compared.sequence_C])))
        reference = live
        while reference is not None and not reference.trained_on <= usable:
            reference = reference.parent
        if not usable or (reference is live and live is not None and usable == live.trained_on):
            return live
        trained_on = reference.trained_on if reference is not None else frozenset()
        request = self._request(learner, rated, compared, reference, trained_on)
        trained = train(request)
        held_out, held_out_compared = window.part(held_out=True)
        pool = slice(0, POOL_SIZE)
        evidence = gather(
            request,
            trained,
            reference.trained.adapter if reference is not None else None,
            held_out,
            held_out_compared,
            boundary=reference.boundary if reference is not None else 0,
            pool_PR=self._side.taste_IR[pool],
            pool_PA=self._side.generic_IA[pool],
            verdict=verdict,
            is_live=live is not None,
        )
        if judge(evidence, config).promote:
            return _Version(trained, usable, end, reference)
        return reference  # a version that was trained on quarantined feedback is not served

    def _request(
        self,
        learner: Learner,
        rated: RatedSet,
        compared: ComparedSet,
        reference: _Version | None,
        trained_on: frozenset[int],
    ) -> TrainingRequest:
        past_N = np.isin(rated.sequence_N, list(trained_on))
        past_C = np.isin(compared.sequence_C, list(trained_on))
        return TrainingRequest(
            learner.strategy,
            learner.adapter,
            self._config.training,
            self._side.base,
            new=rated.select(~past_N),
            past=rated.select(past_N),
            parent=reference.trained.adapter if reference is not None else None,
            state=reference.trained.state if reference is not None else None,
            new_compared=compared.select(~past_C) if len(compared) else compared,
            past_compared=compared.select(past_C) if len(compared) else compared,
        )

    def _num(self, life: Life) -> int:
        return life.num_answers(self._config.num_answers)

    def _quality(self, adapter: Adapter | None, truth: RatedSet, life: Life, num_answers: int) -> _Quality:
        is_reversed = life.reversed_from is not None and num_answers > life.reversed_from * self._num(life)
        target_NA = SCORE_MAX + SCORE_MIN - truth.target_NA if is_reversed else truth.target_NA
        score_NA = scores(adapter, truth)
        # constant scores have no SRCC; 0 stands for it
        srcc = float(np.nan_to_num(mean_srcc(score_NA, target_NA)))
        return _Quality(srcc, float(np.nanmean(np.square(score_NA - target_NA))))


@dataclass(frozen=True)
class _Quality:
    srcc: float
    mse: float

    def is_worse_than(self, former: _Quality, only_order: bool) -> bool:
        worse_order = self.srcc < former.srcc - SRCC_TOLERANCE
        return worse_order or (not only_order and self.mse > former.mse + MSE_TOLERANCE)
