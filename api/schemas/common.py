"""Shared parts of the schemas: strict numbers, printable text, pages, errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Generic, Protocol, TypeVar
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints


class In(BaseModel):
    """A request. An unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """An answer, built from a row or a record."""

    model_config = ConfigDict(from_attributes=True)


def _printable(text: str) -> str:
    # PostgreSQL cannot store NUL, and UTF-8 cannot encode a lone surrogate; no name needs characters of these kinds.
    if not text.isprintable():
        raise ValueError("must not contain control characters")
    return text


def _printable_lines(text: str) -> str:
    _printable("".join(text.split("\n")))
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _plausible(moment: datetime) -> datetime:
    if not 1900 <= moment.year <= 2200:
        raise ValueError("must be between 1900 and 2200")
    return moment


def _text_only(value: Any) -> Any:
    if not isinstance(value, str | datetime):
        raise ValueError("must be an ISO 8601 string with a time zone")
    return value


# Strict: pydantic would otherwise read `true` as 1 and "7" as 7.
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Whole = Annotated[int, Field(strict=True, le=2**31 - 1)]
Flag = Annotated[bool, Field(strict=True)]

Name = Annotated[str, StringConstraints(min_length=1, max_length=128), AfterValidator(_printable)]
Aspect = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_printable)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=2000), AfterValidator(_printable_lines)]
Moment = Annotated[AwareDatetime, BeforeValidator(_text_only), AfterValidator(_plausible)]
UserRef = Annotated[
    str,
    StringConstraints(min_length=1, max_length=256),
    AfterValidator(_printable),
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
    """The answer to every request that fails."""

    error: ErrorBody


ItemT = TypeVar("ItemT")


class _HasId(Protocol):
    @property
    def id(self) -> UUID: ...


class Page(BaseModel, Generic[ItemT]):
    """A page, newest first. `next_cursor` gets the next page; null on the last page."""

    items: list[ItemT]
    next_cursor: UUID | None = None


def next_cursor(rows: Sequence[_HasId], limit: int) -> UUID | None:
    """The cursor after these rows; None if fewer than `limit` rows were found."""
    return rows[-1].id if len(rows) == limit else None
