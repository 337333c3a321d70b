"""How much an expert agrees with the other experts, as the expert may see it: numbers over many images, no one's score.

Shape letters: N = images of an aspect that the expert and at least one other expert have reviewed.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ReviewRow
from paaplus.db.tables.reviews import ReviewState
from paaplus.errors import UndefinedMetric
from paaplus.services.reviews.progress import MIN_SHARED


@dataclass(frozen=True, slots=True)
class OwnAgreement:
    """An expert beside the mean of the others, on an aspect.

    Attributes:
        num_images: reviewed by the expert and by at least one other expert of the same batch.
        num_others: experts who reviewed some of them.
        srcc: between the expert's scores and the mean of the others'; None: too few images, or all alike.
        mean_difference: mean absolute difference of the two, in points of 10; None: too few images.
    """

    aspect: str
    num_images: int
    num_others: int
    srcc: float | None
    mean_difference: float | None


def of_expert(session: Session, expert_id: UUID) -> list[OwnAgreement]:
    """Agreement by aspect, over all batches. Below `MIN_SHARED` images only their number is told."""
    mine = sa.select(ReviewRow.batch_id).where(ReviewRow.expert_id == expert_id).distinct()
    rows = session.execute(
        sa.select(ReviewRow.expert_id, ReviewRow.batch_id, ReviewRow.image_id, ReviewRow.answers).where(
            ReviewRow.batch_id.in_(mine), ReviewRow.state == ReviewState.DONE
        )
    ).all()
    own: dict[str, dict[tuple[UUID, UUID], float]] = {}
    others: dict[str, dict[tuple[UUID, UUID], dict[UUID, float]]] = {}
    for reviewer_id, batch_id, image_id, answers in rows:
        for aspect, score in answers["scores"].items():
            if reviewer_id == expert_id:
                own.setdefault(aspect, {})[batch_id, image_id] = score
            else:
                others.setdefault(aspect, {}).setdefault((batch_id, image_id), {})[reviewer_id] = score
    return [_agreement(aspect, own[aspect], others.get(aspect, {})) for aspect in sorted(own)]


def _agreement(
    aspect: str, own: dict[tuple[UUID, UUID], float], others: dict[tuple[UUID, UUID], dict[UUID, float]]
) -> OwnAgreement:
    from paaplus.metrics import srcc  # imports scipy, which no other request needs

    shared = [image for image in own if image in others]
    people = {reviewer_id for image in shared for reviewer_id in others[image]}
    if len(shared) < MIN_SHARED:
        return OwnAgreement(aspect, len(shared), len(people), None, None)
    own_N = np.array([own[image] for image in shared])
    mean_N = np.array([np.mean(list(others[image].values())) for image in shared])
    difference = float(np.abs(own_N - mean_N).mean())
    try:
        return OwnAgreement(aspect, len(shared), len(people), srcc(mean_N, own_N), difference)
    except UndefinedMetric:
        return OwnAgreement(aspect, len(shared), len(people), None, difference)
