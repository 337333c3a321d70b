"""Run the k-shot study: the quality of the personal score after k ratings, compared with the generic score.

A base model is fitted on the train people's ratings of train images. Each test person's adapter is trained on the
person's first k ratings; all of them are used, none is held out. SRCC is measured on the test images that the person
rated. For a learner with uncertainty, the share of ratings within its 50, 80 and 95 % intervals is measured too.

Shape letters: U = test people, L = learners, K = values of k, N = ratings, A = aspects, I = images, R = taste dim,
Q = intervals.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import norm

from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc
from paaplus.evaluation.bands import Bands
from paaplus.evaluation.kshot.answers import answered
from paaplus.evaluation.kshot.config import KShotConfig
from paaplus.evaluation.kshot.summary import INTERVALS, KShotMeasurement, SplitResult, rows, summary
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.acquisition import informative_order
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.priors import OwnPrior, Prior, TastePrior, design
from paaplus.training import TrainingRequest, train


def run_kshot(
    data: EvaluationData, make_split: MakeSplit, config: KShotConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Measure every learner on every seed's split.

    Args:
        data: the data folder with features.
        make_split: makes the split of a seed.
        config: the configuration.
        progress: called with the number of test people done and the total.

    Returns:
        A document, ready for JSON: `rows` (one per seed and k), `summary` (one entry per k), `bands` and `config`.

    Raises:
        InvalidInput: a split does not fit the folder, or SRCC is undefined for all of its test people.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    counter = PeopleCounter(plan, progress)
    results, base_models = [], []
    bands = Bands(data.folder)
    for round_ in plan:
        measurement = _SplitMeasurement(data, round_, config, bands)
        base_models.append(measurement.base_metrics)
        measured = []
        for user_id in round_.people:
            measured.append(measurement.measure(user_id))
            counter.add()
        result = SplitResult.of(round_.seed, round_.people, measured)
        if not result.kept_U.any():
            raise InvalidInput(f"seed {round_.seed}: SRCC is undefined for all {len(round_.people)} test people")
        results.append(result)
    learners = [learner.name for learner in config.learners]
    return {
        "rows": [row for result in results for row in rows(result, learners, config.ks)],
        "summary": summary(results, learners, config.ks),
        "bands": bands.summary(),
        "config": {
            **data.config_entries(),
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "personal": learners[0],
            "also": learners[1:],
            "training": asdict(config.training),
            "limit_people": config.limit_people,
            "people_prior": config.people_prior,
            "answers": config.answers,
            "fresh_support": config.fresh_support,
            "base_models": base_models,
        },
    }


class _SplitMeasurement:
    """Fits a base model on one split's train side and measures test people with it."""

    def __init__(self, data: EvaluationData, round_: Round, config: KShotConfig, bands: Bands) -> None:
        fresh_seed = round_.seed if config.fresh_support else None
        self._side = TrainSide("kshot", data, round_.split, fresh_seed=fresh_seed, people_prior=config.people_prior)
        self._split, self._config, self._bands = round_.split, config, bands
        self._prior: TastePrior | None = None
        self.base_metrics = self._side.base_metrics
        if any(learner.prior for learner in config.learners):
            self._prior, prior_metrics = fit_taste_prior(self._side.base, self._side.train_ratings())
            self.base_metrics["taste_prior"] = prior_metrics

    def measure(self, user_id: str) -> KShotMeasurement:
        """Train every learner on one test person's first k ratings, for every k, and measure the adapters."""
        side, ks = self._side, self._config.ks
        test = side.test_images(user_id)
        taste_NR, generic_NA, target_NA = side.taste_IR[test], side.generic_IA[test], side.targets(user_id, test)
        orders = [self._support(user_id, learner) for learner in self._config.learners]
        measured = KShotMeasurement.empty(mean_srcc(generic_NA, target_NA), len(orders[0]), len(orders), ks)
        self._bands.add("generic", user_id, generic_NA, target_NA, test)
        for i, (learner, order) in enumerate(zip(self._config.learners, orders, strict=True)):
            for j, k in enumerate(ks):
                if not len(order[:k]):
                    continue  # without ratings, the generic score is used
                request = self._request(learner, *answered(side, user_id, order, k, self._config.answers))
                started = time.perf_counter()
                trained = train(request)
                measured.seconds_LK[i, j] = time.perf_counter() - started
                score_NA = trained.adapter.score(taste_NR, generic_NA)
                measured.srcc_LK[i, j] = mean_srcc(score_NA, target_NA)
                self._bands.add(f"{learner.name}, k = {k}", user_id, score_NA, target_NA, test)
                measured.adapter_bytes_LK[i, j] = len(trained.adapter.to_bytes())
                measured.state_bytes_LK[i, j] = len(trained.state)
                measured.coverage_LKQ[i, j] = self._coverage(trained.adapter, request.prior, test, score_NA, target_NA)
        return measured

    def _support(self, user_id: str, learner: Learner) -> np.ndarray:
        """The positions of the images that the person rates, in order; the largest k of them, or fewer."""
        side, most = self._side, max(self._config.ks)
        chosen_from_all = learner.asked or side.fresh_images is not None
        images = list(self._split.support(user_id, len(side.score_of[user_id]) if chosen_from_all else most))
        if side.fresh_images is not None:
            images = [image for image in images if image in side.fresh_images]
        rated = np.array([side.image_at[image] for image in images], np.int64)
        if not learner.asked:
            return rated[:most]
        prior, a = self._prior if learner.prior and self._prior else OwnPrior(side.base), 0
        coordinate_IK = prior.coordinates(design(side.taste_IR, side.generic_IA[:, a]), a)
        pool_IK = coordinate_IK[~side.in_test_I]
        return rated[informative_order(coordinate_IK[rated] / prior.noise_sd_A[a], pool_IK, most)]

    def _coverage(
        self, adapter: Adapter, prior: Prior | None, test: np.ndarray, score_NA: np.ndarray, target_NA: np.ndarray
    ) -> np.ndarray:
        """Share of the test ratings within each interval, shape (Q,); NaN for a learner without uncertainty."""
        if not (isinstance(adapter, TasteVector) and adapter.uncertainty):
            return np.full(len(INTERVALS), np.nan)
        distance_NA = np.abs(score_NA - target_NA)
        for a in range(target_NA.shape[1]):
            design_NP = design(self._side.taste_IR[test], self._side.generic_IA[test, a])
            coordinate_NK = (prior or OwnPrior(self._side.base)).coordinates(design_NP, a)
            variance_N = adapter.uncertainty.score_variance(coordinate_NK, a)
            distance_NA[:, a] /= np.sqrt(variance_N + adapter.uncertainty.rating_noise_sd_A[a] ** 2)
        distance = distance_NA[~np.isnan(distance_NA)]
        return np.array([np.mean(distance <= norm.ppf(0.5 + share / 2)) for share in INTERVALS])

    def _request(self, learner: Learner, new: RatedSet, compared: ComparedSet) -> TrainingRequest:
        return TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=self._config.training,
            base=self._side.base,
            new=new,
            past=new.select(np.zeros(len(new), bool)),
            new_compared=compared,
            parent=None,
            state=None,
            prior=self._prior if learner.prior else None,
        )
