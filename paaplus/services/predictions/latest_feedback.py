"""One user's latest trainable ratings, comparisons and likes, as arrays.

Shape letters: N = ratings, R = taste dimensions, A = aspects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow, UserRow
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.priors import OwnPrior
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.arrays import compared_set, rated_set
from paaplus.services.feedback.feedback_log import LatestAnswer, LatestComparison, LatestLike, LatestRating
from paaplus.services.predictions.serving import Serving
from paaplus.settings import Settings


@dataclass(frozen=True)
class LatestFeedback:
    """One user's latest ratings, comparisons and likes at one moment, without held-out ones.

    `head` is the last sequence of the user's log then.
    """

    user_id: UUID
    application: str
    epoch: int
    head: int
    ratings: list[LatestRating]
    comparisons: list[LatestComparison]
    likes: list[LatestLike] = field(default_factory=list)

    def image_ids(self) -> set[UUID]:
        """Images that any of it is about."""
        answers: list[LatestAnswer] = [*self.ratings, *self.comparisons, *self.likes]
        return {image_id for answer in answers for image_id in answer.image_ids}

    def rated_set(self, serving: Serving) -> RatedSet:
        """Ratings of images that can be scored."""
        ratings = [rating for rating in self.ratings if rating.image_id in serving.images]
        return rated_set(ratings, serving.scorer.aspects, partial(self.inputs_of, serving))

    def compared_set(self, serving: Serving) -> ComparedSet:
        """Comparisons and likes of images that can be scored; the middle of likes is that of the base model's prior."""
        from paaplus.scoring import middles  # imports scipy, which no other request needs

        given: list[LatestComparison | LatestLike] = [*self.comparisons, *self.likes]
        answers = [answer for answer in given if serving.images.keys() >= set(answer.image_ids)]
        compared = compared_set(answers, serving.scorer.aspects, partial(self.inputs_of, serving))
        if not self.likes:
            return compared
        return middles.placed(compared, middles.estimate(OwnPrior(serving.scorer), self.rated_set(serving), compared))

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
        likes=[like for like in log.latest_likes() if not like.held_out],
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
