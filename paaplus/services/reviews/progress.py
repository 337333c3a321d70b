"""Progress of a review batch, and agreement of its experts.

Shape letters: N = images that all experts have reviewed, K = experts.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ReviewRow
from paaplus.db.tables.reviews import ReviewState
from paaplus.errors import UndefinedMetric

MIN_SHARED: Final = 5  # images that all experts must have reviewed before agreement is computed


@dataclass(frozen=True, slots=True)
class Progress:
    """Numbers of one expert's reviews in a batch, by state."""

    expert_id: UUID
    open: int
    done: int
    skipped: int
    cannot_say: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement of experts on an aspect, over the `num_images` that all `num_experts` have reviewed.

    `srcc` is the mean over pairs of experts. `icc` and `srcc` are None if they cannot be computed; then `reason` says
    why.
    """

    aspect: str
    num_experts: int
    num_images: int
    icc: float | None
    srcc: float | None
    reason: str | None


def progress(session: Session, batch_ids: Collection[UUID]) -> dict[UUID, list[Progress]]:
    """Progress of every expert, by batch."""
    counts: dict[tuple[UUID, UUID], dict[ReviewState, int]] = {}
    rows = session.execute(
        sa.select(ReviewRow.batch_id, ReviewRow.expert_id, ReviewRow.state, sa.func.count())
        .where(ReviewRow.batch_id.in_(batch_ids))
        .group_by(ReviewRow.batch_id, ReviewRow.expert_id, ReviewRow.state)
        .order_by(ReviewRow.batch_id, ReviewRow.expert_id)
    )
    for batch_id, expert_id, state, count in rows:
        counts.setdefault((batch_id, expert_id), {})[state] = int(count)
    by_batch: dict[UUID, list[Progress]] = {batch_id: [] for batch_id in batch_ids}
    for (batch_id, expert_id), of in counts.items():
        by_batch[batch_id].append(Progress(expert_id, **{state.value: of.get(state, 0) for state in ReviewState}))
    return by_batch


def agreement(session: Session, batch_id: UUID) -> list[Agreement]:
    """Agreement by aspect, over all experts who have reviewed images of the batch."""
    rows = session.execute(
        sa.select(ReviewRow.expert_id, ReviewRow.image_id, ReviewRow.answers).where(
            ReviewRow.batch_id == batch_id, ReviewRow.state == ReviewState.DONE
        )
    ).all()
    scores: dict[str, dict[UUID, dict[UUID, float]]] = {}  # aspect: expert: image: score
    for expert_id, image_id, answers in rows:
        for aspect, score in answers["scores"].items():
            scores.setdefault(aspect, {}).setdefault(expert_id, {})[image_id] = score
    return [_agreement(aspect, scores[aspect]) for aspect in sorted(scores)]


def _agreement(aspect: str, scores: dict[UUID, dict[UUID, float]]) -> Agreement:
    from paaplus.metrics import icc, srcc  # imports scipy, which no other request needs

    shared = sorted(set.intersection(*(set(images) for images in scores.values())))
    if len(scores) < 2 or len(shared) < MIN_SHARED:
        reason = (
            f"{len(scores)} expert(s) share {len(shared)} reviewed images; 2 experts and {MIN_SHARED} images are needed"
        )
        return Agreement(aspect, len(scores), len(shared) if len(scores) > 1 else 0, None, None, reason)
    score_NK = np.array([[scores[expert_id][image_id] for expert_id in sorted(scores)] for image_id in shared])
    num_experts = len(scores)
    pairs = [(i, j) for i in range(num_experts) for j in range(i)]
    try:
        order = float(np.mean([srcc(score_NK[:, i], score_NK[:, j]) for i, j in pairs]))
        return Agreement(aspect, num_experts, len(shared), icc(score_NK), order, None)
    except UndefinedMetric as error:
        return Agreement(aspect, num_experts, len(shared), None, None, str(error))
