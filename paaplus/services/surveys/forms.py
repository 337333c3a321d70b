"""Forms of surveys: the items that may be asked, and the columns that answers are encoded in."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.numbers import parse_number
from paaplus.texts import cleaned, trimmed_name, trimmed_text

MAX_ITEMS: Final = 100
MAX_OPTIONS: Final = 50
MAX_RANKED: Final = 20
MAX_COLUMNS: Final = 400
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"


Text = Annotated[str, BeforeValidator(cleaned(trimmed_text)), Field(min_length=1, max_length=500)]
Option = Annotated[str, BeforeValidator(cleaned(trimmed_name)), Field(min_length=1, max_length=100)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e6)]


class _Item(BaseModel):
    """Fields of every item."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=NAME_PATTERN)]
    text: Text
    optional: Annotated[bool, Field(strict=True)] = False


class ScaleItem(_Item):
    """A number from `min` to `max`, an integer unless `whole` is false. `labels` gives names to some numbers."""

    kind: Literal["scale"]
    min: Finite
    max: Finite
    whole: Annotated[bool, Field(strict=True)] = True
    labels: Annotated[dict[str, Option], Field(max_length=MAX_OPTIONS)] = {}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.min < self.max:
            raise ValueError(f"min {self.min} must be below max {self.max}")
        if self.whole and not (self.min.is_integer() and self.max.is_integer()):
            raise ValueError("min and max of a scale of whole numbers must be whole")
        for name in self.labels:
            try:
                value = parse_number(name)
            except InvalidInput as error:
                raise ValueError(f"label {error}") from None
            if not self.min <= value <= self.max:
                raise ValueError(f"label {name!r} is not on the scale {self.min} to {self.max}")
        return self


class ChoiceItem(_Item):
    """One of several options. With `codes` an option is encoded as its number, otherwise as one column per option."""

    kind: Literal["choice"]
    options: Annotated[list[Option], Field(min_length=2, max_length=MAX_OPTIONS)]
    codes: Annotated[list[Finite], Field(max_length=MAX_OPTIONS)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct(self.options)
        if self.codes is not None and len(self.codes) != len(self.options):
            raise ValueError(f"{len(self.codes)} codes for {len(self.options)} options")
        return self


class RankingItem(_Item):
    """An order of all options, best first."""

    kind: Literal["ranking"]
    options: Annotated[list[Option], Field(min_length=2, max_length=MAX_RANKED)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct(self.options)
        return self


class ImagePairItem(_Item):
    """A comparison of two images of the application in one aspect."""

    kind: Literal["image_pair"]
    first: UUID
    second: UUID
    aspect: Annotated[str, BeforeValidator(cleaned(trimmed_name)), Field(min_length=1, max_length=64)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"a pair needs two images, got {self.first} twice")
        return self


Item = Annotated[ScaleItem | ChoiceItem | RankingItem | ImagePairItem, Field(discriminator="kind")]


class Form(BaseModel):
    """A survey's items, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Text
    items: Annotated[list[Item], Field(min_length=1, max_length=MAX_ITEMS)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct([item.id for item in self.items])
        if (count := len(columns(self))) > MAX_COLUMNS:
            raise ValueError(f"{count} columns of answers; at most {MAX_COLUMNS} are accepted")
        return self

    @property
    def pairs(self) -> list[ImagePairItem]:
        return [item for item in self.items if isinstance(item, ImagePairItem)]

    def to_dict(self) -> dict[str, Any]:
        return self.model_dump(mode="json")

    @property
    def digest(self) -> str:
        """SHA-256 of the form's JSON."""
        return sha256_hex(json.dumps(self.to_dict(), sort_keys=True).encode())


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError("duplicates: " + ", ".join(sorted({n for n in names if names.count(n) > 1})))


def parse(form: Any) -> Form:
    """Parse a form.

    Raises:
        InvalidInput: it is not a form; the message says where.
    """
    try:
        return Form.model_validate(form)
    except ValidationError as error:
        raise InvalidInput(f"not a form: {first_problem(error)}") from error


def columns(form: Form) -> list[str]:
    """Names of the columns that answers are encoded in, see `form_answers.encode`."""
    return [name for item in form.items for name in columns_of(item)]


def columns_of(item: Item) -> list[str]:
    """Names of one item's columns."""
    if isinstance(item, RankingItem):
        return [f"{item.id}:{option}" for option in item.options]
    if isinstance(item, ChoiceItem) and item.codes is None:
        return [f"{item.id}={option}" for option in item.options]
    return [item.id]


def first_problem(error: ValidationError) -> str:
    """The first problem of a validation, with its place, as printable text."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:200]
    message = f"{where}: {first['msg'][:200]}" if where else first["msg"][:200]
    return message.encode("unicode_escape").decode()  # the caller chooses field names, which may hold anything
