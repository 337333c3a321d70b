"""Answers to a survey's form: checked, read from a table, and encoded as numbers.

A pydantic model is built from each form. It checks answers, and gives the JSON Schema that the API publishes.
Shape letters: Q = columns of answers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number
from paaplus.services.surveys.forms import (
    ChoiceItem,
    Form,
    ImagePairItem,
    Item,
    RankingItem,
    ScaleItem,
    columns_of,
    first_problem,
)

PairAnswer = Literal["first", "second", "tie", "cannot_say"]
# What pydantic calls the ways in which an answer can be wrong.
_PROBLEMS: Final[Mapping[str, str]] = {
    "missing": "missing",
    **dict.fromkeys(("int_type", "int_from_float", "float_type", "finite_number"), "number"),
    **dict.fromkeys(("greater_than_equal", "less_than_equal"), "range"),
    **dict.fromkeys(("literal_error", "string_type"), "option"),
    **dict.fromkeys(("too_short", "too_long", "value_error", "list_type"), "order"),
}
_PAIR_VALUE: Final[Mapping[str, float]] = {"first": 1.0, "second": -1.0, "tie": 0.0, "cannot_say": math.nan}


def answers_schema(form: Form) -> dict[str, Any]:
    """JSON Schema of the answers to a form."""
    return _answers_model(form.model_dump_json()).model_json_schema(by_alias=True)


def check_answers(form: Form, answers: Any) -> dict[str, Any]:
    """Check answers by item id; returns them in the order of the form, without unanswered items.

    Raises:
        InvalidInput: an unknown item, a missing item, or an answer that its item does not allow.
    """
    try:
        checked = _answers_model(form.model_dump_json()).model_validate(answers)
    except ValidationError as error:
        raise InvalidInput(f"answers do not fit the form: {first_problem(error)}") from error
    values = checked.model_dump(by_alias=True)
    return {item.id: values[item.id] for item in form.items if values[item.id] is not None}


def problems(form: Form, answers: Any) -> dict[str, str]:
    """What is wrong with each answer, by item id: "missing", "number", "range", "option", "order" or "unknown".

    Empty: `check_answers` takes the answers. One problem of each item is told.
    """
    try:
        _answers_model(form.model_dump_json()).model_validate(answers)
    except ValidationError as error:
        found: dict[str, str] = {}
        for each in error.errors(include_input=False, include_url=False, include_context=False):
            item_id = str(each["loc"][0]) if each["loc"] else ""
            found.setdefault(item_id, _PROBLEMS.get(each["type"], "unknown"))
        return found
    return {}


def answers_from_text(form: Form, text: Mapping[str, str], decimal_mark: str = ".") -> dict[str, Any]:
    """Read unchecked answers from a table's row. Empty cells are skipped; options of a ranking are separated by |.

    Raises:
        InvalidInput: a cell of a scale is not a number.
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
                value = parse_number(cell, decimal_mark)
            except InvalidInput as error:
                raise InvalidInput(f"column {item.id!r}: {error}") from None
            answers[item.id] = int(value) if item.whole and value.is_integer() else value
        elif isinstance(item, ChoiceItem) and item.codes is not None and cell not in item.options:
            answers[item.id] = _option_of_code(item, cell, decimal_mark)
        else:
            answers[item.id] = cell
    return answers


def _option_of_code(item: ChoiceItem, cell: str, decimal_mark: str) -> str:
    """The option of a code in a table's cell."""
    codes = item.codes or []
    try:
        return item.options[codes.index(parse_number(cell, decimal_mark))]
    except (InvalidInput, ValueError):
        raise InvalidInput(
            f"column {item.id!r}: {cell[:40]!r} is neither an option nor one of the codes {codes}"
        ) from None


def pair_columns(form: Form) -> np.ndarray:
    """Which columns are of image pairs, shape (Q,), bool. Answers to them are in the feedback log too."""
    return np.array([isinstance(item, ImagePairItem) for item in form.items for _ in columns_of(item)])


def encode(form: Form, answers: Mapping[str, Any]) -> np.ndarray:
    """Encode checked answers as numbers, shape (Q,), float64; NaN for unanswered items."""
    values: list[float] = []
    for item in form.items:
        answer = answers.get(item.id)
        num_columns = len(columns_of(item))
        values += [math.nan] * num_columns if answer is None else _values(item, answer)
    return np.array(values, np.float64)


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
    """The pydantic model of answers to a form. Cached, because building one takes milliseconds."""
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
