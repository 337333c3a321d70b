"""Reviews: an expert accepts or corrects a pseudo label.

The review row holds the shown label and the verdict. The revised label is a rating in the expert's feedback log, on the
score scale and with source "review". "skip" and "cannot_say" write no rating.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_user
from paaplus.db.tables import FeedbackRow, ImageRow, ReviewBatchRow, ReviewRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.reviews import ReviewState
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.records import SCORE_MAX, SCORE_MIN
from paaplus.services.experts.experts import REVIEW_SOURCE
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.texts import checked_id

SCALE: Final = {"min": SCORE_MIN, "max": SCORE_MAX}
EVENT_ID_MAX: Final = 120  # shorter than a feedback event's: a retraction appends a suffix


class Verdict(StrEnum):
    """An expert's verdict. ACCEPT: every aspect is right as shown. CORRECT: some are wrong; the others are accepted."""

    ACCEPT = "accept"
    CORRECT = "correct"
    SKIP = "skip"
    CANNOT_SAY = "cannot_say"


_STATE_AFTER: Final = {
    Verdict.ACCEPT: ReviewState.DONE,
    Verdict.CORRECT: ReviewState.DONE,
    Verdict.SKIP: ReviewState.SKIPPED,
    Verdict.CANNOT_SAY: ReviewState.CANNOT_SAY,
}


@dataclass(frozen=True, slots=True)
class Decision:
    """A review after a decision, and whether this call changed it."""

    row: ReviewRow
    is_new: bool


def next_open(
    session: Session, expert_id: UUID, *, batch_id: UUID | None = None, skipped: bool = False
) -> ReviewRow | None:
    """The expert's next review, in the oldest open batch; None: none is left. See `queue`."""
    return next(iter(queue(session, expert_id, batch_id=batch_id, skipped=skipped, limit=1)), None)


def queue(
    session: Session, expert_id: UUID, *, batch_id: UUID | None = None, skipped: bool = False, limit: int = 1
) -> list[ReviewRow]:
    """The expert's next reviews, those of the oldest open batch first.

    Args:
        batch_id: only in this batch.
        skipped: among skipped reviews instead of open ones.
        limit: how many at most.
    """
    query = (
        sa.select(ReviewRow)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .where(
            ReviewRow.expert_id == expert_id,
            ReviewRow.state == (ReviewState.SKIPPED if skipped else ReviewState.OPEN),
            ReviewBatchRow.closed_at.is_(None),
        )
        .order_by(ReviewRow.batch_id, ReviewRow.position)
        .limit(limit)
    )
    if batch_id is not None:
        query = query.where(ReviewRow.batch_id == batch_id)
    return list(session.execute(query).scalars())


def get(session: Session, expert_id: UUID, review_id: UUID) -> ReviewRow:
    """One of the expert's own reviews.

    Raises:
        NotFound: this expert has no such review.
    """
    row = session.get(ReviewRow, review_id)
    if row is None or row.expert_id != expert_id:
        raise NotFound(f"review {review_id} does not exist")
    return row


def image_of(session: Session, expert_id: UUID, review_id: UUID) -> ImageRow:
    """The image of a review.

    Raises:
        NotFound: see `get`.
    """
    return session.get_one(ImageRow, get(session, expert_id, review_id).image_id)


def count_open(session: Session, expert_id: UUID) -> int:
    """Number of the expert's open reviews in open batches."""
    query = (
        sa.select(sa.func.count())
        .select_from(ReviewRow)
        .join(ReviewBatchRow, ReviewBatchRow.id == ReviewRow.batch_id)
        .where(
            ReviewRow.expert_id == expert_id,
            ReviewRow.state == ReviewState.OPEN,
            ReviewBatchRow.closed_at.is_(None),
        )
    )
    return int(session.execute(query).scalar_one())


