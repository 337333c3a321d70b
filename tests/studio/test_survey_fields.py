"""A form's fields come from its JSON schema, and what was sent comes back typed."""

from __future__ import annotations

import pytest

from paaplus.errors import InvalidInput
from paaplus.services.surveys import form_answers, forms
from paaplus.studio.survey_fields import Field, fields_of, given_answers

FORM = forms.parse(
    {
        "title": "T",
        "items": [
            {"id": "people", "kind": "scale", "text": "People", "min": 1, "max": 7},
            {"id": "share", "kind": "scale", "text": "Share", "min": 0, "max": 1, "whole": False, "optional": True},
            {"id": "town", "kind": "choice", "text": "Town", "options": [f"town {n}" for n in range(20)]},
            {"id": "one", "kind": "choice", "text": "One", "options": ["2", "3"]},
            {"id": "order", "kind": "ranking", "text": "Order", "options": ["sea", "city"], "optional": True},
        ],
    }
)
FIELDS = fields_of(form_answers.answers_schema(FORM))


def test_every_kind_of_item_has_its_field() -> None:
    assert [(field.id, field.kind, field.is_required) for field in FIELDS] == [
        ("people", "buttons", True),
        ("share", "number", False),
        ("town", "list", True),
        ("one", "buttons", True),
        ("order", "order", False),
    ]
    assert FIELDS[0].values == (1, 2, 3, 4, 5, 6, 7)
    assert (FIELDS[1].low, FIELDS[1].high, FIELDS[1].is_whole) == (0.0, 1.0, False)
    assert FIELDS[4].values == ("sea", "city")


def test_what_was_sent_is_typed_and_fits_the_schema() -> None:
    sent = {"people": "5", "share": " 0.25 ", "town": "town 3", "one": "2", "order:0": "city", "order:1": "sea"}
    given = given_answers(FIELDS, sent | {"token": "x"})
    assert given == {"people": 5, "share": 0.25, "town": "town 3", "one": "2", "order": ["city", "sea"]}
    assert form_answers.problems(FORM, given) == {}
    assert form_answers.check_answers(FORM, given) == given


def test_every_wrong_answer_is_told_at_its_own_item() -> None:
    given = given_answers(FIELDS, {"people": "9", "share": "much", "town": "nowhere", "order:0": "sea"})
    assert form_answers.problems(FORM, given) == {
        "people": "range",
        "share": "number",
        "town": "option",
        "one": "missing",
        "order": "option",
    }
    assert form_answers.problems(FORM, {"people": 2.5, "town": "town 1", "one": "2", "order": ["sea", "sea"]}) == {
        "people": "number",
        "order": "order",
    }
    assert form_answers.problems(FORM, {"people": 2, "town": "town 1", "one": "2", "more": 1}) == {"more": "unknown"}


def test_a_schema_without_a_field_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no field"):
        fields_of({"properties": {"x": {"type": "object"}}})
    assert fields_of({"properties": {"x": {"type": "number"}}}) == [Field("x", "x", "number", False)]
