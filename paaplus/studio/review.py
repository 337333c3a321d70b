"""Review: an expert accepts or corrects pseudo labels, one after another, with the rights of an expert's key."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import InvalidInput, NotFound
from paaplus.services.reviews import own_agreement, pace, reviews
from paaplus.services.reviews.reviews import Verdict
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer
from paaplus.studio.thumbnails import not_modified_or, size_of

IN_ADVANCE: Final = 5


def page(call: Call) -> Response:
    """The page; its script asks for the reviews."""
    return call.page("review.html", shows_skipped=call.request.query_params.get("skipped") == "yes")


def queue(call: Call) -> Response:
    """The next reviews with the labels to show, and how the reviews so far went."""
    query = call.request.query_params
    expert_id = person_of(call.principal)
    skip = set(query.get("skip", "").split(","))
    with call.context.database.read_session() as session:
        rows = reviews.queue(
            session, expert_id, skipped=query.get("skipped") == "yes", limit=IN_ADVANCE + min(len(skip), 200)
        )
        found = [_shown(session, expert_id, row) for row in rows if str(row.id) not in skip][:IN_ADVANCE]
        going = pace.of_expert(session, expert_id)
        agreed = [asdict(each) for each in own_agreement.of_expert(session, expert_id)]
    return answer({"items": found, "pace": _pace(going), "agreement": agreed})


def decide(call: Call) -> Response:
    """Record a verdict. Sending the same one again changes nothing; `revise` allows another one after an undo."""
    try:
        verdict = Verdict(call.text("verdict", 20))
    except ValueError as error:
        raise InvalidInput(str(error)) from error
    call.spend(RateLimitKind.FEEDBACK)
    with call.context.database.session() as session:
        decision = reviews.decide(
            session,
            call.principal,
            _review_id(call),
            verdict=verdict,
            scores=_scores(call.form.get("scores", {})),
            event_id=call.text("event_id", reviews.EVENT_ID_MAX),
            revise=call.form.get("revise") is True,
            settings=call.context.settings,
        )
        state = decision.row.state.value
    with call.context.database.read_session() as session:
        going = pace.of_expert(session, person_of(call.principal))
    return answer({"state": state, "pace": _pace(going)})


def picture(call: Call) -> Response:
    """A thumbnail of the image of one of the expert's own reviews; an expert's key sees no other image."""
    size = size_of(call)
    with call.context.database.read_session() as session:
        image = reviews.image_of(session, person_of(call.principal), _review_id(call))
    return not_modified_or(call, image, size)


def _shown(session: Any, expert_id: UUID, row: Any) -> dict[str, Any]:
    image = reviews.image_of(session, expert_id, row.id)
    return {
        "id": str(row.id),
        "name": image.name or "",
        "width": image.width_px,
        "height": image.height_px,
        "scores": {aspect: round(float(score), 2) for aspect, score in row.shown["scores"].items()},
        "confidences": row.shown["confidences"],
    }


def _pace(found: pace.Pace) -> dict[str, Any]:
    return {
        "open": found.num_open,
        "done": found.num_done,
        "skipped": found.num_skipped,
        "cannot_say": found.num_cannot_say,
        "recent": found.num_recent,
        "accepted": found.share_accepted,
        "correction": found.mean_correction,
        "seconds_each": found.seconds_each,
    }


def _scores(given: Any) -> dict[str, float]:
    """Scores by aspect.

    Raises:
        InvalidInput: they are none.
    """
    if not isinstance(given, dict) or len(given) > 64:
        raise InvalidInput("scores: an object of numbers by aspect")
    for aspect, score in given.items():
        if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
            raise InvalidInput(f"the score of {aspect!r:.64} is no number")
    return {aspect: float(score) for aspect, score in given.items()}


def _review_id(call: Call) -> UUID:
    try:
        return UUID(call.request.path_params["review"])
    except ValueError as error:
        raise NotFound("no such review") from error
