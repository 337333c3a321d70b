"""Run the gate study: how often the gate promotes bad candidates and refuses good ones.

A base model is fitted on the train people's ratings of train images. A candidate is trained on each test person's first
k ratings: as a first version, compared with the generic scores, or as an update, compared with a version that was
trained on the first half of the ratings. One rating in five is held out. The same is done with ratings that are spoiled
on purpose, the held-out ones included, because that is all that the platform would see. The truth is never spoiled: it
is the person's real ratings of test images.

* *worse*: the candidate's squared error on the truth is more than `MSE_TOLERANCE` higher than that of the scores it
  would replace, or its SRCC is more than `SRCC_TOLERANCE` lower.
* *bad*: trained on spoiled ratings, and worse.
* *good*: trained on honest ratings, and not worse.

Honest candidates that are worse, and spoiled ones that are not, are counted separately: the truth is measured on a few
images and is itself uncertain.

Shape letters: N = ratings, A = aspects.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.gate.config import GateStudyConfig
from paaplus.evaluation.gate.spoiled_ratings import HONEST, SPOIL, first_spoiled, spoiled
from paaplus.evaluation.gate.summary import FIRST, GATE, HELD_OUT_ONLY, PLAIN, UPDATE, CandidateMeasurement, summary
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.gate import Evidence, cross_fitted, gather, judge
from paaplus.records import RatedSet
from paaplus.training import Trained, TrainingRequest, train

MSE_TOLERANCE = 0.05  # score points squared; the default tolerance of the gate
SRCC_TOLERANCE = 0.02
HOLDOUT_SHARE = 0.2
POOL_SIZE = 256


def run_gate(
    data: EvaluationData, make_split: MakeSplit, config: GateStudyConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure candidates on every seed's split; the arguments are those of `kshot.run.run_kshot`.

    Returns:
        A document, ready for JSON: `summary` (one entry per learner, first version or update, and k), `bands` and
        `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or no test person rated enough.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    measured: list[CandidateMeasurement] = []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        for user_id in round_.people:
            measured += measurement.measure(user_id)
            counter.add()
    if not measured:
        raise InvalidInput(
            f"none of {counter.total} test people rated {min(config.ks)} images, with ratings that differ"
        )
    return {
        "summary": summary(measured, [learner.name for learner in config.learners], config.ks),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            "ks": list(config.ks),
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


class _SplitMeasurement:
    """Fits a base model on one split's train side and measures test people's candidates with it."""

    def __init__(self, data: EvaluationData, round_: Round, config: GateStudyConfig, bands: Bands) -> None:
        self._side = TrainSide("gate", data, round_.split, fresh_seed=round_.seed if config.fresh_support else None)
        self._split, self._seed, self._config, self._bands = round_.split, round_.seed, config, bands

    def measure(self, user_id: str) -> Iterator[CandidateMeasurement]:
        """Every candidate of one person, honest and spoiled; none if the SRCC on the truth is undefined."""
        side = self._side
        truth = side.rated(user_id, side.test_images(user_id))
        if not len(truth) or np.isnan(mean_srcc(truth.generic_NA, truth.target_NA)):
            return
        support = self._split.support(user_id, len(side.score_of[user_id]))
        if side.fresh_images is not None:
            support = [image for image in support if image in side.fresh_images]
        rated = side.rated(user_id, [side.image_at[image] for image in support])
        for k in self._config.ks:
            if len(rated) < k:
                continue
            for number, origin in enumerate((HONEST, *SPOIL)):
                key = [self._seed, zlib.crc32(user_id.encode()), k]
                held_out_N = np.random.default_rng(key).random(k) < HOLDOUT_SHARE
                for version, boundary in ((FIRST, 0), (UPDATE, k // 2)):
                    ratings = rated.select(np.arange(k))
                    start = first_spoiled(origin, k, boundary)
                    target_NA = spoiled(origin, ratings.target_NA, start, np.random.default_rng([*key, number]))
                    ratings = replace(ratings, target_NA=target_NA)
                    for learner in self._config.learners:
                        yield self._measure(user_id, learner, version, origin, ratings, held_out_N, boundary, truth)

    def _measure(
        self,
        user_id: str,
        learner: Learner,
        version: str,
        origin: str,
        ratings: RatedSet,
        held_out_N: np.ndarray,
        boundary: int,
        truth: RatedSet,
    ) -> CandidateMeasurement:
        """Train one candidate and let the gate decide; an update's active version has the ratings up to `boundary`."""
        training = ratings.select(~held_out_N)
        no_ratings = training.select(np.zeros(len(training), bool))
        past_N = training.sequence_N <= boundary
        past, new = training.select(past_N), training.select(~past_N)
        request = TrainingRequest(
            learner.strategy, learner.adapter, self._config.training, self._side.base, new, no_ratings, None, None
        )
        active: Trained | None = None
        if len(past):
            active = train(replace(request, new=past))
            request = replace(request, past=past, parent=active.adapter, state=active.state)
        trained = train(request)
        reference = active.adapter if active else None
        pool = slice(0, POOL_SIZE)
        started = time.perf_counter()
        evidence = gather(
            request,
            trained,
            reference,
            ratings.select(held_out_N),
            boundary=boundary if active else 0,
            pool_PR=self._side.taste_IR[pool],
            pool_PA=self._side.generic_IA[pool],
        )
        promoted = {GATE: judge(cross_fitted(evidence, request, self._config.gate), self._config.gate).promote}
        seconds = time.perf_counter() - started
        if trained.loo_NA is not None:
            promoted[HELD_OUT_ONLY] = judge(_without_leave_one_out(evidence), self._config.gate).promote
        gain_N = evidence.held_out.gains()
        promoted[PLAIN] = bool(len(gain_N) and gain_N.mean() > 0)
        before_NA, after_NA = scores(reference, truth), scores(trained.adapter, truth)
        if version == FIRST:
            images = self._side.test_images(user_id)
            self._bands.add("generic", user_id, truth.generic_NA, truth.target_NA, images)
            self._bands.add(f"{learner.name}, k = {len(ratings)}, {origin}", user_id, after_NA, truth.target_NA, images)
        mse_gain = float(np.nanmean(np.square(before_NA - truth.target_NA) - np.square(after_NA - truth.target_NA)))
        # constant scores have no SRCC; 0 stands for it, which counts as worse
        srcc_gain = float(np.nan_to_num(mean_srcc(after_NA, truth.target_NA)) - mean_srcc(before_NA, truth.target_NA))
        return CandidateMeasurement(
            user_id=user_id,
            learner=learner.name,
            version=version,
            k=len(ratings),
            origin=origin,
            is_worse=mse_gain < -MSE_TOLERANCE or not srcc_gain >= -SRCC_TOLERANCE,
            mse_gain=mse_gain,
            srcc_gain=srcc_gain,
            promoted=promoted,
            seconds=seconds,
        )


def _without_leave_one_out(evidence: Evidence) -> Evidence:
    """The evidence without leave-one-out predictions, as for a strategy that is not in closed form."""
    unknown_NA = np.full_like(evidence.new.candidate_NA, np.nan)
    return replace(evidence, new=replace(evidence.new, candidate_NA=unknown_NA, difference_LLA=None))
