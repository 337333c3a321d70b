"""K-shot evaluation: how well is a person known after k ratings, beside the generic score?

A base model is fitted on train people and train images, every test person's adapter on their first k ratings (all of
them train: nothing is held out inside), and scored by SRCC on the test images that the person rated.

Shape letters: U = test people, L = learners, K = values of k, N = ratings, A = aspects, I = images, R = taste dim.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from paaplus.configs import ADAPTER_STRATEGIES, TrainingConfig
from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.evaluation.splits import MakeSplit, Split
from paaplus.evaluation.summary import SplitResult, rows, summary
from paaplus.metrics import srcc
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.records import RatedSet
from paaplus.training import TrainingRequest, train


@dataclass(frozen=True)
class Learner:
    """An adapter kind and the strategy that trains it, written `adapter:strategy`."""

    adapter: str
    strategy: str

    @property
    def name(self) -> str:
        return f"{self.adapter}:{self.strategy}"

    @classmethod
    def parse(cls, text: str) -> Learner:
        """Raises InvalidInput for an unknown adapter, or a strategy that cannot train it."""
        adapter, _, strategy = text.partition(":")
        if strategy not in ADAPTER_STRATEGIES.get(adapter, ()):
            known = [f"{kind}:{name}" for kind, names in ADAPTER_STRATEGIES.items() for name in names]
            raise InvalidInput(f"learner {text!r}; known: {', '.join(known)}")
        return cls(adapter, strategy)


@dataclass(frozen=True)
class KShotConfig:
    """What is compared. The first learner is the one that `personal` and `gain` are about."""

    ks: tuple[int, ...] = (0, 10, 25, 50, 100)
    seeds: tuple[int, ...] = (0, 1, 2)
    learners: tuple[Learner, ...] = (Learner("taste_vector", "bayes"),)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    limit_people: int | None = None  # test people a seed, the first of the split

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
        judge = _Judge(folder, features_ID, extractor_digest, split, config, blocks)
        base_models.append(judge.base_metrics)
        measured = []
        for user_id in names:
            measured.append(judge.measure(user_id))
            done += 1
            progress(done, total)
        generic, *numbers = zip(*measured, strict=True)
        result = SplitResult(seed, names, np.array(generic), *(np.stack(number) for number in numbers))
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
    ) -> None:
        if unknown := sorted(set(split.test_people) - set(folder.people)):
            raise InvalidInput(f"the split tests {len(unknown)} people without ratings, e.g. {unknown[0]!r}")
        train_folder = folder.only(split.train_people, split.train_images)
        self.base, self.base_metrics = fit_base_scorer(
            "kshot",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
        )
        self._folder, self._split, self._config = folder, split, config
        self._taste_IR = self.base.project(features_ID)
        self._generic_IA = self.base.generic(self._taste_IR)
        self._image_at = {image: i for i, image in enumerate(folder.images)}
        self._person_at = {user_id: person for person, user_id in enumerate(folder.people)}
        self._in_test_I = np.isin(folder.images, sorted(split.test_images))

    def measure(self, user_id: str) -> tuple[float, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Generic SRCC; then per learner and k: SRCC, seconds of training, bytes of adapter and of learner state."""
        rows_N = self._folder.person_N == self._person_at[user_id]
        score_of = dict(zip(self._folder.image_N[rows_N].tolist(), self._folder.score_NA[rows_N], strict=True))
        test = np.array([i for i in score_of if self._in_test_I[i]], np.int64)
        target_NA = np.array([score_of[i] for i in test]).reshape(len(test), len(self._folder.aspects))
        generic = mean_srcc(self._generic_IA[test], target_NA)
        shape = len(self._config.learners), len(self._config.ks)
        srcc_LK, seconds_LK, adapter_LK, state_LK = np.full(shape, generic), *(np.zeros(shape) for _ in range(3))
        for j, k in enumerate(self._config.ks):
            support = np.array([self._image_at[image] for image in self._split.support(user_id, k)], np.int64)
            if not len(support):
                continue  # nothing learned: the base model's score stands
            for i, learner in enumerate(self._config.learners):
                request = self._request(learner, support, np.array([score_of[image] for image in support]))
                started = time.perf_counter()
                trained = train(request)
                seconds_LK[i, j] = time.perf_counter() - started
                srcc_LK[i, j] = mean_srcc(
                    trained.adapter.score(self._taste_IR[test], self._generic_IA[test]), target_NA
                )
                adapter_LK[i, j], state_LK[i, j] = len(trained.adapter.to_bytes()), len(trained.state)
        return generic, srcc_LK, seconds_LK, adapter_LK, state_LK

    def _request(self, learner: Learner, support: np.ndarray, target_NA: np.ndarray) -> TrainingRequest:
        sequence_N = np.arange(1, len(support) + 1)
        new = RatedSet.of(sequence_N, self._taste_IR[support], self._generic_IA[support], target_NA)
        return TrainingRequest(
            strategy=learner.strategy,
            adapter_kind=learner.adapter,
            config=self._config.training,
            base=self.base,
            new=new,
            past=new.select(np.zeros(len(new), bool)),
            parent=None,
            state=None,
        )


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
