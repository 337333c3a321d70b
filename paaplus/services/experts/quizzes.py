"""Quizzes: a user answers a few pairs of images before a match. Each pair is chosen by its expected information.

An answer is a comparison in the user's log, so trainings read it like any other. The next pair is computed before the
transaction that writes the answer, as if the answer were in the log. So both are committed together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow, FeedbackRow, QuizPairRow, QuizRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.services.experts import quiz_questions
from paaplus.services.experts.quiz_questions import NextQuestion
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

MAX_PAIRS: Final = 12  # the default; a caller may ask for MIN_PAIRS to MOST_PAIRS
MIN_PAIRS: Final = 4
MOST_PAIRS: Final = 40
MAX_TRIES: Final = 5
SOURCE: Final = "quiz"  # `FeedbackRow.source` of an answer
OTHER_BASE_MODEL: Final = "another base model has become the default"


@dataclass(frozen=True, slots=True)
class QuizState:
    """A quiz and its open pair; None: the quiz is finished."""

    row: QuizRow
    pair: QuizPairRow | None
    num_answered: int


class _ChangedMeanwhile(Exception):
    """The quiz has changed since it was read."""


def current(session: Session, user_id: UUID) -> QuizState:
    """The user's open quiz, or the last finished one.

    Raises:
        NotFound: the user has no quiz.
    """
    state = _latest(session, user_id)
    if state is None:
        raise NotFound(f"user {user_id} has no quiz")
    return state


def open_quiz(
    database: Database, blobs: BlobStore, store: ServingStore, settings: Settings, user_id: UUID, *, max_pairs: int
) -> tuple[QuizState, bool]:
    """Begin a quiz with its first pair, or return the open one; and whether it is new.

    Raises:
        NotFound: no such user.
        Conflict: the application has no two shared images left to ask about.
        Unavailable: there is no base model, or the quiz kept changing.
    """
    for _ in range(MAX_TRIES):
        with database.read_session() as session:
            basis = quiz_questions.read(session, user_id, settings)
            state = _latest(session, user_id)
            is_open = state is not None and state.row.finished_at is None
            fits = is_open and state is not None and state.row.base_model_id == basis.evidence.base_row.id
            if fits and state is not None and state.pair is not None:
                return state, False
            asked = _asked(session, state.row.id) if fits and state is not None else []
        found = quiz_questions.next_question(blobs, store, basis, asked, num_answered=0, max_pairs=max_pairs)
        if found.first_id is None:
            raise Conflict("there are no two shared images with features left to ask this user about")
        try:
            with database.session() as session:
                return _begin(session, user_id, basis.evidence.base_row.id, found, state, max_pairs), not fits
        except _ChangedMeanwhile:
            continue
    raise Unavailable(f"the quiz of user {user_id} kept changing; try again")


def answer(
    database: Database,
    blobs: BlobStore,
    store: ServingStore,
    settings: Settings,
    user_id: UUID,
    *,
    position: int,
    preference: str | Mapping[str, str],
    event_id: str,
    max_per_day: int = 0,
) -> tuple[QuizState, bool]:
    """Write the answer to the open pair into the user's log and ask the next one; and whether the answer was new.

    Repeating an answer changes nothing.

    Args:
        preference: first, second, tie or cannot_say, about all aspects of the base model, or by aspect.
        event_id: chosen by the caller, as for feedback.
        max_per_day: see `intake.append`.

    Raises:
        NotFound: no such user, no quiz, or an image that was erased.
        Conflict: another pair is open, this one has another answer, or `event_id` names another event.
        InvalidInput: an unknown aspect or preference.
        TooMany: the user has reached the daily limit of events.
        Unavailable: there is no base model, or the quiz kept changing.
    """
    for _ in range(MAX_TRIES):
        with database.read_session() as session:
            state = current(session, user_id)
            pair = _pair_to_answer(session, state, position, preference, event_id)
            if pair is None:
                return state, False
            basis = quiz_questions.read(session, user_id, settings)
            asked = _asked(session, state.row.id)
            by_aspect = _by_aspect(session, state.row, preference)
        if basis.evidence.base_row.id != state.row.base_model_id:
            found = NextQuestion(None, None, 0.0, OTHER_BASE_MODEL)
        else:
            extended = quiz_questions.with_answer(basis, pair, by_aspect)
            found = quiz_questions.next_question(
                blobs, store, extended, asked, state.num_answered + 1, state.row.max_pairs
            )
        try:
            with database.session() as session:
                event = _event(user_id, pair, by_aspect, event_id)
                return _write_answer(session, state, pair.id, event, found, settings, max_per_day), True
        except _ChangedMeanwhile:
            continue
    raise Unavailable(f"the quiz of user {user_id} kept changing; try again")


def _latest(session: Session, user_id: UUID) -> QuizState | None:
    query = sa.select(QuizRow).where(QuizRow.user_id == user_id).order_by(QuizRow.id.desc()).limit(1)
    row = session.execute(query).scalar_one_or_none()
    return _state(session, row) if row is not None else None


def _state(session: Session, row: QuizRow) -> QuizState:
    query = sa.select(QuizPairRow).where(QuizPairRow.quiz_id == row.id).order_by(QuizPairRow.position)
    pairs = session.execute(query).scalars().all()
    waiting = [pair for pair in pairs if pair.answered_at is None]
    pair = waiting[0] if waiting and row.finished_at is None else None
    return QuizState(row, pair, len(pairs) - len(waiting))


def _asked(session: Session, quiz_id: UUID) -> list[tuple[UUID, UUID]]:
    return [
        (first, second)
        for first, second in session.execute(
            sa.select(QuizPairRow.first_image_id, QuizPairRow.second_image_id)
            .where(QuizPairRow.quiz_id == quiz_id)
            .order_by(QuizPairRow.position)
        )
    ]


def _begin(
    session: Session, user_id: UUID, base_model_id: UUID, found: NextQuestion, read: QuizState | None, max_pairs: int
) -> QuizState:
    """Write the quiz and its first pair. An open quiz whose pair was deleted with an image gets this pair instead."""
    locked_user(session, user_id)
    now, state = utcnow(), _latest(session, user_id)
    _check_unchanged(state, read)
    row = state.row if state is not None and state.row.finished_at is None else None
    if row is not None and row.base_model_id != base_model_id:
        row.finished_at, row.finish_reason = now, OTHER_BASE_MODEL
        session.flush()
        row = None
    if row is None:
        row = QuizRow(id=new_id(), user_id=user_id, base_model_id=base_model_id, max_pairs=max_pairs, created_at=now)
        session.add(row)
        session.flush()
    _add_pair(session, row, found)
    return _state(session, row)


def _check_unchanged(state: QuizState | None, read: QuizState | None) -> None:
    """Raise `_ChangedMeanwhile` if another client has changed the quiz between reading and writing."""

    def key(of: QuizState | None) -> Any:
        return of and (of.row.id, of.row.finished_at, of.pair and of.pair.id, of.num_answered)

    if key(state) != key(read):
        raise _ChangedMeanwhile


def _add_pair(session: Session, row: QuizRow, found: NextQuestion) -> None:
    assert found.first_id is not None, "no pair to add"
    assert found.second_id is not None, "half a pair to add"
    last = session.execute(
        sa.select(sa.func.max(QuizPairRow.position)).where(QuizPairRow.quiz_id == row.id)
    ).scalar_one()
    session.add(
        QuizPairRow(
            id=new_id(),
            quiz_id=row.id,
            position=(last or 0) + 1,
            first_image_id=found.first_id,
            second_image_id=found.second_id,
            expected_information=found.expected_information,
            created_at=utcnow(),
        )
    )
    session.flush()


def _pair_to_answer(
    session: Session, state: QuizState, position: int, preference: str | Mapping[str, str], event_id: str
) -> QuizPairRow | None:
    """The open pair; None: this answer is in the log already."""
    if state.pair is not None and state.pair.position == position:
        return state.pair
    pair = session.execute(
        sa.select(QuizPairRow).where(QuizPairRow.quiz_id == state.row.id, QuizPairRow.position == position)
    ).scalar_one_or_none()
    if pair is not None and pair.feedback_id is not None:
        event = session.get_one(FeedbackRow, pair.feedback_id)
        if (event.event_id, event.payload) == (
            event_id,
            {"preference": _by_aspect(session, state.row, preference)},
        ):
            return None
        raise Conflict(f"pair {position} has another answer already")
    waiting = f"pair {state.pair.position} waits for an answer" if state.pair is not None else "the quiz is finished"
    raise Conflict(f"pair {position} is not open: {waiting}")


def _by_aspect(session: Session, row: QuizRow, preference: str | Mapping[str, str]) -> dict[str, str]:
    if not isinstance(preference, str):
        return dict(preference)
    aspects = session.get_one(BaseModelRow, row.base_model_id).aspects
    return dict.fromkeys(aspects, preference)


def _event(user_id: UUID, pair: QuizPairRow, by_aspect: dict[str, str], event_id: str) -> NewEvent:
    return NewEvent(
        index=0,
        user_id=user_id,
        event_id=event_id,
        kind=FeedbackKind.COMPARISON,
        payload={"preference": by_aspect},
        image_id=pair.first_image_id,
        other_image_id=pair.second_image_id,
    )


def _write_answer(
    session: Session,
    read: QuizState,
    pair_id: UUID,
    event: NewEvent,
    found: NextQuestion,
    settings: Settings,
    max_per_day: int,
) -> QuizState:
    user = locked_user(session, event.user_id)
    _check_unchanged(_latest(session, user.id), read)
    [result] = intake.append(session, None, [event], source=SOURCE, settings=settings, max_per_day=max_per_day)
    if result.error is not None:
        raise result.error
    session.flush()
    now, row = utcnow(), session.get_one(QuizRow, read.row.id)
    pair = session.get_one(QuizPairRow, pair_id)
    pair.answered_at = now
    pair.feedback_id = session.execute(
        sa.select(FeedbackRow.id).where(FeedbackRow.user_id == user.id, FeedbackRow.sequence == result.sequence)
    ).scalar_one()
    session.flush()
    if found.stop is not None:
        row.finished_at, row.finish_reason = now, found.stop
        session.flush()
    else:
        _add_pair(session, row, found)
    return _state(session, row)
