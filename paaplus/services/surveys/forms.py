"""Forms of surveys: what may be asked, what an answer must look like, and answers as numbers.

A form is data; the model that checks answers is made from it, and is the JSON Schema that the API shows.
Shape letters: Q = columns of answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, Self
from uuid import UUID

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex

MAX_ITEMS: Final = 100
MAX_OPTIONS: Final = 50
MAX_RANKED: Final = 20
MAX_COLUMNS: Final = 400
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"

PairAnswer = Literal["first", "second", "tie", "cannot_say"]
_PAIR_VALUE: Final[Mapping[str, float]] = {"first": 1.0, "second": -1.0, "tie": 0.0, "cannot_say": math.nan}


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("must be printable text, not blank")
    return text


Text = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_printable)]
Option = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_printable)]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=-1e6, le=1e6)]


class _Item(BaseModel):
    """What every item has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=NAME_PATTERN)]
    text: Text
    optional: Annotated[bool, Field(strict=True)] = False


class ScaleItem(_Item):
    """A number from `min` to `max`, whole unless `whole` is false; `labels` names some of them."""

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
                value = float(name)
            except ValueError:
                raise ValueError(f"label {name!r} names no number") from None
            if not self.min <= value <= self.max:
                raise ValueError(f"label {name!r} is not on the scale {self.min} to {self.max}")
        return self


class ChoiceItem(_Item):
    """One of the options. With `codes` the options are numbers on one line, else each stands for itself."""

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
    """All options, best first."""

    kind: Literal["ranking"]
    options: Annotated[list[Option], Field(min_length=2, max_length=MAX_RANKED)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_distinct(self.options)
        return self


class ImagePairItem(_Item):
    """Which of two images of the application is better in one aspect."""

    kind: Literal["image_pair"]
    first: UUID
    second: UUID
    aspect: Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_printable)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.first == self.second:
            raise ValueError(f"a pair needs two images, got {self.first} twice")
        return self


Item = Annotated[ScaleItem | ChoiceItem | RankingItem | ImagePairItem, Field(discriminator="kind")]


class Form(BaseModel):
    """A survey's questions, in order."""

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
        """Names the form: the same questions, the same digest."""
        return sha256_hex(json.dumps(self.to_dict(), sort_keys=True).encode())


