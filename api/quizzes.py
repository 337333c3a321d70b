"""A user's quiz, and the images that the user should rate next."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Body, Query, Response

from paaplus.api.dependencies import Context, ReadSession, UserKey, UserPath
from paaplus.api.routing import router_of
from paaplus.api.schemas.common import WholeText
from paaplus.api.schemas.quizzes import QuizAnswerIn, QuizIn, QuizOut, SuggestionsOut
from paaplus.services.adaptation import suggestions
from paaplus.services.experts import quizzes
from paaplus.services.users import users
from paaplus.services.users.rate_limits import RateLimitKind

router = router_of("/v1/users/{user}", "quizzes")


@router.post("/quiz", status_code=201, responses={200: {"model": QuizOut, "description": "The open quiz of the user."}})
def open_quiz(
    user: UserPath,
    key: UserKey,
    context: Context,
    response: Response,
    body: Annotated[QuizIn, Body(default_factory=QuizIn)],
) -> QuizOut:
    """Start a quiz, or get the open one. Then answer its pairs one by one, and match the user."""
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
    """The open quiz with its current pair, or the last finished quiz."""
    return QuizOut.of(quizzes.current(session, users.resolve(session, key, user).id))


@router.post("/quiz/answers")
def answer(user: UserPath, body: QuizAnswerIn, key: UserKey, context: Context) -> QuizOut:
    """Answer the current pair and get the next one. The answer is a comparison in the user's feedback log.

    Posting the same answer again changes nothing. A different answer, or an answer to another pair, is a conflict.
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
    kind: Annotated[Literal["rating"], Query(description="The kind of feedback that the user will give.")] = "rating",
    count: Annotated[WholeText, Query(ge=1, le=100, description="Number of images.")] = 10,
) -> SuggestionsOut:
    """The images that the user should rate next: those that reduce the uncertainty of all scores most, best first."""
    with context.database.read_session() as session:
        user_id = users.resolve(session, key, user).id
    images = suggestions.to_rate(
        context.database, context.blobs, context.predictor.store, context.settings, user_id, count=count
    )
    return SuggestionsOut(kind=kind, images=images)
