"""The middle of a person who likes and dislikes: the score above which they like images. NumPy only.

A like says on which side of the middle an image is. The middle is learned for each person and aspect, from all of the
person's feedback, under a prior of its own: jointly with the weights of `closed_form`, at the mode. It then stands in
every like as a made-up second image, of taste zero and this generic score, so that all strategies train likes as they
train comparisons. The made-up image moves with the person's offset: likes alone do not say how high a person rates.

Shape letters: C = comparisons and likes, A = aspects.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from paaplus.records import ComparedSet, RatedSet, is_like
from paaplus.scoring import canonical_order, closed_form
from paaplus.scoring.priors import SCORE_CENTER, Prior

MIDDLE_SD = 2.0  # score points, around the middle of the scale; measured on train people, docs/decisions/0026


def has_likes(compared: ComparedSet) -> bool:
    """Whether any answer is a like."""
    return bool(len(compared) and is_like(compared.preference_CA).any())


def estimate(prior: Prior, rated: RatedSet, compared: ComparedSet) -> np.ndarray:
    """The person's middles, shape (A,), float32, 0-10; without likes the middle of the scale.

    Args:
        prior: of the person's weights.
        rated: all ratings that train.
        compared: all comparisons and likes that train; where the made-up images stand does not matter.
    """
    middle_A = np.full(len(prior.noise_sd_A), SCORE_CENTER, np.float32)
    if not has_likes(compared):
        return middle_A
    centered = placed(compared, middle_A)
    rated = canonical_order.in_order(rated, canonical_order.order_of_ratings(rated))
    centered = canonical_order.in_order(centered, canonical_order.order_of_comparisons(centered))
    liked_A = is_like(compared.preference_CA).any(axis=0)
    for a in np.flatnonzero(liked_A):
        middle_A[a] += closed_form.middle_of(rated, centered, prior, int(a), MIDDLE_SD)
    return middle_A


def placed(compared: ComparedSet, middle_A: np.ndarray | None) -> ComparedSet:
    """The same with the made-up images of likes at these middles; None: at the middle of the scale."""
    if not has_likes(compared):
        return compared
    middle_A = np.array(SCORE_CENTER) if middle_A is None else middle_A
    like_C1 = is_like(compared.preference_CA).any(axis=1, keepdims=True)
    return replace(
        compared,
        second_taste_CR=np.where(like_C1, np.float32(0.0), compared.second_taste_CR),
        second_generic_CA=np.where(like_C1, middle_A.astype(np.float32), compared.second_generic_CA),
    )
