"""A person's own exposure rule, and the ratings of exposure that it is computed from.

The ratings are not in the feedback log, because no adapter is trained on them. The rule is computed from them, in order
of image, each time it is requested. A deleted rating leaves exactly the rule without it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ExposureRatingRow, ImageRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.records import Scale
from paaplus.scoring.exposure_rules import PRESETS, OwnRule, fit_own_rule
from paaplus.services.images import maps
from paaplus.services.reviews import pseudo_labels
from paaplus.settings import Settings
from paaplus.tools.exposure_map import NAME

MAX_RATINGS = 200  # of a person that a rule is made of, the latest


@dataclass(frozen=True)
class OwnExposure:
    """A person's rule, the rated images that the tool has not scored yet, and the rule's scores of requested images."""

    rule: OwnRule
    waiting: tuple[UUID, ...]
    scores: Mapping[UUID, float | None]  # None: the tool has not scored the image yet


def rate(session: Session, user: UserRow, image_id: UUID, rating: float, scale: Scale, settings: Settings) -> bool:
    """Store a person's rating of an image's exposure; a later rating replaces it. True: the tool must score it first.

    Raises:
        InvalidInput: a rating outside its scale, or the tool's file is missing.
        NotFound: the image is not one of theirs nor of their application.
    """
    score = scale.to_score(rating)
    version = maps.current_version(NAME, settings)
    _own_or_shared(session, user, [image_id])
    session.execute(
        sa.delete(ExposureRatingRow).where(ExposureRatingRow.user_id == user.id, ExposureRatingRow.image_id == image_id)
    )
    session.add(ExposureRatingRow(user_id=user.id, image_id=image_id, score=score, created_at=utcnow()))
    session.flush()
    waits = image_id not in _scores_by_preset(session, [image_id], version)
    if waits:
        pseudo_labels.request(
            session, application=user.application, tools=[NAME], image_ids=[image_id], settings=settings
        )
    return waits


def take_back(session: Session, user: UserRow, image_id: UUID) -> None:
    """Delete a rating.

    Raises:
        NotFound: there is none.
    """
    taken = session.execute(
        sa.delete(ExposureRatingRow)
        .where(ExposureRatingRow.user_id == user.id, ExposureRatingRow.image_id == image_id)
        .returning(ExposureRatingRow.image_id)
    ).all()
    if not taken:
        raise NotFound(f"no rating of exposure of image {image_id}")


def rule_of(session: Session, user: UserRow, image_ids: Sequence[UUID], settings: Settings) -> OwnExposure:
    """The person's rule as it is now, and its scores of these images.

    Raises:
        InvalidInput: too few ratings, or the tool's file is missing.
        NotFound: an image that is not one of theirs nor of their application.
    """
    version = maps.current_version(NAME, settings)
    _own_or_shared(session, user, image_ids)
    latest = session.execute(
        sa.select(ExposureRatingRow.image_id, ExposureRatingRow.score)
        .where(ExposureRatingRow.user_id == user.id)
        .order_by(ExposureRatingRow.created_at.desc(), ExposureRatingRow.image_id)
        .limit(MAX_RATINGS)
    ).all()
    score_of = {row.image_id: row.score for row in latest}
    scores_of = _scores_by_preset(session, [*score_of, *image_ids], version)
    rated = sorted(image_id for image_id in score_of if image_id in scores_of)
    by_preset = {preset: np.array([scores_of[image_id][preset] for image_id in rated]) for preset in PRESETS}
    rule = fit_own_rule(by_preset, np.array([score_of[image_id] for image_id in rated]))
    scores = {image_id: rule.score(scores_of[image_id]) if image_id in scores_of else None for image_id in image_ids}
    return OwnExposure(rule, tuple(sorted(score_of.keys() - scores_of.keys())), scores)


def _scores_by_preset(session: Session, image_ids: Sequence[UUID], version: str) -> dict[UUID, dict[str, float]]:
    """By image, the scores of all presets, from labels by this version of the tool."""
    newest = pseudo_labels.newest(session, set(image_ids), [NAME])
    return {
        image_id: {preset: float(labels[NAME].scores[f"exposure_{preset}"]) for preset in PRESETS}
        for image_id, labels in newest.items()
        if labels[NAME].tool_version == version
    }


def _own_or_shared(session: Session, user: UserRow, image_ids: Sequence[UUID]) -> None:
    found = set(
        session.execute(
            sa.select(ImageRow.id).where(
                ImageRow.id.in_(image_ids),
                ImageRow.application == user.application,
                sa.or_(ImageRow.owner_id.is_(None), ImageRow.owner_id == user.id),
            )
        ).scalars()
    )
    for image_id in image_ids:
        if image_id not in found:
            raise NotFound(f"image {image_id} does not exist")
