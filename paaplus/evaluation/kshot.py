"""K-shot evaluation: how well is a person known after k ratings, beside the generic score?

A base model is fitted on train people and train images, every test person's adapter on their first k ratings (all of
them train: nothing is held out inside), and scored by SRCC on the test images that the person rated. Where a learner
knows how sure it is, the share of ratings within its 50, 80 and 95 % intervals is measured too.

Shape letters: U = test people, L = learners, K = values of k, N = ratings, A = aspects, I = images, R = taste dim,
Q = intervals.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.stats import norm

from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.splits import MakeSplit, Split
from paaplus.evaluation.summary import INTERVALS, Measured, SplitResult, rows, summary
from paaplus.metrics import srcc
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.priors import fit_taste_prior
from paaplus.records import RatedSet
from paaplus.scoring.acquisition import informative_order
from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.priors import OwnPrior, Prior, TastePrior, design
from paaplus.training import TrainingRequest, train


@dataclass(frozen=True)
class Learner:
    """An adapter kind and the strategy that trains it, written `adapter:strategy`, with `+prior` and `+asked`.

    `prior`: the closed form starts from a taste prior learned from the train people, not from the base model's own.
    `asked`: the k images are those that `informative_order` would ask about, not the first k of the split.
    """

    adapter: str
    strategy: str
    prior: bool = False
    asked: bool = False

    @property
    def name(self) -> str:
        options = "".join(f"+{option}" for option in ("prior", "asked") if getattr(self, option))
        return f"{self.adapter}:{self.strategy}{options}"

    @classmethod
    def parse(cls, text: str) -> Learner:
        """Raises InvalidInput for an unknown adapter or option, or a strategy that cannot train the adapter."""
        plain, *options = text.split("+")
        adapter, _, strategy = plain.partition(":")
        if strategy not in ADAPTER_STRATEGIES.get(adapter, ()) or not set(options) <= {"prior", "asked"}:
            known = [f"{kind}:{name}" for kind, names in ADAPTER_STRATEGIES.items() for name in names]
            raise InvalidInput(f"learner {text!r}; known: {', '.join(known)}; options: +prior, +asked")
        if "prior" in options and strategy != "bayes":
            raise InvalidInput(f"learner {text!r}: only `bayes` starts from a learned taste prior")
        return cls(adapter, strategy, "prior" in options, "asked" in options)


@dataclass(frozen=True)
class KShotConfig:
    """What is compared. The first learner is the one that `personal` and `gain` are about."""

    ks: tuple[int, ...] = (0, 10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    learners: tuple[Learner, ...] = (Learner("taste_vector", "bayes"),)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    limit_people: int | None = None  # test people a seed, the first of the split
    people_prior: bool = True  # False: the base model learns no directions in which people differ
    fresh_support: bool = False  # the base model sees half of the train images; people rate images of the other half

    def __post_init__(self) -> None:
        for name, numbers in (("k", self.ks), ("seeds", self.seeds)):
            if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
                raise InvalidInput(f"{name} {list(numbers)}: one or more distinct numbers, none below 0")
        if not self.learners or len(set(self.learners)) != len(self.learners):
            raise InvalidInput(f"learners {[learner.name for learner in self.learners]}: one or more, none twice")
        if self.limit_people is not None and self.limit_people < 1:
            raise InvalidInput(f"limit of {self.limit_people} people: 1 or more")


def run_kshot(
    folder: DataFolder,
    features_ID: np.ndarray,
    extractor_digest: str,
    make_split: MakeSplit,
    config: KShotConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
    blocks: Sequence[FeatureBlock] = (),
) -> dict[str, Any]:
    """Evaluate on every seed's split.

    Args:
        folder: the data.
        features_ID: of `folder.images`.
        extractor_digest: of what made them.
        make_split: gives the split of a seed.
        config: what is compared.
        progress: told how many test people are done, of how many.
        blocks: what the features are made of, as their extractor says.

    Returns:
        `rows` (per seed and k), `summary` (per k) and `config`, ready for JSON.

    Raises:
        InvalidInput: a split that does not fit the folder, or leaves nobody to judge by.
    """
    splits = [make_split(seed) for seed in config.seeds]
    people = [tuple(split.test_people)[: config.limit_people] for split in splits]
    total, done = sum(len(names) for names in people), 0
    progress(done, total)
    results, base_models = [], []
    for seed, split, names in zip(config.seeds, splits, people, strict=True):
        judge = _Judge(folder, features_ID, extractor_digest, split, config, blocks, seed)
        base_models.append(judge.base_metrics)
        measured = []
        for user_id in names:
            measured.append(judge.measure(user_id))
            done += 1
            progress(done, total)
        result = SplitResult.of(seed, names, measured)
        if not result.kept_U.any():
            raise InvalidInput(f"seed {seed}: none of {len(names)} test people can be judged by SRCC")
        results.append(result)
    learners = [learner.name for learner in config.learners]
    return {
        "rows": [row for result in results for row in rows(result, learners, config.ks)],
        "summary": summary(results, learners, config.ks),
        "config": {
            "data": str(folder.path),
            "aspects": list(folder.aspects),
            "scale": [folder.scale.minimum, folder.scale.maximum],
            "extractor_digest": extractor_digest,
            "ks": list(config.ks),
            "seeds": list(config.seeds),
            "personal": learners[0],
            "also": learners[1:],
            "training": asdict(config.training),
            "limit_people": config.limit_people,
            "people_prior": config.people_prior,
            "fresh_support": config.fresh_support,
            "base_models": base_models,
        },
    }


class _Judge:
    """The base model of one split's train side, and what it takes to judge a person with it."""

    def __init__(
        self,
        folder: DataFolder,
        features_ID: np.ndarray,
        extractor_digest: str,
        split: Split,
        config: KShotConfig,
        blocks: Sequence[FeatureBlock],
        split_seed: int,
    ) -> None:
        if unknown := sorted(set(split.test_people) - set(folder.people)):
            raise InvalidInput(f"the split tests {len(unknown)} people without ratings, e.g. {unknown[0]!r}")
        train_images = sorted(split.train_images)
        self._fresh: frozenset[str] | None = None
        if config.fresh_support:
            drawn = np.random.default_rng(split_seed).permutation(len(train_images))
            self._fresh = frozenset(train_images[i] for i in drawn[len(drawn) // 2 :])
            train_images = [image for image in train_images if image not in self._fresh]
        train_folder = folder.only(split.train_people, train_images)
        self.base, self.base_metrics = fit_base_scorer(
            "kshot",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
            people_prior=config.people_prior,
        )
        self._folder, self._split, self._config = folder, split, config
        self._taste_IR = self.base.project(features_ID)
        self._generic_IA = self.base.generic(self._taste_IR)
        self._image_at = {image: i for i, image in enumerate(folder.images)}
        self._person_at = {user_id: person for person, user_id in enumerate(folder.people)}
        self._in_test_I = np.isin(folder.images, sorted(split.test_images))
        self._prior: TastePrior | None = None
        if any(learner.prior for learner in config.learners):
            self._prior, self.base_metrics["taste_prior"] = self._fit_prior(train_folder)

    def _fit_prior(self, train_folder: DataFolder) -> tuple[TastePrior, dict[str, Any]]:
        at_I = np.array([self._image_at[image] for image in train_folder.images])
        people = []
        for person in range(len(train_folder.people)):
            rows_N = np.flatnonzero(train_folder.person_N == person)
            images = at_I[train_folder.image_N[rows_N]]
            people.append(self._rated(images, train_folder.score_NA[rows_N]))
        return fit_taste_prior(self.base, people)

    def measure(self, user_id: str) -> Measured:
        """Everything that is measured of one test person."""
        rows_N = self._folder.person_N == self._person_at[user_id]
        score_of = dict(zip(self._folder.image_N[rows_N].tolist(), self._folder.score_NA[rows_N], strict=True))
        test = np.array([i for i in score_of if self._in_test_I[i]], np.int64)
        target_NA = np.array([score_of[i] for i in test]).reshape(len(test), len(self._folder.aspects))
        generic = mean_srcc(self._generic_IA[test], target_NA)
        orders = [self._questions(user_id, learner) for learner in self._config.learners]
        measured = Measured.empty(generic, len(orders[0]), len(orders), self._ks)
        for i, (learner, order) in enumerate(zip(self._config.learners, orders, strict=True)):
            for j, k in enumerate(self._ks):
                support = order[:k]
                if not len(support):
                    continue  # nothing learned: the base model's score stands
                request = self._request(learner, support, np.array([score_of[image] for image in support]))
                started = time.perf_counter()
                trained = train(request)
                measured.seconds_LK[i, j] = time.perf_counter() - started
                score_NA = trained.adapter.score(self._taste_IR[test], self._generic_IA[test])
                measured.srcc_LK[i, j] = mean_srcc(score_NA, target_NA)
                measured.adapter_bytes_LK[i, j] = len(trained.adapter.to_bytes())
                measured.state_bytes_LK[i, j] = len(trained.state)
                measured.coverage_LKQ[i, j] = self._coverage(trained.adapter, request.prior, test, score_NA, target_NA)
        return measured

    @property
    def _ks(self) -> tuple[int, ...]:
        return self._config.ks

    def _questions(self, user_id: str, learner: Learner) -> np.ndarray:
        """The images that the person rates, in order, as many as the largest k where there are as many."""
        chosen_from_all = learner.asked or self._fresh is not None
        num_rated = int((self._folder.person_N == self._person_at[user_id]).sum())
        images = list(self._split.support(user_id, num_rated if chosen_from_all else max(self._ks)))
        if self._fresh is not None:
            images = [image for image in images if image in self._fresh]
        rated = np.array([self._image_at[image] for image in images], np.int64)
        if not learner.asked:
            return rated[: max(self._ks)]
        prior, a = self._prior if learner.prior and self._prior else OwnPrior(self.base), 0
        coordinate_IK = prior.coordinates(design(self._taste_IR, self._generic_IA[:, a]), a)
        pool_IK = coordinate_IK[~self._in_test_I]
        return rated[informative_order(coordinate_IK[rated] / prior.noise_sd_A[a], pool_IK, max(self._ks))]

    def _coverage(
        self, adapter: Adapter, prior: Prior | None, test: np.ndarray, score_NA: np.ndarray, target_NA: np.ndarray
    ) -> np.ndarray:
        """Share of the test ratings within each interval, shape (Q,); NaN where the learner does not say how sure."""
        if not (isinstance(adapter, TasteVector) and adapter.uncertainty):
            return np.full(len(INTERVALS), np.nan)
        distance_NA = np.abs(score_NA - target_NA)
        for a in range(target_NA.shape[1]):
            coordinate_NK = (prior or OwnPrior(self.base)).coordinates(
                design(self._taste_IR[test], self._generic_IA[test, a]), a
            )
            variance_N = adapter.uncertainty.score_variance(coordinate_NK, a)
            distance_NA[:, a] /= np.sqrt(variance_N + adapter.uncertainty.rating_noise_sd_A[a] ** 2)
        distance = distance_NA[~np.isnan(distance_NA)]
        return np.array([np.mean(distance <= norm.ppf(0.5 + share / 2)) for share in INTERVALS])

    def _request(self, learner: Learner, support: np.ndarray, target_NA: np.ndarray) -> TrainingRequest:
        new = self._rated(support, target_NA)
        return TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=self._config.training,
            base=self.base,
            new=new,
            past=new.select(np.zeros(len(new), bool)),
            parent=None,
            state=None,
            prior=self._prior if learner.prior else None,
        )

    def _rated(self, images: np.ndarray, target_NA: np.ndarray) -> RatedSet:
        sequence_N = np.arange(1, len(images) + 1)
        return RatedSet.of(sequence_N, self._taste_IR[images], self._generic_IA[images], target_NA)


def mean_srcc(score_NA: np.ndarray, target_NA: np.ndarray) -> float:
    """SRCC over the images rated, mean over aspects; NaN if it is undefined for one of them."""
    values = []
    for score_N, target_N in zip(score_NA.T, target_NA.T, strict=True):
        rated_N = ~np.isnan(target_N)
        try:
            values.append(srcc(score_N[rated_N], target_N[rated_N]))
        except (InvalidInput, UndefinedMetric):  # fewer than two ratings, or all alike
            return float("nan")
    return float(np.mean(values))
