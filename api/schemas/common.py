"""Shared parts of the schemas: strict numbers, names, texts, times, pages, errors."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from paaplus.numbers import parse_number, parse_whole
from paaplus.texts import checked_id_characters, cleaned, trimmed_name, trimmed_text
from paaplus.times import parse_moment


class In(BaseModel):
    """A request. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer, built from a row or a record."""

    model_config = ConfigDict(from_attributes=True)


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in ("true", "false"):
            raise ValueError("must be true or false")
        return value == "true"
    return value


def _moment(value: Any) -> Any:
    # Pydantic itself would read the text "20261122" as seconds since 1970.
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be an ISO 8601 string with date, time and offset")
    return cleaned(parse_moment)(value)


# In a path or a query all numbers are texts. Pydantic itself would read `1_0` as 10.
WholeText = Annotated[int, BeforeValidator(cleaned(parse_whole))]
NumberText = Annotated[float, BeforeValidator(cleaned(parse_number))]
# "true" and "false" only: pydantic itself would also read "1", "on" and "yes".
FlagText = Annotated[bool, BeforeValidator(_flag)]
# Strict: pydantic would otherwise read `true` as 1 and "7" as 7.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, le=2**31 - 1)]
Flag = Annotated[bool, Field(strict=True)]

ItemT = TypeVar("ItemT")
# Many items of a request. The first wrong one is told: to tell of thousands holds up other requests.
Many = Annotated[list[ItemT], Field(fail_fast=True)]

# A name or text is normalized and trimmed before its length is looked at. An id is refused if that would change it.
Name = Annotated[str, BeforeValidator(cleaned(trimmed_name)), StringConstraints(min_length=1, max_length=128)]
Id = Annotated[str, BeforeValidator(cleaned(checked_id_characters)), StringConstraints(min_length=1, max_length=128)]
# What a stored name or id is compared with: no character that neither has, and that a database may refuse.
Sought = Annotated[str, BeforeValidator(cleaned(checked_id_characters)), StringConstraints(min_length=1)]
Aspect = Annotated[str, BeforeValidator(cleaned(checked_id_characters)), StringConstraints(min_length=1, max_length=64)]
Reason = Annotated[str, BeforeValidator(cleaned(trimmed_text)), StringConstraints(min_length=1, max_length=2000)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
OfUser = Annotated[
    str, BeforeValidator(cleaned(checked_id_characters)), StringConstraints(min_length=1, max_length=256)
]
UserRef = Annotated[
    str,
    BeforeValidator(cleaned(checked_id_characters)),
    StringConstraints(min_length=1, max_length=256),
    Field(
        description="The platform's UUID or the application's external id; for an admin `application/external_id`.",
        examples=["ada"],
    ),
]


class ReasonIn(In):
    """Reason for a change by hand; stored in the history."""

    reason: Reason = Field(examples=["the last update made portraits worse"])


class ErrorBody(BaseModel):
    code: str = Field(examples=["not_found"])
    message: str = Field(examples=["user 'ada' does not exist"])
    details: Any = None


class ErrorOut(BaseModel):
    """The answer to every request that fails: problem details (RFC 9457). `detail` and `error.message` are the same."""

    type: str = Field(examples=["urn:paaplus:error:not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    detail: str = Field(examples=["user 'ada' does not exist"])
    error: ErrorBody


class Page(BaseModel, Generic[ItemT]):
    """A page, newest first. `next_cursor` gets the next page; null on the last page."""

    items: list[ItemT]
    next_cursor: str | None = None
