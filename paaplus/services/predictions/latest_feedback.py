"""One user's latest trainable ratings and comparisons, as arrays.

Shape letters: N = ratings, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow, UserRow
from paaplus.records import ComparedSet, RatedSet
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.arrays import compared_set, rated_set
from paaplus.services.feedback.feedback_log import LatestComparison, LatestRating
from paaplus.services.predictions.serving import Serving
from paaplus.settings import Settings


@dataclass(frozen=True)
class LatestFeedback:
    """One user's latest ratings and comparisons at one moment, without held-out ones.

    `head` is the last sequence of the user's log then.
    """

    user_id: UUID
    application: str
    epoch: int
    head: int
    ratings: list[LatestRating]
    comparisons: list[LatestComparison]

    def image_ids(self) -> set[UUID]:
        """Images that are rated or compared."""
        compared = {image_id for each in self.comparisons for image_id in (each.first_id, each.second_id)}
        return {rating.image_id for rating in self.ratings} | compared

    def rated_set(self, serving: Serving) -> RatedSet:
        """Ratings of images that can be scored."""
        ratings = [rating for rating in self.ratings if rating.image_id in serving.images]
        return rated_set(ratings, serving.scorer.aspects, partial(self.inputs_of, serving))

    def compared_set(self, serving: Serving) -> ComparedSet:
        """Comparisons of images that can be scored."""
        images = serving.images
        comparisons = [each for each in self.comparisons if each.first_id in images and each.second_id in images]
        return compared_set(comparisons, serving.scorer.aspects, partial(self.inputs_of, serving))

    def inputs_of(self, serving: Serving, image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
        """Taste vectors (N, R) and generic scores (N, A) of images of `serving`, with the user's preference."""
        if not image_ids:
            scorer = serving.scorer
            return np.empty((0, scorer.taste_dim), np.float32), np.empty((0, len(scorer.aspects)), np.float32)
        images_N = serving.images_of(self.user_id, image_ids)
        return np.stack([image.taste_R for image in images_N]), np.stack([image.generic_A for image in images_N])


def read(session: Session, user: UserRow, settings: Settings) -> LatestFeedback:
    """Read the user's latest trainable feedback in the caller's transaction."""
    log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
    return LatestFeedback(
        user_id=user.id,
        application=user.application,
        epoch=user.epoch,
        head=log.head,
        ratings=[rating for rating in log.latest_ratings() if not rating.held_out],
        comparisons=[comparison for comparison in log.latest_comparisons() if not comparison.held_out],
    )


def shared_images(
    session: Session, user: UserRow, extractor_digest: str, settings: Settings, *, limit: int, with_held_out: bool
) -> list[UUID]:
    """Some images of the application that have features and belong to no single user; always the same ones.

    Args:
        with_held_out: include images whose ratings are held out of this user's training.
    """
    rows = session.execute(
        sa.select(ImageRow.id, ImageRow.sha256)
        .join(FeaturesRow, FeaturesRow.image_id == ImageRow.id)
        .where(
            ImageRow.application == user.application,
            ImageRow.owner_id.is_(None),
            FeaturesRow.extractor_digest == extractor_digest,
            FeaturesRow.data.is_not(None),
        )
        .order_by(ImageRow.sha256, ImageRow.id)
        .limit(limit if with_held_out else 2 * limit)  # one in five is held out
    ).all()
    key = settings.holdout_key.get_secret_value()
    usable = [image_id for image_id, sha256 in rows if with_held_out or not feedback_log.is_held_out(key, user, sha256)]
    return usable[:limit]
