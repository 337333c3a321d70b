"""AI tools, their pseudo labels, and their revisions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from paaplus.api.schemas.common import Aspect, Id, In, Many, Number, Out
from paaplus.api.schemas.users import Application

IMAGE_EXAMPLE = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"

ToolName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9:._-]{0,63}$")]


class ToolOut(Out):
    """One tool. `labels` are the base model's aspects among those that it scores; only these are reviewed."""

    name: str = Field(examples=["generic"])
    version: str | None = Field(description="Changes whenever its scores could change.", examples=["1"])
    aspects: list[str] = Field(examples=[["beauty"]])
    labels: list[str] = Field(examples=[["beauty"]])
    needs: Literal["pixels", "features", "name"] | None
    unavailable: str | None = Field(description="Why it cannot run in this deployment.")


class ToolsOut(Out):
    items: list[ToolOut]


class LabelsIn(In):
    """The tools to run, and the images to label."""

    tools: list[ToolName] = Field(min_length=1, max_length=20, examples=[["generic", "exposure"]])
    images: Many[UUID] | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Omitted: all images of the application that no user owns.",
        examples=[[IMAGE_EXAMPLE]],
    )
    application: Application | None = Field(None, description="Needed with an admin key.")


class LabelsJobOut(Out):
    job_id: UUID = Field(description="Its progress: `GET /v1/jobs/{job_id}`.")


class PseudoLabelOut(Out):
    """One tool's label of one image, uncalibrated: scores 0 to 10 and confidences 0 to 1, by aspect."""

    id: UUID
    image_id: UUID
    tool: str = Field(examples=["generic"])
    tool_version: str
    scores: dict[str, float] = Field(examples=[{"beauty": 6.1}])
    confidences: dict[str, float] = Field(examples=[{"beauty": 0.38}])
    created_at: datetime


class PrecomputedLabelIn(In):
    """Scores of one image from outside the platform."""

    image: UUID = Field(examples=[IMAGE_EXAMPLE])
    scores: dict[Aspect, Annotated[Number, Field(ge=0, le=10)]] = Field(
        min_length=1, max_length=64, examples=[{"beauty": 6.5}]
    )
    confidence: Annotated[Number, Field(ge=0, le=1)] = Field(
        0.5, description="Probability that an expert's score is within a point.", examples=[0.5]
    )


class PrecomputedIn(In):
    """Scores that one version of an outside source computed."""

    tool: ToolName = Field(description="`precomputed`, or `precomputed:SOURCE`.", examples=["precomputed:partner"])
    version: Annotated[Id, Field(max_length=64)] = Field(examples=["2026-11"])
    labels: Many[PrecomputedLabelIn] = Field(min_length=1, max_length=1_000)
    application: Application | None = Field(None, description="Needed with an admin key.")


class PrecomputedOut(Out):
    new: int
    known: int


class RevisionIn(In):
    """Learn a revision from the existing reviews."""

    application: Application | None = Field(None, description="Needed with an admin key.")


class RevisionOut(Out):
    """A tool's revision, learned from the reviews of one application's experts.

    `metrics` has, by aspect, the experts' errors against the raw score, the mean and the calibrated score on held-out
    reviews, and the same for the reward head if there were enough reviews for one.
    """

    id: UUID
    application: str
    tool: str
    tool_version: str
    version: int
    num_reviews: int
    has_reward_head: bool
    metrics: dict[str, Any]
    retired_at: datetime | None
    stale_at: datetime | None = Field(description="Since then, an expert that it was learned from has been erased.")
    created_at: datetime
