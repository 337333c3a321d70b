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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from paaplus.configs import GateConfig, TrainingConfig
from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.bad_raters import HONEST, SPOIL, first_spoiled, spoiled
from paaplus.evaluation.gate_summary import FIRST, GATE, HELD_OUT_ONLY, PLAIN, UPDATE, Judged, summary
from paaplus.evaluation.kshot import Learner, mean_srcc
from paaplus.evaluation.splits import MakeSplit, Split
from paaplus.gate import Evidence, completed, gather, judge
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
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
        if not self.ks or min(self.ks) < 4 or len(set(self.ks)) != len(self.ks):
            raise InvalidInput(f"k {list(self.ks)}: one or more distinct numbers, none below 4")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) != len(self.seeds):
            raise InvalidInput(f"seeds {list(self.seeds)}: one or more distinct numbers, none below 0")
        if not self.learners or len(set(self.learners)) != len(self.learners):
            raise InvalidInput(f"learners {[learner.name for learner in self.learners]}: one or more, none twice")
        if special := [learner.name for learner in self.learners if learner.prior or learner.asked]:
            raise InvalidInput(f"learners {special}: here without options")
        if self.limit_people is not None and self.limit_people < 1:
            raise InvalidInput(f"limit of {self.limit_people} people: 1 or more")


def run_gate_curve(
    folder: DataFolder,
    features_ID: np.ndarray,
    extractor_digest: str,
    make_split: MakeSplit,
    config: GateCurveConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    blocks: Sequence[FeatureBlock] = (),
) -> dict[str, Any]:
    """Judge on every seed's split.

    Args:
        folder: the data.
        features_ID: of `folder.images`.
        extractor_digest: of what made them.
        make_split: gives the split of a seed.
        config: what is judged.
        progress: told how many test people are done, of how many.
        blocks: what the features are made of, as their extractor says.

    Returns:
        `summary` (one entry per learner, first version or update, and k) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or nobody with enough ratings.
    """
    splits = [make_split(seed) for seed in config.seeds]
    people = [tuple(split.test_people)[: config.limit_people] for split in splits]
    total, done = sum(len(names) for names in people), 0
    judged: list[Judged] = []
    progress(done, total)
    for seed, split, names in zip(config.seeds, splits, people, strict=True):
        court = _Court(folder, features_ID, extractor_digest, split, config, blocks, seed)
        for user_id in names:
            judged += court.judge_all(user_id)
            done += 1
            progress(done, total)
    if not judged:
        raise InvalidInput(f"none of {total} test people rated {min(config.ks)} images and differently")
    return {
        "summary": summary(judged, [learner.name for learner in config.learners], config.ks),
        "config": {
            "data": str(folder.path),
            "aspects": list(folder.aspects),
            "scale": [folder.scale.minimum, folder.scale.maximum],
            "extractor_digest": extractor_digest,
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

    def __init__(
        self,
        folder: DataFolder,
        features_ID: np.ndarray,
        extractor_digest: str,
        split: Split,
        config: GateCurveConfig,
        blocks: Sequence[FeatureBlock],
        seed: int,
    ) -> None:
        train_images = sorted(split.train_images)
        rateable = frozenset(train_images)
        if config.fresh_support:
            drawn = np.random.default_rng(seed).permutation(len(train_images))
            rateable = frozenset(train_images[i] for i in drawn[len(drawn) // 2 :])
            train_images = [image for image in train_images if image not in rateable]
        train_folder = folder.only(split.train_people, train_images)
        self._base, _ = fit_base_scorer(
            "gate",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
        )
        self._folder, self._split, self._config, self._seed = folder, split, config, seed
        self._rateable = rateable
        self._taste_IR = self._base.project(features_ID)
        self._generic_IA = self._base.generic(self._taste_IR)
        self._image_at = {image: i for i, image in enumerate(folder.images)}
        self._person_at = {user_id: person for person, user_id in enumerate(folder.people)}
        self._in_test_I = np.isin(folder.images, sorted(split.test_images))

    def judge_all(self, user_id: str) -> Iterator[Judged]:
        """Every candidate of one person, honest and spoiled; nothing where the truth has no order."""
        rows_N = self._folder.person_N == self._person_at[user_id]
        score_of = dict(zip(self._folder.image_N[rows_N].tolist(), self._folder.score_NA[rows_N], strict=True))
        truth = self._rated(np.array([i for i in score_of if self._in_test_I[i]], np.int64), score_of)
        if not len(truth) or np.isnan(mean_srcc(truth.generic_NA, truth.target_NA)):
            return
        asked = [i for i in self._split.support(user_id, len(score_of)) if i in self._rateable]
        given = self._rated(np.array([self._image_at[image] for image in asked], np.int64), score_of)
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
            learner.strategy, learner.adapter, self._config.training, self._base, new, nothing, None, None
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
            pool_PR=self._taste_IR[pool],
            pool_PA=self._generic_IA[pool],
        )
        live = {GATE: judge(completed(evidence, request, self._config.gate), self._config.gate).promote}
        seconds = time.perf_counter() - started
        if trained.loo_NA is not None:
            live[HELD_OUT_ONLY] = judge(_without_left_out(evidence), self._config.gate).promote
        gain_D = evidence.held_out.gains()
        live[PLAIN] = bool(len(gain_D) and gain_D.mean() > 0)
        before_NA, after_NA = self._scores(reference, truth), self._scores(trained.adapter, truth)
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

    def _rated(self, image_N: np.ndarray, score_of: dict[int, np.ndarray]) -> RatedSet:
        target_NA = np.array([score_of[i] for i in image_N.tolist()]).reshape(len(image_N), len(self._folder.aspects))
        sequence_N = np.arange(1, len(image_N) + 1)
        return RatedSet.of(sequence_N, self._taste_IR[image_N], self._generic_IA[image_N], target_NA)

    def _scores(self, adapter: Adapter | None, rated: RatedSet) -> np.ndarray:
        return rated.generic_NA if adapter is None else adapter.score(rated.taste_NR, rated.generic_NA)


def _without_left_out(evidence: Evidence) -> Evidence:
    """The evidence that there would be of a strategy without closed-form leave-one-out predictions."""
    unknown_NA = np.full_like(evidence.fresh.candidate_NA, np.nan)
    return replace(evidence, fresh=replace(evidence.fresh, candidate_NA=unknown_NA, difference_LLA=None))
