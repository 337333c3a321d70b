"""A user's preference feature."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from paaplus.api.schemas.common import In, Number, Out
from paaplus.services.surveys.preferences import MAX_VALUES

PreferenceValue = Annotated[Number, Field(ge=0, le=1)]


class PreferenceIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [{"preference": [0.5, 0.8, 0.5, 0.2, 0.5]}]})

    preference: list[PreferenceValue] = Field(
        min_length=1,
        max_length=MAX_VALUES,
        description="From 0 to 1 each, 0.5 for nobody in particular; as many as the default base model takes.",
    )


class PreferenceOut(Out):
    """The preference that is in force."""

    user_id: UUID
    preference: list[float]
    version: int = Field(description="Counts its changes.")
    preference_encoder_id: UUID | None = Field(description="What made it of a survey; null: given by hand.")
    num_values_taken: int = Field(
        description="How many values the default base model takes: 0 if its scores know no preference, and ignore it."
    )
    updated_at: datetime
