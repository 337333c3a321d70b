"""Check what a study needs of a data folder by its ratings alone, before features are computed for hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.splits import MakeSplit, Split
from paaplus.evaluation.train_side import check_test_people, fitted_images
from paaplus.evaluation.user_columns import column_answers
from paaplus.fitting.taste_prior import check_raters
from paaplus.models.base_fit import Ratings, check_rated_images


@dataclass(frozen=True)
class Needs:
    """What a study needs on every seed's split.

    Attributes:
        num_ratings: train images that a test person must have rated to be measured.
        num_people: test people who rated so many, and several test images differently.
        fresh_support: half of the train images are kept from the base model.
        learned_prior: a taste prior is learned from the train people.
        user_columns: users.csv, if there is one, has answers.
    """

    num_ratings: int = 0
    num_people: int = 1
    fresh_support: bool = False
    learned_prior: bool = False
    user_columns: bool = False


def check_feasible(folder: DataFolder, make_split: MakeSplit, seeds: Sequence[int], needs: Needs) -> None:
    """Make every seed's split, and check that a base model can be fitted and test people measured on it.

    Raises:
        InvalidInput: a split cannot be made or does not fit the folder, or there is too little to fit or to measure.
    """
    for seed in seeds:
        split = make_split(seed)
        try:
            _check_train_side(folder, split, seed, needs)
            _check_test_side(folder, split, needs)
        except InvalidInput as error:
            raise InvalidInput(f"seed {seed}: {error}") from error


def _check_train_side(folder: DataFolder, split: Split, seed: int, needs: Needs) -> None:
    images, _ = fitted_images(split, seed if needs.fresh_support else None)
    side = folder.only(split.train_people, images)
    ratings = Ratings(side.aspects, side.person_N, side.image_N, side.score_NA)
    check_rated_images(ratings, side.scene_I)
    for a, aspect in enumerate(side.aspects) if needs.learned_prior else ():
        check_raters(aspect, len(np.unique(side.person_N[~np.isnan(side.rating_NA[:, a])])))
    if needs.user_columns and folder.user_columns:
        column_answers(folder.user_columns, split.train_people)


def _check_test_side(folder: DataFolder, split: Split, needs: Needs) -> None:
    check_test_people(folder, split)
    in_test_N = np.isin(folder.images, sorted(split.test_images))[folder.image_N]
    num_measurable = 0
    for user_id in split.test_people:
        rating_NA = folder.rating_NA[in_test_N & (folder.person_N == folder.people.index(user_id))]
        differ = any(len(np.unique(column_N[~np.isnan(column_N)])) > 1 for column_N in rating_NA.T)
        num_measurable += differ and len(split.support(user_id, needs.num_ratings)) >= needs.num_ratings
    if num_measurable < needs.num_people:
        also = f"{needs.num_ratings} ratings of train images, and " if needs.num_ratings else ""
        raise InvalidInput(
            f"{num_measurable} of {len(split.test_people)} test people with {also}ratings of test images that differ; "
            f"{needs.num_people} needed"
        )
