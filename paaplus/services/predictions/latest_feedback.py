"""One user's latest trainable ratings and comparisons, as arrays.

Shape letters: N = ratings, C = comparisons, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow, UserRow
from paaplus.records import ComparedSet, RatedSet
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.feedback_log import LatestComparison, LatestRating
from paaplus.services.predictions.serving import Serving
from paaplus.settings import Settings


@dataclass(frozen=True)
class LatestFeedback:
    """One user's latest ratings and comparisons at one moment, without held-out ones."""

    user_id: UUID
    application: str
    epoch: int
    head: int
    ratings: list[LatestRating]
    comparisons: list[LatestComparison]

    def image_ids(self) -> set[UUID]:
        pairs = {image_id for word in self.comparisons for image_id in (word.first_id, word.second_id)}
        return {word.image_id for word in self.ratings} | pairs

    def rated_set(self, serving: Serving) -> RatedSet:
        """Ratings of the images that can be scored."""
        aspects = serving.scorer.aspects
        words = [word for word in self.ratings if word.image_id in serving.images]
        target_NA = np.array([[word.scores.get(aspect, np.nan) for aspect in aspects] for word in words])
        return RatedSet.of(
            np.array([word.sequence for word in words], np.int64),
            *self.inputs_of(serving, [word.image_id for word in words]),
            target_NA.reshape(len(words), len(aspects)),
        )

    def compared_set(self, serving: Serving) -> ComparedSet:
        """Comparisons of images that can be scored."""
        aspects, there = serving.scorer.aspects, serving.images
        words = [word for word in self.comparisons if word.first_id in there and word.second_id in there]
        preference_CA = np.array([[word.preferences.get(aspect, np.nan) for aspect in aspects] for word in words])
        return ComparedSet.of(
            np.array([word.sequence for word in words], np.int64),
            *self.inputs_of(serving, [word.first_id for word in words]),
            *self.inputs_of(serving, [word.second_id for word in words]),
            preference_CA.reshape(len(words), len(aspects)),
        )

    def inputs_of(self, serving: Serving, image_ids: list[UUID]) -> tuple[np.ndarray, np.ndarray]:
        """Taste (N, R) and generic scores (N, A) of images that are in `serving`, as this user's score sees them."""
        if not image_ids:
            scorer = serving.scorer
            return np.empty((0, scorer.taste_dim), np.float32), np.empty((0, len(scorer.aspects)), np.float32)
        images_N = serving.images_of(self.user_id, image_ids)
        return np.stack([image.taste_R for image in images_N]), np.stack([image.generic_A for image in images_N])


def read(session: Session, user: UserRow, settings: Settings) -> LatestFeedback:
    """The user's latest trainable feedback, as the caller's transaction sees it."""
    log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
    return LatestFeedback(
        user_id=user.id,
        application=user.application,
        epoch=user.epoch,
        head=log.head,
        ratings=[word for word in log.latest_ratings() if not word.held_out],
        comparisons=[word for word in log.latest_comparisons() if not word.held_out],
    )


def shared_images(
    session: Session, user: UserRow, extractor_digest: str, settings: Settings, *, limit: int, with_held_out: bool
) -> list[UUID]:
    """Some of the application's own images that have features: the same ones every time, nobody's private ones.

    Args:
        with_held_out: also those whose ratings would judge and never train.
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
