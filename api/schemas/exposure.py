"""Exposure ratings as they come in, and a person's rule as answered."""

from __future__ import annotations

from uuid import UUID

from pydantic import Field

from paaplus.api.schemas.common import In, Number, Out
from paaplus.api.schemas.feedback import ScaleIn
from paaplus.services.reviews.exposure_ratings import OwnExposure


class ExposureRatingIn(In):
    rating: Number = Field(examples=[6])
    scale: ScaleIn


class ExposureRatingOut(Out):
    waiting: bool = Field(description="The tool has yet to look at the image.")


class ExposureScoreOut(Out):
    image: UUID
    score: float | None = Field(description="0-10 by the user's own rule; null: the tool has not looked at it yet.")


class ExposureRuleOut(Out):
    preset: str = Field(examples=["night"])
    num_ratings: int = Field(description="Those that the rule is made of.")
    errors: dict[str, float] = Field(description="By preset: root mean square error on ratings left out, in points.")
    waiting: list[UUID] = Field(description="Rated images that the tool has yet to look at.")
    scores: list[ExposureScoreOut]

    @classmethod
    def of(cls, own: OwnExposure) -> ExposureRuleOut:
        return cls(
            preset=own.rule.preset,
            num_ratings=own.rule.num_ratings,
            errors=dict(own.rule.errors),
            waiting=list(own.waiting),
            scores=[ExposureScoreOut(image=image, score=score) for image, score in own.scores.items()],
        )
