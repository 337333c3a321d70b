"""Scores of users whose adapters are rows of numbers, with the very bits of `Adapter.score` for each item alone.

Shape letters: U = users, I = images, N = items, user by user, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from uuid import UUID

import numpy as np

from paaplus.scoring.stacked import score_grid, score_pairs
from paaplus.services.predictions.answers import Asked
from paaplus.services.predictions.served_records import ServedUsers
from paaplus.services.predictions.serving_store import Known


def score_known(known: Known, asked_U: Sequence[Asked]) -> tuple[np.ndarray, np.ndarray]:
    """Personal and generic scores of all items, shape (N, A) both, float32.

    Args:
        known: all that scores need.
        asked_U: what is asked of each of its users.
    """
    place_of = {image_id: place for place, image_id in enumerate(known.images)}
    images = known.images.values()
    taste_IR = np.concatenate([image.taste_R for image in images]).reshape(len(place_of), -1)
    generic_IA = np.concatenate([image.generic_A for image in images]).reshape(len(place_of), -1)
    form, number_UK, special = known.form, known.users.number_UK(known.form), known.users.special()
    weights = form.weight_MAR(number_UK), form.alpha_MA(number_UK), form.beta_MA(number_UK)
    lists = by_identity(asked_U)
    image_L = {key: np.array([place_of[i] for i in image_ids], np.int64) for key, image_ids in lists.items()}
    if len(image_L) == 1:
        [image_N] = image_L.values()  # of each user
        taste_NR, generic_NA = taste_IR[image_N], generic_IA[image_N]
        score_UNA = score_grid(*weights, taste_NR, generic_NA)
        generic_UNA = np.broadcast_to(generic_NA, score_UNA.shape)
        for place in special:
            score_UNA[place] = _alone(known.users, place, taste_NR, generic_NA)
        return score_UNA.reshape(-1, form.num_aspects), generic_UNA.reshape(-1, form.num_aspects)
    image_N = np.concatenate([image_L[id(image_ids)] for _, image_ids, _ in asked_U])
    num_U = [len(image_ids) for _, image_ids, _ in asked_U]
    user_N = np.repeat(np.arange(len(num_U)), num_U)
    taste_NR, generic_NA = taste_IR[image_N], generic_IA[image_N]
    score_NA = score_pairs(*weights, user_N, taste_NR, generic_NA)
    for place in special:
        items = user_N == place
        score_NA[items] = _alone(known.users, place, taste_NR[items], generic_NA[items])
    return score_NA, generic_NA


def by_identity(asked_U: Sequence[Asked]) -> dict[int, Sequence[UUID]]:
    """The lists of images, each once: users who are asked for the same share one."""
    lists = list(map(itemgetter(1), asked_U))
    return dict(zip(map(id, lists), lists, strict=True))


def _alone(users: ServedUsers, place: int, taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
    """Scores of a user whose adapter is no taste vector, or for whom the base model scores."""
    extra = users.extras.get(place)
    return generic_NA if extra is None or extra.adapter is None else extra.adapter.score(taste_NR, generic_NA)
