"""Rate: one photo after another, or pairs; what the next question is, and what became of the answers."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from starlette.responses import Response

from paaplus.errors import Conflict, InvalidInput, NotFound, Unavailable
from paaplus.services import scheduling
from paaplus.services.adaptation import suggestions
from paaplus.services.feedback.writer import Posted
from paaplus.services.images import images
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions.answers import Target
from paaplus.services.users.rate_limits import RateLimitKind
from paaplus.studio import answers
from paaplus.studio.answers import person_of
from paaplus.studio.calls import Call, answer
from paaplus.studio.news import state_of

POOL: Final = 300  # images among which the next question is chosen: as many as the platform's own suggestions
IN_ADVANCE: Final = 6


def page(call: Call) -> Response:
    """The rating page; its script asks for the questions."""
    return call.page("rate.html", mode="pairs" if call.request.query_params.get("by") == "pairs" else "photos")


def next_photos(call: Call) -> Response:
    """The photos whose ratings are expected to teach most, with the reason. Those in `skip` are shown already."""
    skipped = set(call.request.query_params.get("skip", "").split(","))
    with call.context.database.read_session() as session:
        rows = images.list_images(session, call.person, ImageFilter(unrated_by=person_of(call.person)), limit=POOL)
        everything = len(images.list_images(session, call.person, limit=1))
    by_id = {row.id: row for row in rows if str(row.id) not in skipped}
    try:
        order = suggestions.ranked(
            call.context.database,
            call.context.blobs,
            call.context.predictor.store,
            call.context.settings,
            person_of(call.person),
            pool=list(by_id),
            count=IN_ADVANCE,
        )
    except Unavailable:  # no base model yet: the photos can be rated in any order
        order = []
    items = [_photo(by_id[each.image_id], doubt=each.doubt_points) for each in order if each.image_id in by_id]
    known = {item["id"] for item in items}
    for row in reversed(rows):  # photos without features, the oldest first: nobody waits for the extraction
        if len(items) >= IN_ADVANCE:
            break
        if row.id in by_id and str(row.id) not in known:
            items.append(_photo(row, doubt=None))
    return answer({"items": items, "num_left": len(rows), "has_photos": everything > 0})


def next_pair(call: Call) -> Response:
    """The pair whose comparison is expected to teach most. `asked`: pairs of ids that the page has shown already."""
    asked = _asked(call.request.query_params.get("asked", ""))
    with call.context.database.read_session() as session:
        rows = images.list_images(session, call.person, limit=POOL)
    by_id = {row.id: row for row in rows}
    pair = suggestions.to_compare(
        call.context.database,
        call.context.blobs,
        call.context.predictor.store,
        call.context.settings,
        person_of(call.person),
        pool=list(by_id),
        asked=asked,
    )
    if pair is None:
        return answer({"pair": None, "has_photos": bool(rows)})
    first, second = (_photo(by_id[image_id], doubt=None) for image_id in (pair.first_id, pair.second_id))
    return answer({"pair": {"first": first, "second": second, "nats": pair.expected_information}, "has_photos": True})


def post_answer(call: Call) -> Response:
    """Append one answer to the feedback log. Sending it again changes nothing."""
    kind, event_id = call.text("kind", 20), call.text("event_id", 128)
    image_id = _image_id(call, "image") if kind != "retraction" else None
    if kind == "rating":
        value, low, high = (_number(call, name) for name in ("value", "min", "max"))
        assert image_id is not None
        event = answers.rating_event(0, event_id, image_id, value, low, high, call.context)
    elif kind == "comparison":
        assert image_id is not None
        other = _image_id(call, "other_image")
        event = answers.comparison_event(0, event_id, image_id, other, call.text("preference", 20), call.context)
    elif kind == "binary":
        assert image_id is not None
        event = answers.like_event(0, event_id, image_id, call.form.get("liked") is True)
    elif kind == "retraction":
        event = answers.retraction_event(0, event_id, call.text("retracts", 128))
    else:
        raise InvalidInput(f"unknown kind {kind!r:.40}")
    call.spend(RateLimitKind.FEEDBACK)
    score_before = _score(call, image_id) if kind == "rating" and image_id is not None else None
    posted = Posted(0, event_id, str(person_of(call.person)), event.to_event)
    [result] = call.context.feedback.submit(call.person, [posted]).result()
    if result.error is not None:
        raise result.error
    return answer(
        {"status": result.status, "sequence": result.sequence, "score_before": score_before}
        | state_of(call.context, call.person)
    )


def state(call: Call) -> Response:
    """What the judge has learned, and what waits: for pages that `news` does not reach."""
    return answer(state_of(call.context, call.person))


def learn_now(call: Call) -> Response:
    """Ask for a training now, with the feedback so far."""
    with call.context.database.session() as session:
        user_id = person_of(call.person)
        if not scheduling.pending_feedback(session, user_id):
            raise Conflict(call.t("rate.nothing_new"))
        reason = "asked for in the studio"
        scheduling.request_training(
            session, user_id, actor=call.person.actor, reason=reason, settings=call.context.settings
        )
    return answer(state_of(call.context, call.person))


def _score(call: Call, image_id: UUID) -> float | None:
    """The score of the image before this answer, 0-10, of the first aspect; None: it has no features yet."""
    try:
        target = Target(person_of(call.person), image_id)
        [item] = call.context.predictor.answer([target], with_receipts=False).items
    except (Unavailable, NotFound):
        return None
    return next(iter(item.scores.values())) if item.scores else None


def _photo(row: Any, *, doubt: float | None) -> dict[str, Any]:
    return {
        "id": str(row.id),
        "name": row.name or "",
        "width": row.width_px,
        "height": row.height_px,
        "doubt": round(doubt, 2) if doubt is not None else None,
    }


def _asked(text: str) -> list[tuple[UUID, UUID]]:
    try:
        pairs = [pair.split(".") for pair in text.split(",") if pair]
        return [(UUID(first), UUID(second)) for first, second in pairs][-200:]
    except ValueError as error:
        raise InvalidInput("asked: pairs of ids") from error


def _image_id(call: Call, name: str) -> UUID:
    """The image of a field, which the person must be allowed to see.

    Raises:
        InvalidInput: it is no id.
        NotFound: there is no such image for the person.
    """
    try:
        image_id = UUID(call.text(name, 64))
    except ValueError as error:
        raise InvalidInput(f"{name} is no id") from error
    with call.context.database.read_session() as session:
        images.get(session, call.person, image_id)
    return image_id


def _number(call: Call, name: str) -> float:
    value = call.form.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e6 < value < 1e6:
        raise InvalidInput(f"{name} is no number")
    return float(value)
