"""How well an expert's model fits the expert's held-out ratings, and how far experts agree with each other."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import ExpertRow, UserRow
from paaplus.db.users import existing_user
from paaplus.metrics import srcc_from
from paaplus.services.feedback import feedback_log
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings

if TYPE_CHECKING:
    pass


MIN_FOR_SRCC: Final = 3  # images: two are always in perfect order, or in the opposite one


@dataclass(frozen=True, slots=True)
class HeldOut:
    """SRCC by aspect of an expert's model, and of the generic scores, on the expert's held-out ratings."""

    num_images: int
    srcc: dict[str, float | None]
    generic_srcc: dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Two experts on the images that both have labelled. SRCC is None if it is undefined."""

    first: UUID
    second: UUID
    aspect: str
    num_images: int
    srcc: float | None
    mean_difference: float


def held_out(database: Database, store: ServingStore, settings: Settings, user_id: UUID) -> HeldOut:
    """Compare an expert's model with the expert's held-out ratings.

    Raises:
        NotFound: no such user.
        Unavailable: there is no base model, or an artifact is damaged.
    """
    with database.read_session() as session:
        user = existing_user(session, user_id)
        log = feedback_log.read(session, user, settings.holdout_key.get_secret_value())
    ratings = [rating for rating in log.latest_ratings() if rating.held_out]
    serving = store.load((user_id,), {rating.image_id for rating in ratings})
    ratings = [rating for rating in ratings if rating.image_id in serving.images]
    images_N = serving.images_of(user_id, [rating.image_id for rating in ratings]) if ratings else []
    adapter, aspects = serving.adapter_of(user_id), serving.scorer.aspects
    srccs: dict[str, float | None] = dict.fromkeys(aspects)
    generic_srccs: dict[str, float | None] = dict.fromkeys(aspects)
    for a, aspect in enumerate(aspects):
        rated = [
            (rating.scores[aspect], image)
            for rating, image in zip(ratings, images_N, strict=True)
            if aspect in rating.scores
        ]
        if not rated:
            continue
        target_N = np.array([target for target, _ in rated])
        generic_NA = np.stack([image.generic_A for _, image in rated])
        generic_srccs[aspect] = srcc_from(MIN_FOR_SRCC, generic_NA[:, a], target_N)
        if adapter is not None:
            score_NA = adapter.score(np.stack([image.taste_R for _, image in rated]), generic_NA)
            srccs[aspect] = srcc_from(MIN_FOR_SRCC, score_NA[:, a], target_N)
    return HeldOut(len(ratings), srccs, generic_srccs)


def agreement(session: Session, application: str) -> list[Agreement]:
    """Agreement of every two experts of the application who have labelled a common image, by aspect."""
    people = session.execute(
        sa.select(UserRow)
        .join(ExpertRow, ExpertRow.user_id == UserRow.id)
        .where(UserRow.application == application)
        .order_by(UserRow.id)
    ).scalars()
    labels = {
        user.id: {rating.image_id: rating.scores for rating in feedback_log.read(session, user, None).latest_ratings()}
        for user in people
    }
    found = []
    for first, second in combinations(labels, 2):
        shared = labels[first].keys() & labels[second].keys()
        for aspect in sorted({aspect for image_id in shared for aspect in labels[first][image_id]}):
            both = [
                (labels[first][image_id][aspect], labels[second][image_id][aspect])
                for image_id in sorted(shared)
                if aspect in labels[first][image_id] and aspect in labels[second][image_id]
            ]
            if both:
                score_N2 = np.array(both)
                difference = float(np.abs(score_N2[:, 0] - score_N2[:, 1]).mean())
                srcc = srcc_from(MIN_FOR_SRCC, score_N2[:, 0], score_N2[:, 1])
                found.append(Agreement(first, second, aspect, len(both), srcc, difference))
    return found
