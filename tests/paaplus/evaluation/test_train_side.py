"""The train side of a split: what the base model and priors may read."""

from __future__ import annotations

import numpy as np

from paaplus.evaluation.train_side import EvaluationData, TrainSide
from tests.paaplus.evaluation.simulated import at_random


def test_ratings_for_a_prior_are_of_train_people_and_train_images_alone(data: EvaluationData) -> None:
    split = at_random(data)(0)
    side = TrainSide("simulated", data, split)
    train_ratings = side.train_ratings()
    assert split.test_people
    assert len(train_ratings) == len(split.train_people)
    expected = [side.rated(user_id, side.train_images(user_id)) for user_id in sorted(split.train_people)]
    found = sorted(float(np.nansum(rated.target_NA)) for rated in train_ratings)
    assert found == sorted(float(np.nansum(rated.target_NA)) for rated in expected)
    test_taste = {side.taste_IR[i].tobytes() for i in np.flatnonzero(side.in_test_I)}
    assert not test_taste & {row_R.tobytes() for rated in train_ratings for row_R in rated.taste_NR}