def decide(
    session: Session,
    principal: Principal,
    review_id: UUID,
    *,
    verdict: Verdict,
    scores: Mapping[str, float],
    event_id: str,
    revise: bool,
    settings: Settings,
) -> Decision:
    """Record an expert's verdict on a review, and write the revised label into the expert's log.

    Repeating an `event_id`, or the current verdict, changes nothing.

    Args:
        principal: the expert, who may decide only their own reviews.
        scores: 0-10, of the aspects that are corrected.
        event_id: chosen by the caller, as for feedback.
        revise: allow another verdict on a decided review: a newer rating, or a retraction.

    Raises:
        NotFound: no such review of this expert.
        InvalidInput: scores that do not fit the verdict or the label.
        Conflict: the review has another verdict, its batch is closed, or the event id was used for something else.
        TooMany: the user has reached the daily limit of events.
    """
    assert principal.user_id is not None, "experts' keys have a user"
    checked_id(event_id, EVENT_ID_MAX, "event_id")
    expert_id = principal.user_id
    if lock_user(session, expert_id) is None:  # before the review: appending to a log locks the user first
        raise NotFound(f"review {review_id} does not exist")
    row = session.get(ReviewRow, review_id, with_for_update=True, populate_existing=True)
    if row is None or row.expert_id != expert_id:
        raise NotFound(f"review {review_id} does not exist")
    final, corrected = _final(row, verdict, scores)
    before = row.answers or {"verdict": None, "scores": {}, "events": [], "retracted": []}
    decided = {"verdict": verdict.value, "scores": final, "corrected": corrected}
    same = all(before.get(name) == value for name, value in decided.items())
    if event_id in before["events"]:
        if before["events"][-1] == event_id and not same:
            raise Conflict(f"event_id {event_id!r} was used for another verdict on this review")
        return Decision(row, False)  # repeated, or an earlier decision that a later one replaced
    if same:
        return Decision(row, False)
    if row.state in (ReviewState.DONE, ReviewState.CANNOT_SAY) and not revise:
        raise Conflict(f"review {review_id} has the verdict {before['verdict']!r}: set 'revise' to change it")
    if session.get_one(ReviewBatchRow, row.batch_id).closed_at is not None:
        raise Conflict(f"the batch of review {review_id} is closed")
    state = _STATE_AFTER[verdict]
    if state == ReviewState.DONE:
        retracted = before["retracted"]
        row.feedback_id = _append_rating(session, principal, row, event_id, final, settings)
    else:
        retracted = _retract(session, principal, row, before, settings)
        row.feedback_id = None
    row.answers = decided | {"events": [*before["events"], event_id], "retracted": retracted}
    row.state, row.decided_at = state, utcnow()
    return Decision(row, True)


def _final(row: ReviewRow, verdict: Verdict, scores: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """The expert's score of every shown aspect, and the names of the corrected aspects.

    Raises:
        InvalidInput: see `decide`.
    """
    shown = {aspect: float(score) for aspect, score in row.shown["scores"].items()}
    if verdict != Verdict.CORRECT and scores:
        raise InvalidInput(f"verdict {verdict.value!r} takes no scores, got {sorted(scores)}")
    if verdict == Verdict.CORRECT and not scores:
        raise InvalidInput("verdict 'correct' needs the score of one aspect or more")
    if unknown := sorted(set(scores) - set(shown)):
        raise InvalidInput(f"aspect(s) {unknown} were not shown; shown were {sorted(shown)}")
    for aspect, score in scores.items():
        if isinstance(score, bool) or not (math.isfinite(score) and SCORE_MIN <= score <= SCORE_MAX):
            raise InvalidInput(f"{aspect}: a score of {score}, not {SCORE_MIN:g} to {SCORE_MAX:g}")
    if _STATE_AFTER[verdict] != ReviewState.DONE:
        return {}, []
    final = shown | {aspect: float(score) for aspect, score in scores.items()}
    return final, sorted(aspect for aspect in final if final[aspect] != shown[aspect])


def _append_rating(
    session: Session, principal: Principal, row: ReviewRow, event_id: str, final: dict[str, float], settings: Settings
) -> int:
    event = NewEvent(
        index=0,
        user_id=row.expert_id,
        event_id=event_id,
        kind=FeedbackKind.RATING,
        payload={"ratings": final, "scale": dict(SCALE)},
        image_id=row.image_id,
    )
    _append(session, principal, [event], settings)
    session.flush()
    found: int = session.execute(
        sa.select(FeedbackRow.id).where(FeedbackRow.user_id == row.expert_id, FeedbackRow.event_id == event_id)
    ).scalar_one()
    return found


def _retract(
    session: Session, principal: Principal, row: ReviewRow, before: dict[str, Any], settings: Settings
) -> list[str]:
    """Retract every rating that this review wrote. Retracting only the last would make the one before it valid."""
    written = session.execute(
        sa.select(FeedbackRow.event_id).where(
            FeedbackRow.user_id == row.expert_id,
            FeedbackRow.event_id.in_(before["events"]),
            FeedbackRow.kind == FeedbackKind.RATING,
        )
    ).scalars()
    todo = sorted(set(written) - set(before["retracted"]))
    events = [
        NewEvent(
            index=index,
            user_id=row.expert_id,
            event_id=f"{event_id}:undone",
            kind=FeedbackKind.RETRACTION,
            payload={},
            retracts_event_id=event_id,
        )
        for index, event_id in enumerate(todo)
    ]
    _append(session, principal, events, settings)
    return [*before["retracted"], *todo]


def _append(session: Session, principal: Principal, events: list[NewEvent], settings: Settings) -> None:
    if not events:
        return
    for result in intake.append(
        session,
        principal.application,
        events,
        source=REVIEW_SOURCE,
        settings=settings,
        max_per_day=settings.feedback_per_user_per_day,
    ):
        if result.error is not None:
            raise result.error
