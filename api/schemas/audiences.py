"""Audiences: one image, and its scores by every user."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from paaplus.api import cursors
from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.common import Aspect, In, Many, Out, UserRef, Whole
from paaplus.services.predictions.audiences import PAGE_USERS, TOP_MAX

USERS_MAX = 10_000


class AudienceIn(In):
    """An image, and whose scores of it are wanted. Without `users`: those of all users of its application."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"image": "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001", "top": 100}]}
    )

    image: UUID
    users: Many[UserRef] | None = Field(
        None, min_length=1, max_length=USERS_MAX, description="Only these users; not together with `cursor` or `limit`."
    )
    top: Whole | None = Field(
        None,
        ge=1,
        le=TOP_MAX,
        description="Only the users with the highest scores, so many, the highest first; not together with `cursor` or "
        "`limit`. Users whose version is damaged are left out.",
    )
    aspect: Aspect | None = Field(None, description="What `top` goes by; default: the base model's first aspect.")
    limit: Whole | None = Field(None, ge=1, le=PAGE_USERS, description=f"Users of a page; default: {PAGE_USERS:,}.")
    cursor: str | None = Field(None, max_length=cursors.MAX_CHARACTERS, description=cursors.DESCRIPTION)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.cursor is not None or self.limit is not None) and (self.users is not None or self.top is not None):
            raise ValueError("a page (cursor, limit) is of all users: give neither users nor top")
        return self


class AudienceOut(Out):
    """Scores of one image as columns: the same place in each is the same user. There are no receipts."""

    image_id: UUID
    base_model: BaseModelRef
    generic: dict[str, float] = Field(
        description="The generic scores of the base model, by aspect, without any preference.",
        examples=[{"beauty": 5.9}],
    )
    user_id: list[UUID]
    external_id: list[str] = Field(description="The application's own ids of the users.", examples=[["ada"]])
    scores: dict[str, list[float | None]] = Field(
        description="By aspect, of each user, 0 to 10; null: the user's version is damaged, see `failed`.",
        examples=[{"beauty": [8.2]}],
    )
    version: list[int | None] = Field(
        description="The user's version that gave the scores; null: the base model gave them.", examples=[[3]]
    )
    failed: dict[int, str] = Field(description="By place, what is wrong with a version. Its user has no scores.")
    next_cursor: str | None = Field(description="Gets the next page; null on the last page, and with `users` or `top`.")
