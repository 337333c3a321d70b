"""What a test person answers in the k-shot study: ratings, or likes or pairs that are made of the person's ratings.

Shape letters: N = images, C = answers, A = aspects.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np

from paaplus.evaluation.train_side import TrainSide
from paaplus.records import DISLIKED, LIKED, NO_COMPARISONS, PREFERS_FIRST, PREFERS_SECOND, TIE, ComparedSet, RatedSet
from paaplus.scoring.priors import SCORE_CENTER

RATINGS, LIKES, LIKES_CUT, PAIRS = "ratings", "likes", "likes_cut", "pairs"
ANSWERS: Final = (RATINGS, LIKES, LIKES_CUT, PAIRS)


def answered(side: TrainSide, user_id: str, order: np.ndarray, k: int, answers: str) -> tuple[RatedSet, ComparedSet]:
    """The first k answers of a person, as training feedback.

    Args:
        side: the train side of a split.
        user_id: the person.
        order: the train images that the person rated, in order.
        k: how many answers; fewer if the person did not rate as many images.
        answers: `ratings`; `likes`: above the median of the person's ratings of train images or not; `likes_cut`: above
            the middle of the scale or not; `pairs`: which of two images has the higher rating, of random pairs.
    """
    none = side.rated(user_id, order[:0])
    if answers == RATINGS:
        return side.rated(user_id, order[:k]), NO_COMPARISONS
    if answers == PAIRS:
        return none, _pairs(side, user_id, order, k)
    cut_A = np.full(len(side.base.aspects), SCORE_CENTER)
    if answers == LIKES:
        cut_A = np.nanmedian(side.targets(user_id, side.train_images_of(user_id)), axis=0)
    target_CA = side.targets(user_id, order[:k])
    preference_CA = np.where(np.isnan(target_CA), np.nan, np.where(target_CA > cut_A, LIKED, DISLIKED))
    return none, _compared(side, order[:k], order[:k], preference_CA)


def _pairs(side: TrainSide, user_id: str, order: np.ndarray, k: int) -> ComparedSet:
    rng = np.random.default_rng(zlib.crc32(user_id.encode()))
    first, second = np.triu_indices(len(order), 1)
    chosen = rng.permutation(len(first))[:k]
    swapped = rng.random(len(chosen)) < 0.5
    first_C = order[np.where(swapped, second[chosen], first[chosen])]
    second_C = order[np.where(swapped, first[chosen], second[chosen])]
    difference_CA = side.targets(user_id, first_C) - side.targets(user_id, second_C)
    preference_CA = np.select([difference_CA > 0, difference_CA < 0], [PREFERS_FIRST, PREFERS_SECOND], TIE)
    return _compared(side, first_C, second_C, np.where(np.isnan(difference_CA), np.nan, preference_CA))


def _compared(side: TrainSide, first_C: np.ndarray, second_C: np.ndarray, preference_CA: np.ndarray) -> ComparedSet:
    return ComparedSet.of(
        np.arange(1, len(first_C) + 1),
        side.taste_IR[first_C],
        side.generic_IA[first_C],
        side.taste_IR[second_C],
        side.generic_IA[second_C],
        preference_CA,
    )
