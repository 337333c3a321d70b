"""Surveys: forms, users' answers, and the encoders that turn answers into preferences."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from paaplus.api.schemas.common import In, Name, Out
from paaplus.api.schemas.users import Application
from paaplus.db.tables import SurveyRow
from paaplus.services.surveys.form_answers import answers_schema
from paaplus.services.surveys.forms import NAME_PATTERN, Form, parse
from paaplus.services.surveys.surveys import MAX_DOMAIN

SurveyName = Annotated[str, StringConstraints(pattern=NAME_PATTERN), Field(examples=["first-look"])]
Domain = Annotated[
    Name,
    StringConstraints(max_length=MAX_DOMAIN),
    Field(description="The kind of objects that the survey is about.", examples=["photographs"]),
]

FORM_EXAMPLE: dict[str, Any] = {
    "title": "What do you like to look at?",
    "items": [
        {"id": "people", "kind": "scale", "text": "I like pictures of people", "min": 1, "max": 7},
        {
            "id": "colour",
            "kind": "choice",
            "text": "Rather",
            "options": ["black and white", "colour"],
            "codes": [-1, 1],
        },
        {"id": "order", "kind": "ranking", "text": "Best first", "options": ["sea", "city", "wood"], "optional": True},
    ],
}
ANSWERS_EXAMPLE: dict[str, Any] = {"answers": {"people": 5, "colour": "colour", "order": ["wood", "sea", "city"]}}


class SurveyIn(In):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "first-look", "domain": "photographs", "form": FORM_EXAMPLE}]}
    )

    application: Application | None = Field(None, description="Needed with an admin key.")
    name: SurveyName
    domain: Domain
    form: Form


class SurveyOut(Out):
    """One immutable version of a survey."""

    id: UUID
    application: str
    name: str
    version: int
    domain: str
    digest: str = Field(description="Digest of the form.")
    form: dict[str, Any]
    answers_schema: dict[str, Any] = Field(description="JSON Schema of its answers.")
    retired_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, row: SurveyRow) -> SurveyOut:
        return cls(
            id=row.id,
            application=row.application,
            name=row.name,
            version=row.version,
            domain=row.domain,
            digest=row.digest,
            form=row.form,
            answers_schema=answers_schema(parse(row.form)),
            retired_at=row.retired_at,
            created_at=row.created_at,
        )


class SurveyAnswersIn(In):
    model_config = ConfigDict(json_schema_extra={"examples": [ANSWERS_EXAMPLE]})

    answers: dict[str, Any] = Field(description="Answers by item id, as the survey's `answers_schema` describes them.")


class SurveyAnswersOut(Out):
    """A user's answers in force."""

    user_id: UUID
    survey: str
    version: int
    answers: dict[str, Any]
    answered_at: datetime


class SurveyAnsweredOut(SurveyAnswersOut):
    """The stored answers. `is_new`: they differ from the answers before."""

    is_new: bool
    num_comparisons: int = Field(description="Number of answers about image pairs that were added to the feedback log.")


class PreferenceEncoderOut(Out):
    """An encoder of answers into preferences. The newest that is not retired is in force."""

    id: UUID
    survey_id: UUID
    base_model_id: UUID
    version: int
    digest: str
    num_people: int
    metrics: dict[str, Any] = Field(
        description="`gain`: the share of people's squared deviation from the base model's score that answers explain, "
        "cross-validated, with its 95 % interval; of `of`."
    )
    retired_at: datetime | None
    stale_at: datetime | None = Field(description="Since then, a user that it was learned from has been erased.")
    created_at: datetime


class PreferenceEncodersOut(Out):
    items: list[PreferenceEncoderOut]
