"""Operating curve of the gate: how often does it let bad candidates live, how often does it refuse good ones?

A base model is fitted on train people and train images. Every test person's first k ratings make a candidate: a first
version, judged against the generic scores, or an update, judged against a version of the first half of them. One rating
in five is held out. Then the same with ratings that are spoiled on purpose, the held-out ones too: the platform sees
nothing else. Only the truth is unspoiled: what the person really said of images that nobody here was trained on.

A candidate is *worse* than what it would replace if its squared error there is higher by more than `MSE_TOLERANCE` or
its SRCC lower by more than `SRCC_TOLERANCE`. *Bad*: of spoiled ratings, and worse. *Good*: of honest ones, and not
worse. Honest candidates that are worse and spoiled ones that are not are told apart, for these lines are drawn through
measurements that are themselves uncertain.

Shape letters: N = ratings, I = images, A = aspects.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus.configs import GateConfig, TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.agreement import mean_srcc, scores
from paaplus.evaluation.checks import check_learners, check_limit, check_numbers
from paaplus.evaluation.gate.spoiled_ratings import HONEST, SPOIL, first_spoiled, spoiled
from paaplus.evaluation.gate.summary import FIRST, GATE, HELD_OUT_ONLY, PLAIN, UPDATE, Judged, summary
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.rounds import PeopleCounter, Progress, Round, no_progress, rounds
from paaplus.evaluation.splits import MakeSplit
from paaplus.evaluation.train_side import EvaluationData, TrainSide
from paaplus.gate import Evidence, completed, gather, judge
from paaplus.records import RatedSet
from paaplus.training import Trained, TrainingRequest, train

MSE_TOLERANCE = 0.05  # score points squared: the margin that the gate itself promises
SRCC_TOLERANCE = 0.02
HOLDOUT_SHARE = 0.2
POOL_SIZE = 256


@dataclass(frozen=True)
class GateCurveConfig:
    """What is judged, on whom and how."""

    ks: tuple[int, ...] = (10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    learners: tuple[Learner, ...] = (Learner("taste_vector", "bayes"),)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    gate: GateConfig = field(default_factory=GateConfig)
    limit_people: int | None = None  # test people a seed, the first of the split
    fresh_support: bool = False  # the base model sees half of the train images; people rate images of the other half

    def __post_init__(self) -> None:
        check_numbers("k", self.ks, least=4)
        check_numbers("seeds", self.seeds)
        check_learners(self.learners)
        if special := [learner.name for learner in self.learners if learner.prior or learner.asked]:
            raise InvalidInput(f"learners {special}: here without options")
        check_limit(self.limit_people)


def run_gate_curve(
    data: EvaluationData, make_split: MakeSplit, config: GateCurveConfig, progress: Progress = no_progress
) -> dict[str, Any]:
    """Judge on every seed's split; arguments like those of `kshot.run_kshot`.

    Returns:
        `summary` (one entry per learner, first version or update, and k) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or nobody with enough ratings.
    """
    plan = rounds(make_split, config.seeds, config.limit_people)
    count = PeopleCounter(plan, progress)
    judged: list[Judged] = []
    for each in plan:
        court = _Court(data, each, config)
        for user_id in each.people:
            judged += court.judge_all(user_id)
            count.add()
    if not judged:
        raise InvalidInput(f"none of {count.total} test people rated {min(config.ks)} images and differently")
    return {
        "summary": summary(judged, [learner.name for learner in config.learners], config.ks),
        "config": {
            **data.about(),
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


class _Court:
    """The base model of one split's train side, and what it takes to have a person's candidates judged."""

    def __init__(self, data: EvaluationData, this: Round, config: GateCurveConfig) -> None:
        self._side = TrainSide("gate", data, this.split, fresh_seed=this.seed if config.fresh_support else None)
        self._split, self._seed, self._config = this.split, this.seed, config

    def judge_all(self, user_id: str) -> Iterator[Judged]:
        """Every candidate of one person, honest and spoiled; nothing where the truth has no order."""
        side = self._side
        truth = side.rated(user_id, side.test_images(user_id))
        if not len(truth) or np.isnan(mean_srcc(truth.generic_NA, truth.target_NA)):
            return
        asked = self._split.support(user_id, len(side.score_of[user_id]))
        if side.fresh_images is not None:
            asked = [image for image in asked if image in side.fresh_images]
        given = side.rated(user_id, [side.image_at[image] for image in asked])
        for k in self._config.ks:
            if len(given) < k:
                continue
            for number, origin in enumerate((HONEST, *SPOIL)):
                key = [self._seed, zlib.crc32(user_id.encode()), k]
                held_out_N = np.random.default_rng(key).random(k) < HOLDOUT_SHARE
                for when, active_knows in ((FIRST, 0), (UPDATE, k // 2)):
                    ratings = given.select(np.arange(k))
                    start = first_spoiled(origin, k, active_knows)
                    target_NA = spoiled(origin, ratings.target_NA, start, np.random.default_rng([*key, number]))
                    ratings = replace(ratings, target_NA=target_NA)
                    for learner in self._config.learners:
                        yield self._judge(user_id, learner, when, origin, ratings, held_out_N, active_knows, truth)

    def _judge(
        self,
        user_id: str,
        learner: Learner,
        when: str,
        origin: str,
        ratings: RatedSet,
        held_out_N: np.ndarray,
        active_knows: int,
        truth: RatedSet,
    ) -> Judged:
        training = ratings.select(~held_out_N)
        nothing = training.select(np.zeros(len(training), bool))
        known_N = training.sequence_N <= active_knows
        past, new = training.select(known_N), training.select(~known_N)
        request = TrainingRequest(
            learner.strategy, learner.adapter, self._config.training, self._side.base, new, nothing, None, None
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
            boundary=active_knows if active else 0,
            pool_PR=self._side.taste_IR[pool],
            pool_PA=self._side.generic_IA[pool],
        )
        live = {GATE: judge(completed(evidence, request, self._config.gate), self._config.gate).promote}
        seconds = time.perf_counter() - started
        if trained.loo_NA is not None:
            live[HELD_OUT_ONLY] = judge(_without_left_out(evidence), self._config.gate).promote
        gain_D = evidence.held_out.gains()
        live[PLAIN] = bool(len(gain_D) and gain_D.mean() > 0)
        before_NA, after_NA = scores(reference, truth), scores(trained.adapter, truth)
        mse_gain = float(np.nanmean(np.square(before_NA - truth.target_NA) - np.square(after_NA - truth.target_NA)))
        # scores that are all alike have no order: the worst there is for one
        srcc_gain = float(np.nan_to_num(mean_srcc(after_NA, truth.target_NA)) - mean_srcc(before_NA, truth.target_NA))
        return Judged(
            user_id=user_id,
            learner=learner.name,
            when=when,
            k=len(ratings),
            origin=origin,
            is_worse=mse_gain < -MSE_TOLERANCE or not srcc_gain >= -SRCC_TOLERANCE,
            mse_gain=mse_gain,
            srcc_gain=srcc_gain,
            live=live,
            seconds=seconds,
        )


def _without_left_out(evidence: Evidence) -> Evidence:
    """The evidence that there would be of a strategy without closed-form leave-one-out predictions."""
    unknown_NA = np.full_like(evidence.fresh.candidate_NA, np.nan)
    return replace(evidence, fresh=replace(evidence.fresh, candidate_NA=unknown_NA, difference_LLA=None))
