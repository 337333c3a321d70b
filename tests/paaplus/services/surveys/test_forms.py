"""Forms: valid items, valid answers, and answers as numbers."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.services.surveys import form_answers, forms

FIRST, SECOND = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001", "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0002"
FORM: dict[str, Any] = {
    "title": "What do you like?",
    "items": [
        {"id": "people", "kind": "scale", "text": "People?", "min": 1, "max": 7, "labels": {"1": "no", "7": "yes"}},
        {"id": "warm", "kind": "scale", "text": "Warm?", "min": 0, "max": 1, "whole": False, "optional": True},
        {"id": "light", "kind": "choice", "text": "Light?", "options": ["dark", "bright"], "codes": [-1, 1]},
        {"id": "place", "kind": "choice", "text": "Where?", "options": ["sea", "city", "wood"], "optional": True},
        {"id": "order", "kind": "ranking", "text": "Best first", "options": ["x", "y", "z"], "optional": True},
        {"id": "pair", "kind": "image_pair", "text": "Better?", "first": FIRST, "second": SECOND, "aspect": "beauty",
         "optional": True},
    ],
}  # fmt: skip
ANSWERS = {"people": 5, "warm": 0.25, "light": "bright", "place": "city", "order": ["z", "x", "y"], "pair": "second"}
EXAMPLES = sorted((Path(__file__).parents[4] / "docs" / "examples" / "surveys").glob("*.json"))


def changed(item: int, **changes: Any) -> dict[str, Any]:
    form = copy.deepcopy(FORM)
    form["items"][item] |= changes
    return form


def test_answers_become_numbers_in_the_order_of_the_columns() -> None:
    form = forms.parse(FORM)
    answers = form_answers.check_answers(form, ANSWERS)
    assert answers == ANSWERS
    numbers = dict(zip(forms.columns(form), form_answers.encode(form, answers).tolist(), strict=True))
    assert numbers == {
        "people": 5, "warm": 0.25, "light": 1, "place=sea": 0, "place=city": 1, "place=wood": 0,
        "order:x": 0, "order:y": -1, "order:z": 1, "pair": -1,
    }  # fmt: skip
    assert form_answers.pair_columns(form).tolist() == [False] * 9 + [True]


def test_an_unanswered_item_has_no_number() -> None:
    form = forms.parse(FORM)
    answers = form_answers.check_answers(form, {"people": 1, "light": "dark", "warm": None})
    assert answers == {"people": 1, "light": "dark"}
    values = form_answers.encode(form, answers)
    assert values[[0, 2]].tolist() == [1, -1]
    assert np.isnan(values[[1, 3, 4, 5, 6, 7, 8, 9]]).all()
    assert math.isnan(form_answers.encode(form, {"pair": "cannot_say"})[-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"people": 8}, "people"),
        ({"people": 0}, "people"),
        ({"people": 4.5}, "people"),
        ({"people": "4"}, "people"),
        ({"people": True}, "people"),
        ({"people": None}, "people"),
        ({"warm": float("nan")}, "warm"),
        ({"warm": 1.5}, "warm"),
        ({"light": "other"}, "light"),
        ({"light": 1}, "light"),
        ({"order": ["x", "y"]}, "order"),
        ({"order": ["x", "y", "y"]}, "every option once"),
        ({"order": ["x", "y", "q"]}, "order"),
        ({"pair": "third"}, "pair"),
        ({"unknown": 1}, "unknown"),
        ({"\x00": 1}, "x00"),
        ({"\ud800": 1}, "unicode"),
        ({"light": "\ud800"}, "light"),
    ],
)
def test_answer_that_its_item_does_not_allow_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message) as refused:
        form_answers.check_answers(forms.parse(FORM), ANSWERS | change)
    str(refused.value).encode("ascii")


def test_answers_that_are_no_object_are_refused() -> None:
    for answers in ([], None, "people", 3):
        with pytest.raises(InvalidInput):
            form_answers.check_answers(forms.parse(FORM), answers)


@pytest.mark.parametrize(
    "form",
    [
        None,
        {},
        {"title": "t", "items": []},
        {"title": " ", "items": FORM["items"]},
        {"title": "t\x00", "items": FORM["items"]},
        {"title": "t", "items": FORM["items"][:1] * 2},
        {"title": "t", "items": [dict(FORM["items"][0], id=f"i{i}") for i in range(101)]},
        {"title": "t", "items": FORM["items"], "more": 1},
        changed(0, kind="other"),
        changed(0, id="with space"),
        changed(0, min=7),
        changed(0, min=0.5),
        changed(0, max=float("inf")),
        changed(0, labels={"8": "x"}),
        changed(0, labels={"one": "x"}),
        changed(0, labels={"nan": "x"}),
        changed(0, more=1),
        changed(2, codes=[1]),
        changed(2, options=["dark", "dark"]),
        changed(2, options=["dark"]),
        changed(4, options=["x", "x"]),
        changed(5, second=FIRST),
        changed(5, first="x"),
        changed(5, aspect=""),
    ],
)
def test_an_invalid_form_is_refused(form: Any) -> None:
    with pytest.raises(InvalidInput, match="not a form"):
        forms.parse(form)


def test_too_many_columns_are_refused() -> None:
    options = [f"option {i}" for i in range(50)]
    items = [{"id": f"i{i}", "kind": "choice", "text": "?", "options": options} for i in range(9)]
    assert forms.columns(forms.parse({"title": "t", "items": items[:8]}))
    with pytest.raises(InvalidInput, match="450 columns"):
        forms.parse({"title": "t", "items": items})


def test_same_questions_have_the_same_digest_and_others_another() -> None:
    reordered = {"items": FORM["items"], "title": FORM["title"]}
    assert forms.parse(reordered).digest == forms.parse(FORM).digest
    assert forms.parse(changed(0, max=9)).digest != forms.parse(FORM).digest
    assert forms.parse(forms.parse(FORM).to_dict()) == forms.parse(FORM)


def test_schema_of_answers_names_every_item_and_what_it_allows() -> None:
    schema = form_answers.answers_schema(forms.parse(FORM))
    assert set(schema["properties"]) == set(ANSWERS)
    assert schema["required"] == ["people", "light"]
    assert schema["additionalProperties"] is False
    assert (schema["properties"]["people"]["minimum"], schema["properties"]["people"]["maximum"]) == (1, 7)
    assert schema["properties"]["light"]["enum"] == ["dark", "bright"]
    json.dumps(schema)


def test_cells_of_a_table_become_answers() -> None:
    form = forms.parse(FORM)
    cells = {"people": " 5 ", "warm": "", "light": "-1", "place": "wood", "order": "z | x|y", "pair": "tie"}
    expected = {"people": 5, "light": "dark", "place": "wood", "order": ["z", "x", "y"], "pair": "tie"}
    assert form_answers.check_answers(form, form_answers.answers_from_text(form, cells)) == expected
    for cell in ({"people": "five"}, {"light": "7"}, {"light": "dim"}):
        with pytest.raises(InvalidInput, match=next(iter(cell))):
            form_answers.answers_from_text(form, cell)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_example_is_a_form(file: Path) -> None:
    assert forms.parse(json.loads(file.read_text())).items


def test_survey_of_the_paper_distinguishes_its_three_experts() -> None:
    file = next(file for file in EXAMPLES if file.stem == "paper-three-items")
    form = forms.parse(json.loads(file.read_text()))
    coded = {"ISFJ": (1, 1, 1), "ESFJ": (1, 1, -1), "ISTJ": (-1, -1, 1)}
    for codes in coded.values():
        cells = {item.id: str(code) for item, code in zip(form.items, codes, strict=True)}
        answers = form_answers.check_answers(form, form_answers.answers_from_text(form, cells))
        assert form_answers.encode(form, answers).tolist() == list(codes)
