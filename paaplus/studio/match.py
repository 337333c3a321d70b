"""Match: a short quiz of pairs, then the experts whose taste is most like the person's, and why."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import InvalidInput, NotFound
from paaplus.services.adapters import matches
from paaplus.services.experts import matching, quizzes
from paaplus.services.experts.quizzes import QuizState
from paaplus.services.feedback import intake
from paaplus.services.images import images
from paaplus.services.registry import base_models
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer

SHOWN: Final = 5  # experts of a match


def page(call: Call) -> Response:
    """The page; its script asks for the quiz and the match."""
    return call.page("match.html")


def state(call: Call) -> Response:
    """The quiz and the match as they are; None: there is none yet."""
    user_id = person_of(call.person)
    with call.context.database.read_session() as session:
        try:
            quiz = _quiz(call, session, quizzes.current(session, user_id))
        except NotFound:
            quiz = None
    return answer({"quiz": quiz, "match": _match(call, user_id)})


def open_quiz(call: Call) -> Response:
    """Begin a quiz, or go on with the open one."""
    found, _ = quizzes.open_quiz(
        call.context.database,
        call.context.blobs,
        call.context.predictor.store,
        call.context.settings,
        person_of(call.person),
        max_pairs=quizzes.MAX_PAIRS,
    )
    with call.context.database.read_session() as session:
        return answer({"quiz": _quiz(call, session, found)})


def post_answer(call: Call) -> Response:
    """Answer the open pair; sending it again changes nothing."""
    position, preference = call.form.get("position"), call.text("preference", 20)
    if isinstance(position, bool) or not isinstance(position, int) or not 1 <= position <= quizzes.MOST_PAIRS:
        raise InvalidInput("position is no number of a pair")
    if preference not in intake.PREFERENCES:
        raise InvalidInput(f"unknown answer {preference!r:.40}")
    call.spend(RateLimitKind.FEEDBACK)
    found, _ = quizzes.answer(
        call.context.database,
        call.context.blobs,
        call.context.predictor.store,
        call.context.settings,
        person_of(call.person),
        position=position,
        preference=preference,
        event_id=call.text("event_id", 128),
        max_per_day=call.context.settings.feedback_per_user_per_day,
    )
    with call.context.database.read_session() as session:
        return answer({"quiz": _quiz(call, session, found)})


def choose(call: Call) -> Response:
    """Choose the person's starting point from the answers, and tell with whom it is and why."""
    user_id = person_of(call.person)
    matching.match(
        call.context.database,
        call.context.blobs,
        call.context.predictor.store,
        call.context.settings,
        user_id,
        actor=call.person.actor,
    )
    return answer({"match": _match(call, user_id)})


def _quiz(call: Call, session: Any, found: QuizState) -> dict[str, Any]:
    pair = found.pair
    shown = None
    if pair is not None:
        first, second = (
            images.get(session, call.person, image_id) for image_id in (pair.first_image_id, pair.second_image_id)
        )
        shown = {
            "position": pair.position,
            "first": _photo(first),
            "second": _photo(second),
            "nats": pair.expected_information,
        }
    return {
        "num_answered": found.num_answered,
        "max_pairs": found.row.max_pairs,
        "finished": found.row.finished_at is not None,
        "pair": shown,
    }


def _photo(row: Any) -> dict[str, Any]:
    return {"id": str(row.id), "name": row.name or "", "width": row.width_px, "height": row.height_px}


def _match(call: Call, user_id: UUID) -> dict[str, Any] | None:
    """The match in force: its kind, how sure it is, and each expert's share and agreement with the person."""
    with call.context.database.read_session() as session:
        row = matches.in_force(session, user_id)
        if row is None:
            return None
        default = base_models.find_default(session, call.context.settings)
        view = matches.view(session, row, default.id if default is not None else None)
    probabilities, agreement = row.evidence.get("probabilities", {}), row.evidence.get("agreement", {})
    name = str(view.experts[0].user_id) if row.kind.value == "expert" and view.experts else row.kind.value
    total = sum(abs(each.share) for each in view.experts) or 1.0
    return {
        "kind": row.kind.value,
        "sure": probabilities.get(name),
        "num_comparisons": row.evidence.get("num_comparisons", 0),
        "num_ratings": row.evidence.get("num_ratings", 0),
        "num_experts": row.evidence.get("num_experts", 0),
        "experts": [
            {
                "name": each.name,
                "domain": each.domain,
                "share": round(abs(each.share) / total, 4),
                "is_opposite": each.share < 0,
                "agreed": agreement.get(str(each.user_id)),
            }
            for each in view.experts[:SHOWN]
        ],
        "version": view.version.number if view.version is not None else None,
        "is_live": view.version is not None and view.version.state == "active",
        "stale": row.stale_at is not None or not view.is_of_default_base,
    }
