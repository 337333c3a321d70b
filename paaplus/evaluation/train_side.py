"""What every evaluation starts from: data with features, and the base model of one split's train side.

Shape letters: I = images, D = feature dim, N = ratings, R = taste dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.splits import Split
from paaplus.models.base_fit import Ratings, fit_base_scorer
from paaplus.models.extractor import FeatureBlock
from paaplus.records import RatedSet


@dataclass(frozen=True)
class EvaluationData:
    """A data folder and what a frozen backbone makes of its images.

    Attributes:
        folder: who rated what.
        features_ID: of `folder.images`.
        extractor_digest: of what made them.
        blocks: what the features are made of, as their extractor says; none: one kind.
    """

    folder: DataFolder
    features_ID: np.ndarray
    extractor_digest: str
    blocks: Sequence[FeatureBlock] = ()

    def about(self) -> dict[str, Any]:
        """What a document's `config` says of the data."""
        return {
            "data": str(self.folder.path),
            "aspects": list(self.folder.aspects),
            "scale": [self.folder.scale.minimum, self.folder.scale.maximum],
            "extractor_digest": self.extractor_digest,
        }


class TrainSide:
    """The base model that train people's ratings of train images give, and everybody's ratings in its terms.

    Images are told by their position in the folder. `score_of` is by user id: image -> scores, shape (A,), in the
    order of the folder.
    """

    def __init__(
        self, name: str, data: EvaluationData, split: Split, *, fresh_seed: int | None = None, people_prior: bool = True
    ) -> None:
        """Fit the base model.

        Args:
            name: of the base model.
            data: the data.
            split: whose train side it is.
            fresh_seed: keep half of the train images from the base model, drawn by this seed; None: it sees all.
            people_prior: see `fit_base_scorer`.

        Raises:
            InvalidInput: a split that does not fit the folder, or too little to fit a base model on.
        """
        folder = data.folder
        if unknown := sorted(set(split.test_people) - set(folder.people)):
            raise InvalidInput(f"the split tests {len(unknown)} people without ratings, e.g. {unknown[0]!r}")
        seen, self.fresh_images = sorted(split.train_images), None
        if fresh_seed is not None:
            drawn = np.random.default_rng(fresh_seed).permutation(len(seen))
            self.fresh_images = frozenset(seen[i] for i in drawn[len(drawn) // 2 :])
            seen = [image for image in seen if image not in self.fresh_images]
        self.folder = folder.only(split.train_people, seen)
        in_train_I = np.isin(folder.images, self.folder.images)
        self.base, self.base_metrics = fit_base_scorer(
            name,
            data.extractor_digest,
            data.features_ID[in_train_I],
            Ratings(self.folder.aspects, self.folder.person_N, self.folder.image_N, self.folder.score_NA),
            group_I=self.folder.scene_I,
            blocks=data.blocks,
            people_prior=people_prior,
        )
        self.taste_IR = self.base.project(data.features_ID)
        self.generic_IA = self.base.generic(self.taste_IR)
        self.image_at = {image: i for i, image in enumerate(folder.images)}
        self.score_of = folder.scores_by_person()
        self.in_test_I = np.isin(folder.images, sorted(split.test_images))
        self._in_train_I = in_train_I

    def test_images(self, user_id: str) -> np.ndarray:
        """What somebody rated of the split's test images, shape (N,)."""
        return np.array([i for i in self.score_of[user_id] if self.in_test_I[i]], np.int64)

    def targets(self, user_id: str, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """Somebody's scores of images that they rated, shape (N, A); NaN where an aspect was not rated."""
        score_of = self.score_of[user_id]
        return np.array([score_of[int(i)] for i in images]).reshape(len(images), len(self.base.aspects))

    def rated(self, user_id: str, images: Sequence[int] | np.ndarray) -> RatedSet:
        """Somebody's ratings of these images, as if given in this order."""
        return self.rated_as(images, self.targets(user_id, images))

    def rated_as(self, images: Sequence[int] | np.ndarray, target_NA: np.ndarray, first_sequence: int = 1) -> RatedSet:
        """Ratings of these images, given in this order from a sequence number on."""
        at = np.array(images, np.int64)
        sequence_N = np.arange(first_sequence, first_sequence + len(at))
        return RatedSet.of(sequence_N, self.taste_IR[at], self.generic_IA[at], target_NA)

    def train_images(self, user_id: str) -> list[int]:
        """What somebody rated of the images that the base model was fitted on."""
        return [i for i in self.score_of[user_id] if self._in_train_I[i]]

    def train_ratings(self) -> list[RatedSet]:
        """What the base model was fitted on, by person."""
        return [self.rated(user_id, self.train_images(user_id)) for user_id in self.folder.people]
