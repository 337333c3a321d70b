"""How far the experts of a batch are, and how far they agree.

Shape letters: N = images that all experts of a comparison have done, K = experts.
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

MIN_SHARED: Final = 5  # images that experts must share before agreement says anything


@dataclass(frozen=True, slots=True)
class Progress:
    """One expert's part of a batch: reviews by state."""

    expert_id: UUID
    open: int
    done: int
    skipped: int
    cannot_say: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far experts agree on an aspect, on the `num_images` that all `num_experts` have done.

    `icc` and `srcc` (mean over pairs of experts) are None where there is too little to say, then `reason` says why.
    """

    aspect: str
    num_experts: int
    num_images: int
    icc: float | None
    srcc: float | None
    reason: str | None


def progress(session: Session, batch_ids: Collection[UUID]) -> dict[UUID, list[Progress]]:
    """Per batch, every expert's reviews by state."""
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
    """By aspect; over all experts who have done anything in the batch."""
    rows = session.execute(
        sa.select(ReviewRow.expert_id, ReviewRow.image_id, ReviewRow.answers).where(
            ReviewRow.batch_id == batch_id, ReviewRow.state == ReviewState.DONE
        )
    ).all()
    said: dict[str, dict[UUID, dict[UUID, float]]] = {}  # aspect: expert: image: score
    for expert_id, image_id, answers in rows:
        for aspect, score in answers["scores"].items():
            said.setdefault(aspect, {}).setdefault(expert_id, {})[image_id] = score
    return [_agreement(aspect, said[aspect]) for aspect in sorted(said)]


def _agreement(aspect: str, said: dict[UUID, dict[UUID, float]]) -> Agreement:
    from paaplus.metrics import icc, srcc  # with scipy, which no other request needs

    shared = sorted(set.intersection(*(set(images) for images in said.values())))
    if len(said) < 2 or len(shared) < MIN_SHARED:
        reason = (
            f"{len(said)} expert(s) share {len(shared)} reviewed images; 2 experts and {MIN_SHARED} images are needed"
        )
        return Agreement(aspect, len(said), len(shared) if len(said) > 1 else 0, None, None, reason)
    score_NK = np.array([[said[expert_id][image_id] for expert_id in sorted(said)] for image_id in shared])
    num_experts = len(said)
    pairs = [(i, j) for i in range(num_experts) for j in range(i)]
    try:
        order = float(np.mean([srcc(score_NK[:, i], score_NK[:, j]) for i, j in pairs]))
        return Agreement(aspect, num_experts, len(shared), icc(score_NK), order, None)
    except UndefinedMetric as error:
        return Agreement(aspect, num_experts, len(shared), None, None, str(error))
