"""The input of every study: a data folder with features, and the base model of one split's train side.

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
    """A data folder and the features of its images.

    Attributes:
        folder: the people, images and ratings.
        features_ID: features of `folder.images`, in the same order.
        extractor_digest: digest of the extractor that computed the features.
        blocks: the blocks that the features consist of, as the extractor gives them; empty for a single block.
    """

    folder: DataFolder
    features_ID: np.ndarray
    extractor_digest: str
    blocks: Sequence[FeatureBlock] = ()

    def config_entries(self) -> dict[str, Any]:
        """The entries of a document's `config` on the data."""
        return {
            "data": str(self.folder.path),
            "aspects": list(self.folder.aspects),
            "scale": [self.folder.scale.minimum, self.folder.scale.maximum],
            "extractor_digest": self.extractor_digest,
        }


def check_test_people(folder: DataFolder, split: Split) -> None:
    """Check that the folder has a split's test people.

    Raises:
        InvalidInput: it has not.
    """
    if unknown := sorted(set(split.test_people) - set(folder.people)):
        raise InvalidInput(f"the split tests {len(unknown)} people without ratings, e.g. {unknown[0]!r}")


def fitted_images(split: Split, fresh_seed: int | None) -> tuple[list[str], frozenset[str] | None]:
    """The train images that the base model is fitted on, and those that are kept from it; None without a seed."""
    images = sorted(split.train_images)
    if fresh_seed is None:
        return images, None
    order = np.random.default_rng(fresh_seed).permutation(len(images))
    fresh = frozenset(images[i] for i in order[len(order) // 2 :])
    return [image for image in images if image not in fresh], fresh


class TrainSide:
    """A base model fitted on the train people's ratings of train images, and everybody's ratings as its `RatedSet`s.

    Images are given by their position in the data folder.

    Attributes:
        base: the base model's scorer.
        base_metrics: metrics of its fit.
        taste_IR: taste space coordinates of all images.
        generic_IA: generic scores (0-10) of all images.
        image_at: image name -> position.
        score_of: user id -> image position -> scores (0-10), shape (A,), in the order of the ratings.
        in_test_I: True for the split's test images.
        fresh_images: train images that were kept from the base model; None without `fresh_seed`.
    """

    def __init__(
        self, name: str, data: EvaluationData, split: Split, *, fresh_seed: int | None = None, people_prior: bool = True
    ) -> None:
        """Fit the base model.

        Args:
            name: name of the base model.
            data: the data folder with features.
            split: the split whose train side is used.
            fresh_seed: seed that draws half of the train images, which are then kept from the base model; None: the
                base model is fitted on all train images.
            people_prior: see `fit_base_scorer`.

        Raises:
            InvalidInput: the split does not fit the folder, or there is too little data to fit a base model.
        """
        folder = data.folder
        check_test_people(folder, split)
        images, self.fresh_images = fitted_images(split, fresh_seed)
        self.folder = folder.only(split.train_people, images)
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
        """The test images that a person rated, shape (N,)."""
        return np.array([i for i in self.score_of[user_id] if self.in_test_I[i]], np.int64)

    def targets(self, user_id: str, images: Sequence[int] | np.ndarray) -> np.ndarray:
        """A person's ratings (0-10) of images that the person rated, shape (N, A); NaN for an unrated aspect."""
        score_of = self.score_of[user_id]
        return np.array([score_of[int(i)] for i in images]).reshape(len(images), len(self.base.aspects))

    def rated(self, user_id: str, images: Sequence[int] | np.ndarray) -> RatedSet:
        """A person's ratings of these images, as if they had been given in this order."""
        return self.rated_as(images, self.targets(user_id, images))

    def rated_as(self, images: Sequence[int] | np.ndarray, target_NA: np.ndarray, first_sequence: int = 1) -> RatedSet:
        """These ratings of these images, in this order, with sequence numbers from `first_sequence` on."""
        position_N = np.array(images, np.int64)
        sequence_N = np.arange(first_sequence, first_sequence + len(position_N))
        return RatedSet.of(sequence_N, self.taste_IR[position_N], self.generic_IA[position_N], target_NA)

    def train_images(self, user_id: str) -> list[int]:
        """The images that a person rated and the base model was fitted on."""
        return [i for i in self.score_of[user_id] if self._in_train_I[i]]

    def train_images_of(self, user_id: str) -> list[int]:
        """The images outside the test images that a person rated."""
        return [i for i in self.score_of[user_id] if not self.in_test_I[i]]

    def train_ratings(self) -> list[RatedSet]:
        """The ratings that the base model was fitted on, one set per train person."""
        return [self.rated(user_id, self.train_images(user_id)) for user_id in self.folder.people]
