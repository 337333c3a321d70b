"""Predictions: who wants scores of what, and the scores."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.common import Flag, In, Number, Out, UserRef
from paaplus.services.predictions.predict import Answer, Prediction, Source, SourceReason


class PredictionItemIn(In):
    user: UserRef
    image: UUID


class PredictionsIn(In):
    """Either `items`, or `users` and `images`: then every user is asked about every image."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"users": ["ada"], "images": ["0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"]}]}
    )

    items: list[PredictionItemIn] | None = Field(None, min_length=1)
    users: list[UserRef] | None = Field(None, min_length=1)
    images: list[UUID] | None = Field(None, min_length=1)
    wait_s: Number = Field(0.0, ge=0, description="How long to wait for images that are not ready yet.")
    confidence: Flag = Field(False, description="Say how sure each score is.")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = (self.items is not None, self.users is not None, self.images is not None)
        if given not in ((True, False, False), (False, True, True)):
            raise ValueError("give either items, or users and images")
        return self

    @property
    def num_wanted(self) -> int:
        if self.items is not None:
            return len(self.items)
        return len(self.users or []) * len(self.images or [])

    def wanted(self) -> list[tuple[str, UUID]]:
        """(user, image) pairs in order; all images of the first user come first."""
        if self.items is not None:
            return [(item.user, item.image) for item in self.items]
        return [(user, image) for user in self.users or [] for image in self.images or []]


class ServedAdapterOut(Out):
    id: UUID
    number: int
    digest: str
    trained_at: datetime
    age_s: float = Field(description="Seconds since it was trained.")


class ConfidenceOut(Out):
    """Standard deviations by aspect, in score points."""

    score_sd: dict[str, float] = Field(description="Of the user's own score.", examples=[{"beauty": 0.6}])
    rating_sd: dict[str, float] = Field(description="Of a rating that the user would give.", examples=[{"beauty": 1.9}])


class UsedPreferenceOut(Out):
    """The user's preference, as a base model takes it that asks for one."""

    values: tuple[float, ...] = Field(examples=[[0.5, 0.8, 0.5, 0.2, 0.5]])
    version: int | None = Field(description="How often the user's preference had changed; null where nobody knows.")


class PredictionOut(Out):
    """One answer. `source` base says that the scores are the base model's, match that no training of the user's own
    words has touched them, and `source_reason` why."""

    user_id: UUID
    image_id: UUID
    status: Literal["scored", "pending", "failed"]
    scores: dict[str, float] | None = Field(examples=[{"beauty": 6.1}])
    generic: dict[str, float] | None = Field(description="What the base model says to everybody.")
    source: Source | None
    source_reason: SourceReason | None
    adapter: ServedAdapterOut | None
    confidence: ConfidenceOut | None = Field(description="Null unless asked for, and where the adapter cannot tell.")
    preference: UsedPreferenceOut | None = Field(
        description="What the base model's score was computed with: that of the version which serves the user, else "
        "the user's own. Null: nobody's in particular, or the base model takes none."
    )
    branches: list[str] | None = Field(
        description="Which branches of the base model saw the image; fewer than it has is a degraded score. Null: "
        "it has none, or cannot tell.",
        examples=[["image", "posture"]],
    )
    match_id: UUID | None = Field(description="The match that the serving version started from.")
    base_model: BaseModelRef
    receipt_id: UUID | None = Field(description="Names this prediction in a correction.")
    job_id: UUID | None = Field(description="What a pending item waits for.")
    retry_after_s: int | None
    error: str | None

    @classmethod
    def of(cls, item: Prediction, base_model: BaseModelRef, now: datetime) -> PredictionOut:
        adapter = None
        if item.adapter is not None:
            adapter = ServedAdapterOut(
                id=item.adapter.id,
                number=item.adapter.number,
                digest=item.adapter.digest,
                trained_at=item.adapter.trained_at,
                age_s=max(0.0, (now - item.adapter.trained_at).total_seconds()),
            )
        return cls(
            user_id=item.user_id,
            image_id=item.image_id,
            status=item.status,
            scores=item.scores,
            generic=item.generic,
            source=item.source,
            source_reason=item.source_reason,
            adapter=adapter,
            confidence=ConfidenceOut.model_validate(item.confidence) if item.confidence else None,
            preference=UsedPreferenceOut.model_validate(item.preference) if item.preference else None,
            branches=list(item.branches) if item.branches is not None else None,
            match_id=item.adapter.match_id if item.adapter else None,
            base_model=base_model,
            receipt_id=item.receipt_id,
            job_id=item.job_id,
            retry_after_s=item.retry_after_s,
            error=item.error,
        )


class PredictionsOut(Out):
    """In the order asked."""

    items: list[PredictionOut]
    pending: int

    @classmethod
    def of(cls, answer: Answer, now: datetime) -> PredictionsOut:
        base_model = BaseModelRef.model_validate(answer.base_model)
        return cls(items=[PredictionOut.of(i, base_model, now) for i in answer.items], pending=answer.num_pending)
