"""A user's preference."""

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
        description="Each between 0 and 1; 0.5 is neutral. As many as the default base model takes.",
    )


class PreferenceOut(Out):
    """The preference in force."""

    user_id: UUID
    preference: list[float]
    version: int = Field(description="Number of its changes.")
    preference_encoder_id: UUID | None = Field(description="The survey encoder that computed it; null: set by hand.")
    num_values_taken: int = Field(
        description="Number of values that the default base model uses; 0 if it uses no preference."
    )
    updated_at: datetime