def _check_distinct(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise ValueError("none may be there twice: " + ", ".join(sorted({n for n in names if names.count(n) > 1})))


def parse(form: Any) -> Form:
    """The form in a JSON document.

    Raises:
        InvalidInput: it is none; the message says where.
    """
    try:
        return Form.model_validate(form)
    except ValidationError as error:
        raise InvalidInput(f"not a form: {_told(error)}") from error


def answers_schema(form: Form) -> dict[str, Any]:
    """JSON Schema of the answers to a form."""
    return _answers_model(form.model_dump_json()).model_json_schema(by_alias=True)


def check_answers(form: Form, answers: Any) -> dict[str, Any]:
    """Answers by item id as they are kept: in the order of the form, without those that were left out.

    Raises:
        InvalidInput: an unknown item, one that is missing, or an answer that its item does not allow.
    """
    try:
        checked = _answers_model(form.model_dump_json()).model_validate(answers)
    except ValidationError as error:
        raise InvalidInput(f"answers do not fit the form: {_told(error)}") from error
    values = checked.model_dump(by_alias=True)
    return {item.id: values[item.id] for item in form.items if values[item.id] is not None}


def answers_from_text(form: Form, text: Mapping[str, str]) -> dict[str, Any]:
    """Answers as a table holds them, unchecked: empty cells are left out, a ranking has | between its options.

    Raises:
        InvalidInput: a cell of a scale that is no number.
    """
    answers: dict[str, Any] = {}
    for item in form.items:
        cell = (text.get(item.id) or "").strip()
        if not cell:
            continue
        if isinstance(item, RankingItem):
            answers[item.id] = [option.strip() for option in cell.split("|")]
        elif isinstance(item, ScaleItem):
            try:
                value = float(cell)
            except ValueError:
                raise InvalidInput(f"{item.id}: {cell[:40]!r} is not a number") from None
            answers[item.id] = int(value) if item.whole and value.is_integer() else value
        elif isinstance(item, ChoiceItem) and item.codes is not None and cell not in item.options:
            answers[item.id] = _option_of_code(item, cell)
        else:
            answers[item.id] = cell
    return answers


def _option_of_code(item: ChoiceItem, cell: str) -> str:
    """A choice that a table holds as its number."""
    codes = item.codes or []
    try:
        return item.options[codes.index(float(cell))]
    except ValueError:
        raise InvalidInput(f"{item.id}: {cell[:40]!r} is neither an option nor one of the codes {codes}") from None


def columns(form: Form) -> list[str]:
    """Names of the numbers that answers become, see `encode`."""
    return [name for item in form.items for name in _columns_of(item)]


def pair_columns(form: Form) -> np.ndarray:
    """Which columns are about a pair of images, shape (Q,), bool: what they say is in the feedback log as well."""
    return np.array([isinstance(item, ImagePairItem) for item in form.items for _ in _columns_of(item)])


def encode(form: Form, answers: Mapping[str, Any]) -> np.ndarray:
    """Checked answers as numbers, shape (Q,), float64; NaN where nothing was said."""
    values: list[float] = []
    for item in form.items:
        answer = answers.get(item.id)
        num_columns = len(_columns_of(item))
        values += [math.nan] * num_columns if answer is None else _values(item, answer)
    return np.array(values, np.float64)


def _columns_of(item: Item) -> list[str]:
    if isinstance(item, RankingItem):
        return [f"{item.id}:{option}" for option in item.options]
    if isinstance(item, ChoiceItem) and item.codes is None:
        return [f"{item.id}={option}" for option in item.options]
    return [item.id]


def _values(item: Item, answer: Any) -> list[float]:
    if isinstance(item, ScaleItem):
        return [float(answer)]
    if isinstance(item, RankingItem):
        last = len(item.options) - 1
        return [1.0 - 2.0 * answer.index(option) / last for option in item.options]
    if isinstance(item, ChoiceItem):
        if item.codes is not None:
            return [item.codes[item.options.index(answer)]]
        return [float(option == answer) for option in item.options]
    return [_PAIR_VALUE[answer]]


@lru_cache(maxsize=64)
def _answers_model(form_json: str) -> type[BaseModel]:
    """The model that checks answers to a form; one per form, because making it takes milliseconds."""
    form = Form.model_validate_json(form_json)
    fields: dict[str, Any] = {}
    for position, item in enumerate(form.items):
        answer = _answer_type(item)
        about = Field(None if item.optional else ..., alias=item.id, description=item.text)
        fields[f"item_{position}"] = (answer | None if item.optional else answer, about)
    return create_model("Answers", __config__=ConfigDict(extra="forbid", title=form.title), **fields)


def _answer_type(item: Item) -> Any:
    if isinstance(item, ScaleItem):
        if item.whole:
            return Annotated[int, Field(strict=True, ge=int(item.min), le=int(item.max))]
        return Annotated[float, Field(strict=True, allow_inf_nan=False, ge=item.min, le=item.max)]
    if isinstance(item, ChoiceItem):
        return Literal[tuple(item.options)]
    if isinstance(item, RankingItem):
        size = len(item.options)
        return Annotated[
            list[Literal[tuple(item.options)]],  # type: ignore[misc]
            Field(min_length=size, max_length=size, json_schema_extra={"uniqueItems": True}),
            AfterValidator(_all_ranked),
        ]
    return PairAnswer


def _all_ranked(order: list[str]) -> list[str]:
    if len(set(order)) != len(order):
        raise ValueError("every option once")
    return order


def _told(error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])[:200]
    told = f"{where}: {first['msg'][:200]}" if where else first["msg"][:200]
    return told.encode("unicode_escape").decode()  # names of fields are the caller's, and may hold anything
