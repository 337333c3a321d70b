"""One split of a data folder as a model base meets it: experts are its train people, new users its test people.

An expert's model is the closed form on all their ratings of train images. A pair of images is answered as the person's
ratings of the two say: the higher rated one, a tie where they are equal.

Shape letters: I = images, N = ratings, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.kshot import mean_srcc
from paaplus.evaluation.splits import Split
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.base import BaseScorer
from paaplus.scoring.closed_form import fit
from paaplus.scoring.experts import Expert, Panel
from paaplus.scoring.matching import next_pair
from paaplus.scoring.priors import OwnPrior, Prior

_FIRST_PAIR = 1_000_000  # sequence numbers of pairs: beyond those of ratings

Pair = tuple[int, int]


@dataclass(frozen=True)
class NewUser:
    """A test person: what they may be asked about, in order, and what they are judged by. Images by position."""

    user_id: str
    score_of: dict[int, np.ndarray]
    support: tuple[int, ...]
    test: np.ndarray


class ExpertsStage:
    """The base model of a split's train side, its people as experts, and what a new user's answers make of them."""

    def __init__(
        self,
        folder: DataFolder,
        features_ID: np.ndarray,
        extractor_digest: str,
        split: Split,
        blocks: Sequence[FeatureBlock],
        seed: int,
    ) -> None:
        if unknown := sorted(set(split.test_people) - set(folder.people)):
            raise InvalidInput(f"the split tests {len(unknown)} people without ratings, e.g. {unknown[0]!r}")
        train_folder = folder.only(split.train_people, sorted(split.train_images))
        self.base: BaseScorer
        self.base, self.base_metrics = fit_base_scorer(
            "experts",
            extractor_digest,
            features_ID[np.isin(folder.images, train_folder.images)],
            Ratings(folder.aspects, train_folder.person_N, train_folder.image_N, train_folder.score_NA),
            group_I=train_folder.scene_I,
            blocks=blocks,
        )
        self.prior = OwnPrior(self.base)
        self.taste_IR = self.base.project(features_ID)
        self.generic_IA = self.base.generic(self.taste_IR)
        self.seed = seed
        self._split = split
        self._image_at = {image: i for i, image in enumerate(folder.images)}
        self._in_test_I = np.isin(folder.images, sorted(split.test_images))
        self._scores: dict[str, dict[int, np.ndarray]] = {user_id: {} for user_id in folder.people}
        for person, image, score_A in zip(folder.person_N, folder.image_N.tolist(), folder.score_NA, strict=True):
            self._scores[folder.people[person]][image] = score_A
        self.experts = [self._expert(user_id) for user_id in sorted(split.train_people)]

    def panel(self, num_experts: int | None) -> Panel:
        """Some of the experts, drawn by the seed; None: all."""
        if num_experts is None or num_experts >= len(self.experts):
            return Panel.of(self.base, self.prior, self.experts)
        drawn = np.random.default_rng([self.seed, num_experts]).choice(len(self.experts), num_experts, replace=False)
        return Panel.of(self.base, self.prior, [self.experts[i] for i in drawn])

    def user(self, user_id: str) -> NewUser:
        score_of = self._scores[user_id]
        support = [self._image_at[image] for image in self._split.support(user_id, len(score_of))]
        test = np.array([i for i in score_of if self._in_test_I[i]], np.int64)
        return NewUser(user_id, score_of, tuple(support), test)

    def rated(self, user: NewUser, images: Sequence[int], first_sequence: int = 1) -> RatedSet:
        """What somebody rated of these images, in this order."""
        at = np.array(images, np.int64)
        target_NA = np.array([user.score_of[i] for i in images]).reshape(len(at), len(self.base.aspects))
        sequence_N = np.arange(first_sequence, first_sequence + len(at))
        return RatedSet.of(sequence_N, self.taste_IR[at], self.generic_IA[at], target_NA)

    def compared(self, user: NewUser, pairs: Sequence[Pair], first_sequence: int = _FIRST_PAIR) -> ComparedSet:
        """What somebody's ratings say of these pairs."""
        if not pairs:
            return NO_COMPARISONS
        first, second = np.array(pairs).T
        apart_CA = np.array([user.score_of[i] - user.score_of[j] for i, j in pairs])
        return ComparedSet.of(
            np.arange(first_sequence, first_sequence + len(pairs)),
            self.taste_IR[first],
            self.generic_IA[first],
            self.taste_IR[second],
            self.generic_IA[second],
            np.where(np.isnan(apart_CA), np.nan, (np.sign(apart_CA) + 1.0) / 2.0),
        )

    def quiz(self, user: NewUser, panel: Panel, num_pairs: int) -> list[Pair]:
        """The adaptive pairs among the train images that somebody rated, each after the answers to those before it."""
        pool = np.array(sorted(user.support), np.int64)
        at = {int(image): position for position, image in enumerate(pool)}
        pairs: list[Pair] = []
        while len(pairs) < num_pairs:
            question = next_pair(
                self.base,
                self.prior,
                panel.experts,
                self.rated(user, ()),
                self.compared(user, pairs),
                self.taste_IR[pool],
                self.generic_IA[pool],
                asked=[(at[first], at[second]) for first, second in pairs],
                seed=self.seed,
                panel=panel,
            )
            if question is None:
                break
            pairs.append((int(pool[question.first]), int(pool[question.second])))
        return pairs

    def random_pairs(self, user: NewUser, num_pairs: int) -> list[Pair]:
        """Pairs of the first images of the support, each image in one of them."""
        images = user.support[: 2 * num_pairs]
        return list(zip(images[::2], images[1::2], strict=False))

    def srcc(self, user: NewUser, adapter: Adapter | None) -> float:
        """On the test images; None: the generic score. NaN where it is not defined."""
        score_NA = self.generic_IA[user.test]
        if adapter is not None:
            score_NA = adapter.score(self.taste_IR[user.test], score_NA)
        target_NA = np.array([user.score_of[int(i)] for i in user.test]).reshape(len(user.test), len(self.base.aspects))
        return mean_srcc(score_NA, target_NA)

    def known(self, user: NewUser, prior: Prior, rated: RatedSet, compared: ComparedSet) -> float:
        """SRCC after these answers, starting from a prior."""
        return self.srcc(user, fit(self.base, prior, rated, compared).adapter)

    def _expert(self, user_id: str) -> Expert:
        images = [i for i in self._scores[user_id] if not self._in_test_I[i]]
        user = NewUser(user_id, self._scores[user_id], (), np.empty(0, np.int64))
        rated = self.rated(user, images)
        return Expert(user_id, fit(self.base, self.prior, rated, NO_COMPARISONS).adapter, len(rated))
