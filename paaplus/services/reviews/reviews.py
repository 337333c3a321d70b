"""Reviews: what an expert makes of a pseudo label. The answer that trains goes into their feedback log, at once.

A review is the question, and says what became of it; a rating in the log, on the score scale and with source
"review", is the answer. Skipping, and not being able to say, leave no feedback.
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

SCALE: Final = {"min": SCORE_MIN, "max": SCORE_MAX}
EVENT_ID_MAX: Final = 120  # a retraction's id is the event's with a little more


class Verdict(StrEnum):
    """ACCEPT: every aspect is right as shown. CORRECT: some are not; the others count as accepted."""

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
    """A review as it is now, and whether this call made it so."""

    row: ReviewRow
    is_new: bool


def next_open(
    session: Session, expert_id: UUID, *, batch_id: UUID | None = None, skipped: bool = False
) -> ReviewRow | None:
    """The expert's next review, of the oldest open batch first; None: nothing is left.

    Args:
        batch_id: only of this batch.
        skipped: those that were skipped, which do not come back by themselves.
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
        .limit(1)
    )
    if batch_id is not None:
        query = query.where(ReviewRow.batch_id == batch_id)
    return session.execute(query).scalar_one_or_none()


def get(session: Session, expert_id: UUID, review_id: UUID) -> ReviewRow:
    """One of the expert's own reviews.

    Raises:
        NotFound: there is none, or it is another's.
    """
    row = session.get(ReviewRow, review_id)
    if row is None or row.expert_id != expert_id:
        raise NotFound(f"review {review_id} does not exist")
    return row


def image_of(session: Session, expert_id: UUID, review_id: UUID) -> ImageRow:
    """The image to be looked at.

    Raises:
        NotFound: see `get`.
    """
    return session.get_one(ImageRow, get(session, expert_id, review_id).image_id)


def count_open(session: Session, expert_id: UUID) -> int:
    """How many reviews wait for the expert."""
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
    """Record what the expert makes of a review, and write it into their log, in the caller's transaction.

    The same `event_id` again, and the same verdict again, change nothing, whatever has come between.

    Args:
        principal: the expert; their own reviews only.
        scores: 0-10, of the aspects that are corrected.
        event_id: the caller's own, as for feedback.
        revise: a review that has its verdict may get another one: a later word in the log, or a retraction.

    Raises:
        NotFound: no such review of this expert.
        InvalidInput: scores that do not fit the verdict, or the label.
        Conflict: it has another verdict already, its batch is closed, or the event id was used for something else.
        TooMany: more feedback than one user may give in a day.
    """
    assert principal.user_id is not None, "experts' keys have a user"
    if not (0 < len(event_id) <= EVENT_ID_MAX and event_id.isprintable()):
        raise InvalidInput(f"event_id {event_id!r:.200}: 1 to {EVENT_ID_MAX} printable characters")
    expert_id = principal.user_id
    if lock_user(session, expert_id) is None:  # the log's order of locks: user first
        raise NotFound(f"review {review_id} does not exist")
    row = session.get(ReviewRow, review_id, with_for_update=True, populate_existing=True)
    if row is None or row.expert_id != expert_id:
        raise NotFound(f"review {review_id} does not exist")
    final, corrected = _final(row, verdict, scores)
    before = row.answers or {"verdict": None, "scores": {}, "events": [], "retracted": []}
    said = {"verdict": verdict.value, "scores": final, "corrected": corrected}
    same = all(before.get(name) == value for name, value in said.items())
    if event_id in before["events"]:
        if before["events"][-1] == event_id and not same:
            raise Conflict(f"event_id {event_id!r} was used for another verdict on this review")
        return Decision(row, False)  # an earlier word, which a later one has replaced
    if same:
        return Decision(row, False)
    if row.state in (ReviewState.DONE, ReviewState.CANNOT_SAY) and not revise:
        raise Conflict(f"review {review_id} has the verdict {before['verdict']!r}: say 'revise' to change it")
    if session.get_one(ReviewBatchRow, row.batch_id).closed_at is not None:
        raise Conflict(f"the batch of review {review_id} is closed")
    state = _STATE_AFTER[verdict]
    if state == ReviewState.DONE:
        retracted = before["retracted"]
        row.feedback_id = _append_rating(session, principal, row, event_id, final, settings)
    else:
        retracted = _retract(session, principal, row, before, settings)
        row.feedback_id = None
    row.answers = said | {"events": [*before["events"], event_id], "retracted": retracted}
    row.state, row.decided_at = state, utcnow()
    return Decision(row, True)


def _final(row: ReviewRow, verdict: Verdict, scores: Mapping[str, float]) -> tuple[dict[str, float], list[str]]:
    """(what the expert says of every aspect shown, the aspects that they corrected).

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
) -> UUID:
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
    found: UUID = session.execute(
        sa.select(FeedbackRow.id).where(FeedbackRow.user_id == row.expert_id, FeedbackRow.event_id == event_id)
    ).scalar_one()
    return found


def _retract(
    session: Session, principal: Principal, row: ReviewRow, before: dict[str, Any], settings: Settings
) -> list[str]:
    """Take back every word that this review has put into the log, or the one before the last would count again."""
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
