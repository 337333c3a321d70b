"""Surveys over HTTP: create, read, answer, and what learning hears of it."""

from __future__ import annotations

from typing import Any

import pytest

from paaplus.services.surveys.forms import MAX_ITEMS
from tests.api.conftest import Caller, World

SCALE = {"id": "people", "kind": "scale", "text": "People?", "min": 1, "max": 7}


def form(world: World, title: str = "t") -> dict[str, Any]:
    pair = {"id": "pair", "kind": "image_pair", "text": "Better?", "first": str(world.images[0]),
            "second": str(world.images[1]), "aspect": "beauty", "optional": True}  # fmt: skip
    return {"title": title, "items": [SCALE, pair]}


def create(world: World, **changes: Any) -> Any:
    body = {"name": "first", "domain": "photographs", "form": form(world)} | changes
    return world.application.post("/v1/surveys", body)


@pytest.fixture
def expert(world: World) -> Caller:
    return world.callers["expert"]


def test_survey_is_created_once_and_read_by_everybody(world: World, expert: Caller) -> None:
    first, again = create(world), create(world)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    second = create(world, form=form(world, "other"))
    assert (second.status_code, second.json()["version"]) == (201, 2)
    for caller in (world.user, expert, world.application):
        assert caller.get("/v1/surveys/first").json() == second.json()
        assert caller.get("/v1/surveys/first", version=1).json() == first.json()
        assert [item["version"] for item in caller.get("/v1/surveys").json()["items"]] == [2, 1]
    page = world.user.get("/v1/surveys", limit=1).json()
    assert world.user.get("/v1/surveys", limit=1, cursor=page["next_cursor"]).json()["items"] == [first.json()]
    assert world.admin.get("/v1/surveys/first", application="test-app").json() == second.json()
    assert world.admin.get("/v1/surveys/first").status_code == 400
    assert first.json()["answers_schema"]["required"] == ["people"]
    assert world.user.get("/v1/surveys/first/encoders").json() == {"items": []}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"name": "with space"}, 422),
        ({"domain": ""}, 422),
        ({"form": {"title": "t", "items": []}}, 422),
        ({"form": {"title": "t", "items": [dict(SCALE, min=9)]}}, 422),
        ({"form": {"title": "t", "items": [SCALE, SCALE]}}, 422),
        ({"more": 1}, 422),
        ({"application": "other-app"}, 403),
    ],
)
def test_survey_that_cannot_be_right_is_refused(world: World, changes: dict[str, Any], status: int) -> None:
    assert create(world, **changes).status_code == status
    assert world.application.get("/v1/surveys").json()["items"] == []


def test_longest_form_that_is_one_is_taken(world: World) -> None:
    options = [f"{'o' * 98}{i}" for i in range(4)]
    items = [{"id": f"q{i}", "kind": "choice", "text": "t" * 500, "options": options} for i in range(MAX_ITEMS)]
    assert create(world, form={"title": "t", "items": items}).status_code == 201
    assert create(world, form={"title": "t", "items": [*items, SCALE]}).status_code == 422


def test_survey_about_images_that_are_not_there_is_refused(world: World) -> None:
    document = form(world)
    document["items"][1]["second"] = str(world.foreign_image)
    assert create(world, form=document).status_code == 404
    document = form(world)
    document["items"][1]["aspect"] = "height"
    assert create(world, form=document).status_code == 400


def test_answers_are_kept_and_heard(world: World, expert: Caller) -> None:
    create(world)
    path = "/v1/users/ada/survey-answers/first"
    assert world.user.get(path).status_code == 404
    first = world.user.put(path, {"answers": {"people": 3, "pair": "first"}})
    assert (first.status_code, first.json()["is_new"], first.json()["num_comparisons"]) == (200, True, 1)
    again = expert.put(path, {"answers": {"people": 3, "pair": "first"}})  # the same person's other key
    assert (again.json()["is_new"], again.json()["answered_at"]) == (False, first.json()["answered_at"])
    changed = world.application.put(path, {"answers": {"people": 5, "pair": "first"}})
    assert (changed.json()["is_new"], changed.json()["num_comparisons"]) == (True, 0)
    assert world.user.get(path).json()["answers"] == {"people": 5, "pair": "first"}
    assert world.user.get("/v1/users/ada").json()["feedback_sequence"] == 1
    assert world.user.get(path, version=2).status_code == 404


def test_answers_that_do_not_fit_are_refused_with_a_reason(world: World) -> None:
    create(world)
    path = "/v1/users/ada/survey-answers/first"
    for answers, where in (({"people": 9}, "people"), ({"people": True}, "people"), ({}, "people"),
                           ({"people": 3, "x": 1}, "x"), ({"people": 3, "pair": 1}, "pair")):  # fmt: skip
        response = world.user.put(path, {"answers": answers})
        assert (response.status_code, where in response.json()["error"]["message"]) == (400, True)
    assert world.user.put(path, {"answers": [1]}).status_code == 422
    assert world.user.put("/v1/users/ada/survey-answers/other", {"answers": {}}).status_code == 404
    assert world.user.get(path).status_code == 404


def test_preference_is_given_read_and_taken_back(world: World) -> None:
    path = "/v1/users/ada/preference"
    assert world.user.get(path).status_code == 404
    given = world.user.put(path, {"preference": [0.2, 0.8]})
    assert given.status_code == 200
    assert given.json()["num_values_taken"] == 0  # this base model ignores it, and says so
    assert world.user.get(path).json() == given.json()
    assert world.user.put(path, {"preference": [0.3, 0.8]}).json()["version"] == 2
    for wrong in ([], [1.5], ["0.5"], [True], None, [0.5] * 65):
        assert world.user.put(path, {"preference": wrong}).status_code == 422
    assert world.user.get(path).json()["preference"] == [0.3, 0.8]
    assert [world.user.delete(path).status_code for _ in range(2)] == [204, 204]
    assert world.user.get(path).status_code == 404


def test_prediction_tells_what_it_was_computed_with(world: World) -> None:
    item = world.user.post("/v1/predictions", {"users": ["ada"], "images": [str(world.images[0])]}).json()["items"][0]
    assert (item["preference"], item["branches"], item["match_id"]) == (None, None, None)
