"""Review batches, and the reviews in an expert's queue."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from paaplus.api.schemas.common import Aspect, Flag, Id, In, Many, Name, Number, Out, UserRef, Whole
from paaplus.api.schemas.tools import IMAGE_EXAMPLE, ToolName
from paaplus.api.schemas.users import Application
from paaplus.db.tables.reviews import ReviewOrder, ReviewState
from paaplus.services.reviews.reviews import EVENT_ID_MAX, Verdict


class BatchIn(In):
    """Images that go to experts together; at most 20,000 reviews of all experts together."""

    name: Name = Field(examples=["portraits, first round"])
    experts: list[UserRef] = Field(min_length=1, max_length=50, examples=[["ada"]])
    tools: list[ToolName] | None = Field(
        None,
        min_length=1,
        max_length=20,
        description="Tools whose labels are shown; omitted: all tools that label an aspect.",
    )
    images: Many[UUID] | None = Field(
        None,
        min_length=1,
        max_length=5_000,
        description="Omitted: all labelled images that none of these experts has reviewed.",
        examples=[[IMAGE_EXAMPLE]],
    )
    order: ReviewOrder = Field(
        ReviewOrder.VALUE, description="value: uncertain and disagreed images first. random: drawn with the seed."
    )
    seed: Annotated[Whole, Field(ge=0)] = 0
    overlap: Annotated[Number, Field(ge=0, le=1)] = Field(
        0.0, description="Share of the images that every expert reviews; each other image goes to one expert."
    )
    limit: Annotated[Whole, Field(ge=1, le=5_000)] = Field(1_000, description="Maximum number of images in the batch.")
    application: Application | None = Field(None, description="Needed with an admin key.")


class ReviewProgressOut(Out):
    """One expert's progress: numbers of reviews by state."""

    expert_id: UUID
    open: int
    done: int
    skipped: int
    cannot_say: int


class ReviewAgreementOut(Out):
    """Agreement on the images that all experts reviewed: ICC(2,1), and the mean SRCC over pairs of experts."""

    aspect: str
    num_experts: int
    num_images: int
    icc: float | None
    srcc: float | None
    reason: str | None = Field(description="Why there is no number.")


class BatchOut(Out):
    id: UUID
    application: str
    name: str
    tools: list[str]
    order: ReviewOrder
    seed: int
    created_at: datetime
    closed_at: datetime | None
    progress: list[ReviewProgressOut]


class BatchDetailOut(BatchOut):
    """A batch with its experts' agreement."""

    agreement: list[ReviewAgreementOut]


class ReviewOut(Out):
    """One expert's review of one image. `scores` is the shown label, 0 to 10."""

    id: UUID
    batch_id: UUID
    image_id: UUID
    image_url: str = Field(description="The image file, for this expert's key.")
    scores: dict[str, float] = Field(examples=[{"beauty": 6.1}])
    confidences: dict[str, float] = Field(examples=[{"beauty": 0.38}])
    state: ReviewState
    verdict: Verdict | None
    said: dict[str, float] | None = Field(description="The revised label, all aspects.")
    decided_at: datetime | None


class NextOut(Out):
    """The next review; null if none is left."""

    review: ReviewOut | None
    num_open: int


VERDICT_EXAMPLE: dict[str, Any] = {
    "event_id": "review-0001",
    "verdict": "correct",
    "scores": {"beauty": 7.5},
}


class VerdictIn(In):
    """The expert's decision on a review."""

    model_config = ConfigDict(json_schema_extra={"examples": [VERDICT_EXAMPLE]})

    event_id: Annotated[Id, Field(max_length=EVENT_ID_MAX)] = Field(
        description="Chosen by the caller. Posting the same verdict again changes nothing.", examples=["review-0001"]
    )
    verdict: Verdict = Field(examples=["correct"])
    scores: dict[Aspect, Number] = Field(
        default_factory=dict,
        max_length=64,
        description="For `correct`, 0 to 10. Omitted aspects count as accepted.",
        examples=[{"beauty": 7.5}],
    )
    revise: Flag = Field(False, description="Replace an earlier verdict.")
