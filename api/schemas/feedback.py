"""Feedback events, one or many."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    SkipValidation,
    StringConstraints,
    Tag,
    TypeAdapter,
)

from paaplus.api.schemas.common import Aspect, Flag, Id, In, Moment, Number, Out, UserRef
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import InvalidInput
from paaplus.receipts import MAX_LENGTH, row_id
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.feedback.listing import ListedEvent

IMAGE_EXAMPLE = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"
OTHER_IMAGE_EXAMPLE = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0002"
RECEIPT_EXAMPLE = "r1.AQEBmffEjz58VbegPzpdfwABAZn3xI8-fFW3oD86XX8AAwGZ98SPPkDDMzMAAAAAAAAAAAAAAAA"

RATING_EXAMPLE: dict[str, JsonValue] = {
    "event_id": "ada-0001",
    "user": "ada",
    "kind": "rating",
    "image": IMAGE_EXAMPLE,
    "ratings": {"beauty": 6},
    "scale": {"min": 1, "max": 7},
}


class ScaleIn(In):
    """The scale of the ratings."""

    min: Number = Field(examples=[1])
    max: Number = Field(examples=[7])


Ratings = Annotated[dict[Aspect, Number], Field(min_length=1, max_length=64, examples=[{"beauty": 6}])]


def _known_form(text: str) -> str:
    try:
        row_id(text)
    except InvalidInput as error:
        raise ValueError(str(error)) from error
    return text


SignedReceipt = Annotated[
    str, StringConstraints(pattern=r"^r1\.[A-Za-z0-9_-]+$", max_length=MAX_LENGTH), AfterValidator(_known_form)
]


class _EventIn(In):
    event_id: Id = Field(
        description="Chosen by the caller, one per event. Posting the same event again changes nothing.",
        examples=["ada-0001"],
    )
    user: UserRef
    occurred_at: Moment | None = Field(
        None,
        description="When the person gave the answer. Of two events of one sort on the same image (or pair) and "
        "aspect, the one given later counts, in whatever order they are posted; of two given at one time, the one with "
        "the higher `sequence`. Without it, or if it is later than the receipt, the time of the receipt is used.",
        examples=["2026-11-22T12:00:00Z"],
    )

    def to_event(self, index: int, user_id: UUID) -> NewEvent:
        """The event for the feedback log."""
        given = self.__dict__  # pydantic looks for a field that a kind does not have for long
        receipt = given.get("receipt")
        return NewEvent(
            index=index,
            user_id=user_id,
            event_id=self.event_id,
            kind=_KINDS[given["kind"]],
            payload=_payload(given),
            image_id=given.get("image"),
            other_image_id=given.get("other_image"),
            # Of the row of the receipt, which `keep` of `services.predictions.receipts` writes.
            receipt_id=row_id(receipt) if isinstance(receipt, str) else receipt,
            retracts_event_id=given.get("retracts"),
            occurred_at=self.occurred_at,
        )


_KINDS: Final = {kind.value: kind for kind in FeedbackKind}


def _payload(given: dict[str, Any]) -> dict[str, Any]:
    """An event's payload, stored as it was given."""
    payload: dict[str, Any] = {name: given[name] for name in ("ratings", "preference", "liked") if name in given}
    scale = given.get("scale")
    return payload if scale is None else payload | {"scale": {"min": scale.min, "max": scale.max}}


class RatingIn(_EventIn):
    """A rating of an image on the person's own scale."""

    model_config = ConfigDict(json_schema_extra={"examples": [RATING_EXAMPLE]})

    kind: Literal["rating"]
    image: UUID = Field(examples=[IMAGE_EXAMPLE])
    ratings: Ratings
    scale: ScaleIn


class CorrectionIn(_EventIn):
    """A rating that corrects a prediction, named by its receipt."""

    kind: Literal["correction"]
    receipt: UUID | SignedReceipt = Field(
        description="The prediction's `receipt_id`. Receipts of before they were signed are UUIDs.",
        examples=[RECEIPT_EXAMPLE],
    )
    ratings: Ratings
    scale: ScaleIn


class ComparisonIn(_EventIn):
    """Which of two images is better."""

    kind: Literal["comparison"]
    image: UUID = Field(examples=[IMAGE_EXAMPLE])
    other_image: UUID = Field(examples=[OTHER_IMAGE_EXAMPLE])
    preference: dict[Aspect, Literal["first", "second", "tie", "cannot_say"]] = Field(
        min_length=1, max_length=64, examples=[{"beauty": "first"}]
    )


