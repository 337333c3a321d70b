"""What people say on the rating page, as events of their feedback log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from paaplus.errors import InvalidInput
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.users.keys import Principal
from paaplus.studio.context import StudioContext

Kind = Literal["rating", "comparison", "binary", "retraction"]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `to_event` makes the event of the user's id."""

    event_id: str
    to_event: Callable[[UUID], NewEvent]


def aspects_of(context: StudioContext) -> list[str]:
    """The aspects that one answer covers: all that feedback may name."""
    with context.database.read_session() as session:
        known = intake.known_aspects(session)
    return sorted(known) if known else ["beauty"]


def rating_event(
    index: int, event_id: str, image_id: UUID, value: float, low: float, high: float, context: StudioContext
) -> Answer:
    """A rating on the person's scale, of all aspects together."""
    if not low <= value <= high:
        raise InvalidInput(f"a rating of {value} on a scale from {low} to {high}")
    ratings = dict.fromkeys(aspects_of(context), value)
    payload = {"ratings": ratings, "scale": {"min": low, "max": high}}
    return Answer(event_id, _event(index, event_id, "rating", payload, image_id=image_id))


def comparison_event(
    index: int, event_id: str, first: UUID, second: UUID, preference: str, context: StudioContext
) -> Answer:
    if preference not in intake.PREFERENCES:
        raise InvalidInput(f"unknown answer {preference!r:.40}")
    payload = {"preference": dict.fromkeys(aspects_of(context), preference)}
    return Answer(event_id, _event(index, event_id, "comparison", payload, image_id=first, other_image_id=second))


def like_event(index: int, event_id: str, image_id: UUID, liked: bool) -> Answer:
    return Answer(event_id, _event(index, event_id, "binary", {"liked": liked}, image_id=image_id))


def retraction_event(index: int, event_id: str, retracted: str) -> Answer:
    return Answer(event_id, _event(index, event_id, "retraction", {}, retracts_event_id=retracted))


def _event(index: int, event_id: str, kind: Kind, payload: dict[str, Any], **refs: Any) -> Callable[[UUID], NewEvent]:
    def to_event(user_id: UUID) -> NewEvent:
        return NewEvent(
            index=index, user_id=user_id, event_id=event_id, kind=intake.kind_of(kind), payload=payload, **refs
        )

    return to_event


def person_of(principal: Principal) -> UUID:
    assert principal.user_id is not None, "the principal of a person's pages has a user"
    return principal.user_id
