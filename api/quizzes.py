"""A user's quiz, and which images to ask them about next."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Query, Response

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath
from paaplus.api.schemas.quizzes import QuizAnswerIn, QuizIn, QuizOut, SuggestionsOut
from paaplus.services.adaptation import suggestions
from paaplus.services.experts import quizzes
from paaplus.services.users import users
from paaplus.services.users.rate_limits import RateLimitKind

router = APIRouter(prefix="/v1/users/{user}", tags=["quizzes"])


@router.post("/quiz", status_code=201, responses={200: {"model": QuizOut, "description": "The quiz that is open."}})
def open_quiz(
    user: UserPath,
    key: UserKey,
    context: Context,
    response: Response,
    body: Annotated[QuizIn, Body(default_factory=QuizIn)],
) -> QuizOut:
    """Begin a quiz, or get the open one as it stands. Then answer pair after pair, and match the user."""
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
    state, is_new = quizzes.open_quiz(
        context.database,
        context.blobs,
        context.predictor.store,
        context.settings,
        user_id,
        max_pairs=body.max_pairs,
    )
    response.status_code = 201 if is_new else 200
    return QuizOut.of(state)


@router.get("/quiz")
def get_quiz(user: UserPath, key: UserKey, session: ReadSession) -> QuizOut:
    """The open quiz with the pair that waits, or the last one that was finished."""
    return QuizOut.of(quizzes.current(session, users.resolve(session, key, user).id))


@router.post("/quiz/answers")
def answer(user: UserPath, body: QuizAnswerIn, key: UserKey, context: Context) -> QuizOut:
    """Answer the pair that waits: a comparison in the user's log, like one that is posted. Gives the next pair.

    The same answer again changes nothing; another one, or one to another pair, is a conflict.
    """
    context.allowances.spend(key, RateLimitKind.FEEDBACK, 1)
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
    state, is_new = quizzes.answer(
        context.database,
        context.blobs,
        context.predictor.store,
        context.settings,
        user_id,
        position=body.position,
        preference=body.preference,
        event_id=body.event_id,
        max_per_day=context.settings.feedback_per_user_per_day,
    )
    context.metrics.feedback_accepted.inc(int(is_new))
    return QuizOut.of(state)


@router.get("/suggestions")
def suggest(
    user: UserPath,
    key: UserKey,
    context: Context,
    kind: Annotated[Literal["rating"], Query(description="What the user is to be asked for.")] = "rating",
    count: Annotated[int, Query(ge=1, le=100, description="How many images.")] = 10,
) -> SuggestionsOut:
    """Which images to ask the user to rate next: those that narrow all their scores most, the best first."""
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
    images = suggestions.to_rate(
        context.database, context.blobs, context.predictor.store, context.settings, user_id, count=count
    )
    return SuggestionsOut(kind=kind, images=images)