class BinaryIn(_EventIn):
    """Liked or disliked: above or below the person's own middle, which is learned from all the person's feedback."""

    kind: Literal["binary"]
    image: UUID = Field(examples=[IMAGE_EXAMPLE])
    liked: Flag


class RetractionIn(_EventIn):
    """Retracts an earlier event of the same user."""

    kind: Literal["retraction"]
    retracts: Id = Field(description="`event_id` of the earlier event.", examples=["ada-0001"])


EventIn = Annotated[RatingIn | CorrectionIn | ComparisonIn | BinaryIn | RetractionIn, Field(discriminator="kind")]
EVENT: TypeAdapter[EventIn] = TypeAdapter(EventIn)


class FeedbackBatchIn(In):
    """Many events. Each is accepted or rejected on its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"events": [RATING_EXAMPLE]}]})

    events: list[SkipValidation[EventIn]] = Field(min_length=1)


def _shape(body: Any) -> str:
    return "batch" if isinstance(body, dict) and "events" in body else "event"


FeedbackIn = Annotated[
    Annotated[EventIn, Tag("event")] | Annotated[FeedbackBatchIn, Tag("batch")], Discriminator(_shape)
]


class ItemError(Out):
    code: str = Field(examples=["invalid_input"])
    message: str


TrainsOut = Annotated[
    bool,
    Field(description="Whether trainings learn from events of this kind: true for all but retractions."),
]


class FeedbackItemOut(Out):
    """Result of one event. `sequence` is its number in the user's log."""

    index: int
    event_id: str | None
    status: Literal["accepted", "duplicate", "rejected"]
    sequence: int | None = None
    trains: TrainsOut | None = None
    error: ItemError | None = None


class FeedbackOut(Out):
    event_id: str
    status: Literal["accepted", "duplicate"]
    sequence: int
    trains: TrainsOut


class FeedbackBatchOut(Out):
    accepted: int
    duplicates: int
    rejected: int
    items: list[FeedbackItemOut]


class EventImageOut(Out):
    """An image that an event is about."""

    id: UUID
    name: str | None = Field(examples=["2026/beach.jpg"])
    external_id: str | None = Field(description="The application's own id.", examples=["asset-17"])


class EventOut(Out):
    """One event of a log, as it was posted. `ratings`, `scale`, `preference` and `liked` are null if it has none."""

    id: UUID
    user_id: UUID
    user: str = Field(description="The application's external id of the user.", examples=["ada"])
    application: str
    sequence: int = Field(description="Its number in the user's log.", examples=[17])
    event_id: str = Field(examples=["ada-0001"])
    kind: FeedbackKind
    image: EventImageOut | None = Field(description="Null: it is about none, or the image was deleted.")
    other_image: EventImageOut | None = Field(description="Of a comparison.")
    receipt_id: UUID | None = Field(
        description="The prediction that a correction corrects. Every signed receipt has an id of its own."
    )
    ratings: dict[str, float] | None = Field(examples=[{"beauty": 6}])
    scale: dict[str, float] | None = Field(examples=[{"min": 1, "max": 7}])
    preference: dict[str, str] | None = Field(examples=[{"beauty": "first"}])
    liked: bool | None
    retracts: str | None = Field(description="`event_id` of the event that a retraction takes back.")
    is_retracted: bool = Field(description="Whether a later event takes it back; then no training learns from it.")
    excluded: Literal["rollback", "quarantine"] | None = Field(
        description="Why trainings ignore it for now: a rollback excluded it, or the gate put it in quarantine."
    )
    occurred_at: datetime | None
    received_at: datetime

    @classmethod
    def of(cls, event: ListedEvent) -> EventOut:
        row, payload = event.row, event.row.payload
        return cls(
            id=row.shown_id,
            user_id=row.user_id,
            user=event.external_id,
            application=event.application,
            sequence=row.sequence,
            event_id=row.event_id,
            kind=row.kind,
            image=EventImageOut.model_validate(event.image) if event.image else None,
            other_image=EventImageOut.model_validate(event.other_image) if event.other_image else None,
            receipt_id=row.receipt_id,
            ratings=payload.get("ratings"),
            scale=payload.get("scale"),
            preference=payload.get("preference"),
            liked=payload.get("liked"),
            retracts=event.retracts,
            is_retracted=event.is_retracted,
            excluded=event.excluded,
            occurred_at=row.occurred_at,
            received_at=row.received_at,
        )
