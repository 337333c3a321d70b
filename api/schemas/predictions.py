"""Predictions: requested users and images, and their scores."""

from __future__ import annotations

from datetime import datetime
from itertools import repeat
from typing import Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.common import Flag, In, Many, Number, Out, UserRef
from paaplus.api.schemas.feedback import RECEIPT_EXAMPLE
from paaplus.services.predictions.answers import Answer, Asked, Prediction, by_user
from paaplus.services.predictions.serving import ServedAdapter, Source, SourceReason


class PredictionItemIn(In):
    user: UserRef
    image: UUID


class PredictionsIn(In):
    """Either `items`, or `users` and `images` for every pair of both."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"users": ["ada"], "images": ["0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"]}]}
    )

    items: Many[PredictionItemIn] | None = Field(None, min_length=1)
    users: Many[UserRef] | None = Field(None, min_length=1)
    images: Many[UUID] | None = Field(None, min_length=1)
    wait_s: Number = Field(0.0, ge=0, description="Longest time to wait for images without features, in seconds.")
    confidence: Flag = Field(False, description="Add the uncertainty of each score.")
    receipts: Flag = Field(
        True, description="False: the answer has no receipts, and is shorter; then no correction can name these scores."
    )
    compact: Flag = Field(
        False, description="Answer with columns instead of items, and what a user's items have in common once."
    )

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

    def asked(self) -> list[Asked]:
        """What is asked, by user."""
        if self.items is not None or len(set(self.users or [])) < len(self.users or []):
            return by_user(self.wanted())
        users, image_ids = self.users or [], self.images or []
        num = len(image_ids)
        places = [range(start, start + num) for start in range(0, num * len(users), num)]
        return list(zip(users, repeat(image_ids), places, strict=False))

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
    age_s: float = Field(description="Seconds since its training.")

    @classmethod
    def of(cls, served: ServedAdapter, now: datetime) -> ServedAdapterOut:
        return cls(
            id=served.id,
            number=served.number,
            digest=served.digest,
            trained_at=served.trained_at,
            age_s=max(0.0, (now - served.trained_at).total_seconds()),
        )


class ConfidenceOut(Out):
    """Standard deviations by aspect, in score points."""

    score_sd: dict[str, float] = Field(
        description="Standard deviation of the user's score.", examples=[{"beauty": 0.6}]
    )
    rating_sd: dict[str, float] = Field(
        description="Standard deviation of a rating by the user.", examples=[{"beauty": 1.9}]
    )


class UsedPreferenceOut(Out):
    """The user's preference, an input of some base models."""

    values: tuple[float, ...] = Field(examples=[[0.5, 0.8, 0.5, 0.2, 0.5]])
    version: int | None = Field(description="Number of the preference's change; null if unknown.")


class PredictionOut(Out):
    """One prediction. `source` says where the scores come from: the user's adapter, a match that was not yet trained on
    the user's feedback, or the base model; `source_reason` says why."""

    user_id: UUID
    image_id: UUID
    status: Literal["scored", "pending", "failed"]
    scores: dict[str, float] | None = Field(examples=[{"beauty": 6.1}])
    generic: dict[str, float] | None = Field(description="The generic scores of the base model.")
    source: Source | None
    source_reason: SourceReason | None
    adapter: ServedAdapterOut | None
    confidence: ConfidenceOut | None = Field(
        description="Null if it was not requested, or if the adapter kind has none."
    )
    preference: UsedPreferenceOut | None = Field(
        description="The preference that the base model's score was computed with: that of the active version, else "
        "the user's current one. Null: the user has none, or the base model takes none."
    )
    branches: list[str] | None = Field(
        description="The branches of the base model that scored the image; with fewer than all, the score is degraded. "
        "Null: it has no branches, or they are unknown.",
        examples=[["image", "posture"]],
    )
    match_id: UUID | None = Field(description="The match that the version started from.")
    base_model: BaseModelRef
    receipt_id: str | None = Field(
        description="A correction refers to this prediction by it: a signed text, which the caller keeps.",
        examples=[RECEIPT_EXAMPLE],
    )
    job_id: UUID | None = Field(description="The job that a pending item waits for.")
    retry_after_s: int | None
    error: str | None

    @classmethod
    def of(cls, item: Prediction, base_model: BaseModelRef, now: datetime) -> PredictionOut:
        return cls(
            user_id=item.user_id,
            image_id=item.image_id,
            status=item.status,
            scores=item.scores,
            generic=item.generic,
            source=item.source,
            source_reason=item.source_reason,
            adapter=ServedAdapterOut.of(item.adapter, now) if item.adapter is not None else None,
            confidence=ConfidenceOut.model_validate(item.confidence) if item.confidence else None,
            preference=UsedPreferenceOut.model_validate(item.preference) if item.preference else None,
            branches=list(item.branches) if item.branches is not None else None,
            match_id=item.adapter.match_id if item.adapter else None,
            base_model=base_model,
            receipt_id=item.receipt,
            job_id=item.job_id,
            retry_after_s=item.retry_after_s,
            error=item.error,
        )


class PredictionsOut(Out):
    """The predictions in the order of the request."""

    items: list[PredictionOut]
    pending: int
    receipts_stored: bool = Field(True, description="Always true: receipts are signed, so they need no room.")

    @classmethod
    def of(cls, answer: Answer, now: datetime) -> PredictionsOut:
        base_model = BaseModelRef.model_validate(answer.base_model)
        return cls(
            items=[PredictionOut.of(i, base_model, now) for i in answer.items],
            pending=answer.num_pending,
        )


class ScoredUserOut(Out):
    """What all scores of one user have in common; the fields are those of an item, see the readable answer."""

    user_id: UUID
    source: Source
    source_reason: SourceReason
    adapter: ServedAdapterOut | None
    preference: UsedPreferenceOut | None
    match_id: UUID | None


class PredictionColumnsOut(Out):
    """The compact answer: the predictions as columns, in the order of the request."""

    base_model: BaseModelRef
    users: list[ScoredUserOut] = Field(description="Users with a score, each once.")
    user: list[int | None] = Field(description="Of each item, the place in `users`; null: the item has no score.")
    scores: dict[str, list[float | None]] = Field(
        description="By aspect, of each item.", examples=[{"beauty": [6.1, None]}]
    )
    generic: dict[str, list[float | None]] = Field(description="The generic scores of the base model, likewise.")
    confidence: dict[str, dict[str, list[float | None]]] | None = Field(
        description="Standard deviations, by `score_sd` and `rating_sd` and by aspect. Null if they were not requested."
    )
    branches: list[list[str] | None] | None = Field(description="Of each item. Null if no item has any.")
    receipt_id: list[str | None] | None = Field(description="Of each item. Null if no receipts were requested.")
    unscored: dict[int, PredictionOut] = Field(
        description="The items without a score, pending or failed, by their place in the request."
    )
    pending: int
