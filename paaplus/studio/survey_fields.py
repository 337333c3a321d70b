"""Fields of a form, made from the JSON schema of its answers, and the answers of a form that was sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number

FEW: Final = 11  # values of a scale, and options of a choice, that are shown beside each other
Kind = Literal["buttons", "number", "list", "order"]


@dataclass(frozen=True, slots=True)
class Field:
    """One field: how it is asked, and what its schema allows.

    Attributes:
        kind: "buttons": one of few values; "number"; "list": one of many; "order": all options, best first.
        values: the values of buttons, a list or an order.
        low, high: of a number.
    """

    id: str
    text: str
    kind: Kind
    is_required: bool
    values: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    is_whole: bool = False


def fields_of(schema: Mapping[str, Any]) -> list[Field]:
    """The fields of a JSON schema of an object, in its order.

    Raises:
        InvalidInput: a property of a kind that has no field.
    """
    required = set(schema.get("required", ()))
    return [_field(name, about, name in required) for name, about in schema.get("properties", {}).items()]


def _field(name: str, about: Mapping[str, Any], is_required: bool) -> Field:
    text = str(about.get("description") or about.get("title") or name)
    kinds = [each for each in about.get("anyOf", [about]) if each.get("type") != "null"]
    if len(kinds) != 1:
        raise InvalidInput(f"{name}: a field needs one type, not {len(kinds)}")
    schema = kinds[0]
    if "enum" in schema or "const" in schema:
        values = tuple(schema.get("enum", [schema.get("const")]))
        return Field(name, text, "buttons" if len(values) <= FEW else "list", is_required, values)
    if schema.get("type") == "array" and "enum" in schema.get("items", {}):
        return Field(name, text, "order", is_required, tuple(schema["items"]["enum"]))
    if schema.get("type") in ("integer", "number"):
        low, high, is_whole = schema.get("minimum"), schema.get("maximum"), schema["type"] == "integer"
        if is_whole and low is not None and high is not None and high - low < FEW:
            return Field(name, text, "buttons", is_required, tuple(range(int(low), int(high) + 1)), low, high, True)
        return Field(name, text, "number", is_required, (), low, high, is_whole)
    raise InvalidInput(f"{name}: no field for {schema.get('type')!r:.40}")


def given_answers(fields: list[Field], form: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of a form that was sent: typed where they can be, and as they were typed where not.

    What was left empty is left out. Whether the answers are right is for the schema to say.
    """
    answers: dict[str, Any] = {}
    for field in fields:
        if field.kind == "order":
            order = [str(form.get(f"{field.id}:{place}") or "") for place in range(len(field.values))]
            if any(order):
                answers[field.id] = order
            continue
        text = str(form.get(field.id) or "").strip()
        if text:
            answers[field.id] = _number(text) if field.low is not None or field.kind == "number" else text
    return answers


def _number(text: str) -> Any:
    """The number of a text; the text itself if it is none."""
    try:
        value = parse_number(text)
    except InvalidInput:
        return text
    return int(value) if value.is_integer() else value
