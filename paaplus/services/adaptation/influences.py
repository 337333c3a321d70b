"""Which ratings of a user moved the scores of some images: by how much each score would differ without each rating.

Shape letters: N = ratings, B = images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from paaplus.db.engine import Database
from paaplus.db.users import existing_user
from paaplus.scoring.priors import OwnPrior
from paaplus.services import scheduling
from paaplus.services.adaptation import starting_point
from paaplus.services.feedback.feedback_log import LatestRating
from paaplus.services.predictions import latest_feedback
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore


@dataclass(frozen=True, eq=False)
class Influences:
    """Points by which each rating raises each score, of the first aspect.

    `is_exact`: there are ratings alone; otherwise it is an approximation at the most probable taste.
    """

    ratings: list[LatestRating]
    image_ids: list[UUID]
    points_BN: np.ndarray
    is_exact: bool


def of_ratings(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    image_ids: Sequence[UUID],
    *,
    first: int,
    last: int,
) -> Influences:
    """Influences of the ratings after event `first`, up to event `last`, in a fit of all feedback up to `last`.

    Held-out ratings train nothing and are left out, as are images without features.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    from paaplus.scoring import influence  # imports scipy, which few requests need

    with database.read_session() as session:
        user = existing_user(session, user_id)
        rows = starting_point.read(session, user, base_models.default(session, settings))
        known, policy = latest_feedback.read(session, user, settings), scheduling.policy_of(user)
    known = replace(
        known,
        ratings=[each for each in known.ratings if each.sequence <= last],
        comparisons=[each for each in known.comparisons if each.sequence <= last],
        likes=[each for each in known.likes if each.sequence <= last],
    )
    serving = store.load((user_id,), known.image_ids() | set(image_ids))
    prior = starting_point.load(blobs, serving.scorer, rows, policy).prior or OwnPrior(serving.scorer)
    usable = [image_id for image_id in image_ids if image_id in serving.images]
    rated, by_sequence = known.rated_set(serving), {each.sequence: each for each in known.ratings}
    compared = known.compared_set(serving)
    taste_BR, generic_BA = known.inputs_of(serving, usable)
    points_BN = influence.of_ratings(rated, compared, prior, 0, taste_BR, generic_BA[:, 0])
    new = np.flatnonzero(rated.sequence_N > first)
    ratings = [by_sequence[sequence] for sequence in rated.sequence_N[new].tolist()]
    return Influences(ratings, usable, points_BN[:, new], is_exact=not len(compared))
