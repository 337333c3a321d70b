"""How an expert's reviews go: how many are left, how often the label was right, and how long one takes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import ReviewBatchRow, ReviewRow
from paaplus.db.tables.reviews import ReviewState

RECENT: Final = 100  # decided reviews that are looked at
PAUSE: Final = timedelta(minutes=2)  # a longer time between two decisions is a pause, no review


@dataclass(frozen=True, slots=True)
class Pace:
    """Numbers of an expert's reviews in open batches, and how the latest decided ones went.

    Attributes:
        num_recent: accepted and corrected reviews among the latest `RECENT`.
        share_accepted: of these, accepted as shown; None: there are none.
        mean_correction: by aspect, the mean absolute difference to the label shown, in points of 10.
        seconds_each: the median time from one decision to the next without pauses; None: fewer than two.
    """

    num_open: int
    num_done: int
    num_skipped: int
    num_cannot_say: int
    num_recent: int
    share_accepted: float | None
    mean_correction: dict[str, float]
    seconds_each: float | None


def of_expert(session: Session, expert_id: UUID, batch_id: UUID | None = None) -> Pace:
    """The expert's pace, in all open batches or in one batch, which may be closed."""
    chosen = ReviewBatchRow.closed_at.is_(None) if batch_id is None else ReviewRow.batch_id == batch_id
    counts = session.execute(
        sa.select(ReviewRow.state, sa.func.count())
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .where(ReviewRow.expert_id == expert_id, chosen)
        .group_by(ReviewRow.state)
    )
    number = dict.fromkeys(ReviewState, 0) | {state: int(count) for state, count in counts}
    rows = session.execute(
        sa.select(ReviewRow.state, ReviewRow.shown, ReviewRow.answers, ReviewRow.decided_at)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .where(ReviewRow.expert_id == expert_id, ReviewRow.decided_at.is_not(None), chosen)
        .order_by(ReviewRow.decided_at.desc())
        .limit(RECENT)
    ).all()
    done = [(shown["scores"], answers) for state, shown, answers, _ in rows if state == ReviewState.DONE]
    return Pace(
        num_open=number[ReviewState.OPEN],
        num_done=number[ReviewState.DONE],
        num_skipped=number[ReviewState.SKIPPED],
        num_cannot_say=number[ReviewState.CANNOT_SAY],
        num_recent=len(done),
        share_accepted=float(np.mean([not answers["corrected"] for _, answers in done])) if done else None,
        mean_correction=_mean_correction(done),
        seconds_each=_seconds_each([decided_at for *_, decided_at in rows]),
    )


def _mean_correction(done: list[tuple[dict[str, float], dict[str, Any]]]) -> dict[str, float]:
    by_aspect: dict[str, list[float]] = {}
    for shown, answers in done:
        for aspect, score in answers["scores"].items():
            by_aspect.setdefault(aspect, []).append(abs(score - shown[aspect]))
    return {aspect: float(np.mean(found)) for aspect, found in sorted(by_aspect.items())}


def _seconds_each(decided: list[datetime]) -> float | None:
    """The median time between decisions, newest first; pauses are left out."""
    gaps = [later - earlier for later, earlier in pairwise(decided)]
    seconds = [gap.total_seconds() for gap in gaps if gap <= PAUSE]
    return float(np.median(seconds)) if seconds else None
