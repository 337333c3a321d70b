"""How well each version of one user orders the ratings that no training has seen, and what it has forgotten.

Shape letters: N = held-out ratings, R = taste space dim, A = aspects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np

from paaplus.db.engine import Database
from paaplus.db.users import existing_user
from paaplus.errors import Conflict, Damaged
from paaplus.metrics import srcc_from
from paaplus.services.feedback import feedback_log
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.predictions.version_scores import adapter_of_version
from paaplus.settings import Settings

MIN_FOR_SRCC: Final = 5  # ratings: as many as the gate wants


@dataclass(frozen=True, slots=True)
class VersionQuality:
    """Of one version, on the first aspect. None: too few held-out ratings, or all are equal.

    Attributes:
        num_ratings: held-out ratings.
        srcc: SRCC of its scores with all of them.
        generic_srcc: the same of the base model's scores.
        forgetting: how much higher the best earlier version's SRCC is than this one's, on the held-out ratings that
            the earlier version came after. 0 or less: nothing is forgotten.
    """

    num_ratings: int
    srcc: float | None
    generic_srcc: float | None
    forgetting: float | None


def of_versions(
    database: Database, store: ServingStore, settings: Settings, user_id: UUID, reached: Mapping[int, int]
) -> dict[int, VersionQuality]:
    """The quality of versions, by number. A version that cannot be read now is left out.

    Args:
        reached: the last sequence of the user's log that each version has seen, by number.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model.
    """
    with database.read_session() as session:
        user = existing_user(session, user_id)
        log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
    ratings = [rating for rating in log.latest_ratings() if rating.held_out]
    serving = store.load((user_id,), {rating.image_id for rating in ratings})
    aspect = serving.scorer.aspects[0]
    ratings = [rating for rating in ratings if rating.image_id in serving.images and aspect in rating.scores]
    if len(ratings) < MIN_FOR_SRCC:
        return {number: VersionQuality(len(ratings), None, None, None) for number in reached}
    images_N = serving.images_of(user_id, [rating.image_id for rating in ratings])
    taste_NR = np.stack([image.taste_R for image in images_N])
    generic_NA = np.stack([image.generic_A for image in images_N])
    rating_N = np.array([rating.scores[aspect] for rating in ratings])
    sequence_N = np.array([rating.sequence for rating in ratings])
    scores: dict[int, np.ndarray] = {}
    for number in sorted(reached):
        try:
            adapter = adapter_of_version(database, serving.base_model.digest, user_id, number)
        except (Conflict, Damaged):
            continue
        scores[number] = adapter.score(taste_NR, generic_NA)[:, 0]
    generic_srcc = srcc_from(MIN_FOR_SRCC, generic_NA[:, 0], rating_N)
    found: dict[int, VersionQuality] = {}
    for number, score_N in scores.items():
        drops = []
        for earlier in (each for each in scores if each < number):
            old_N = sequence_N <= reached[earlier]
            then, now = (
                srcc_from(MIN_FOR_SRCC, each_N[old_N], rating_N[old_N]) for each_N in (scores[earlier], score_N)
            )
            if then is not None and now is not None:
                drops.append(then - now)
        found[number] = VersionQuality(
            len(ratings), srcc_from(MIN_FOR_SRCC, score_N, rating_N), generic_srcc, max(drops) if drops else None
        )
    return found
