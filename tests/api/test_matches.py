"""Experts, quiz and match over HTTP: the way of a new user from no answer to scores that are theirs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient

from paaplus.db.tables.governance import KeyScope
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.api.conftest import Caller, app_with
from tests.paaplus.services.experts.test_matching import Clinic
from tests.support.factories import APPLICATION


class Desk:
    """A running application over a clinic with three experts, and callers."""

    def __init__(self, client: TestClient, clinic: Clinic) -> None:
        self.clinic = clinic
        with clinic.database.session() as session:
            app_key = keys.create(session, name="p", scope=KeyScope.APPLICATION, application=APPLICATION, actor="t")
        self.app = Caller(client, app_key.token)
        self._client = client

    def key_of(self, user_id: Any, scope: KeyScope = KeyScope.USER) -> Caller:
        with self.clinic.database.session() as session:
            created = keys.create(session, name="u", scope=scope, user_id=user_id, actor="t")
        return Caller(self._client, created.token)

    def answer(self, caller: Caller, quiz: dict[str, Any], *, seed: int) -> dict[str, Any]:
        """Answer pairs as a person of this taste until the quiz is over."""
        places = {str(image_id): i for i, image_id in enumerate(self.clinic.images)}
        while quiz["pair"] is not None:
            pair = quiz["pair"]
            first, second = (self.clinic.opinion(places[pair[side]], seed=seed) for side in ("first", "second"))
            response = caller.post(
                "/v1/users/new/quiz/answers",
                {
                    "position": pair["position"],
                    "preference": "first" if first > second else "second",
                    "event_id": f"quiz-{pair['position']}",
                },
            )
            assert response.status_code == 200, response.text
            quiz = response.json()
        return quiz

    def scores(self, caller: Caller, user: str = "new") -> list[dict[str, Any]]:
        images = [str(image_id) for image_id in self.clinic.images]
        return list(caller.post("/v1/predictions", {"users": [user], "images": images}).json()["items"])


@pytest.fixture
def desk(settings: Settings, database: Any) -> Iterator[Desk]:
    clinic = Clinic(database, settings)
    with TestClient(app_with(settings)) as client:
        yield Desk(client, clinic)


def test_a_new_user_takes_the_quiz_is_matched_and_served(desk: Desk) -> None:
    user = desk.clinic.add_user("new")
    caller = desk.key_of(user)
    assert caller.get("/v1/users/new/quiz").status_code == 404
    assert caller.get("/v1/users/new/match").status_code == 404
    opened = caller.post("/v1/users/new/quiz", {"max_pairs": 8})
    assert opened.status_code == 201
    again = caller.post("/v1/users/new/quiz")
    assert (again.status_code, again.json()) == (200, opened.json())
    quiz = desk.answer(caller, opened.json(), seed=1)
    assert quiz["finished"]
    assert 4 <= quiz["num_answered"] <= 8
    assert quiz["finish_reason"]
    assert caller.get("/v1/users/new/quiz").json() == quiz
    match = caller.post("/v1/users/new/match")
    assert match.status_code == 200, match.text
    assert (match.json()["version"], match.json()["is_live"], match.json()["stale"]) == (0, True, False)
    num_swapped = 1 if quiz["num_answered"] >= 5 else 0  # the fifth pair is an earlier one with its sides swapped
    assert match.json()["evidence"]["num_comparisons"] == quiz["num_answered"] - num_swapped
    assert caller.get("/v1/users/new/match").json() == match.json()
    assert caller.post("/v1/users/new/match").json() == match.json()
    items = desk.scores(caller)
    assert {item["adapter"]["number"] for item in items} == {0}
    assert {(item["source"], item["match_id"]) for item in items} == {("match", match.json()["id"])}
    assert any(item["scores"] != item["generic"] for item in items)
    assert caller.get("/v1/users/new/adapters/0").json()["strategy"] == "match"
    history = caller.get("/v1/users/new/history").json()["items"]
    assert [(entry["move"], entry["details"]["from"], entry["details"]["to"]) for entry in history] == [
        ("matched", None, 0)
    ]


def test_an_answer_twice_is_once_and_another_one_a_conflict(desk: Desk) -> None:
    caller = desk.key_of(desk.clinic.add_user("new"))
    caller.post("/v1/users/new/quiz")
    body = {"position": 1, "preference": {"beauty": "tie"}, "event_id": "q1"}
    first = caller.post("/v1/users/new/quiz/answers", body)
    again = caller.post("/v1/users/new/quiz/answers", body)
    assert (first.status_code, again.status_code, first.json()) == (200, 200, again.json())
    for change in ({"preference": "first"}, {"position": 7}, {"event_id": "q2"}):
        response = caller.post("/v1/users/new/quiz/answers", body | change)
        assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
    for wrong in ({"preference": "best"}, {"position": 0}, {"position": "1"}, {"event_id": ""}, {"more": 1}):
        assert caller.post("/v1/users/new/quiz/answers", body | wrong).status_code == 422
    assert caller.get("/v1/users/new").json()["feedback_sequence"] == 1
    for wrong in ({"max_pairs": 3}, {"max_pairs": 41}, {"pairs": 4}):
        assert caller.post("/v1/users/new/quiz", wrong).status_code == 422


def test_a_match_names_its_experts_and_takes_wishes(desk: Desk) -> None:
    caller = desk.key_of(desk.clinic.add_user("new"))
    match = caller.post("/v1/users/new/match", {"experts": ["expert1"], "kind": "expert"})
    assert match.status_code == 200, match.text
    [expert] = match.json()["experts"]
    assert (expert["name"], expert["domain"], expert["share"]) == ("Expert1", "posture", 1.0)
    assert (match.json()["kind"], match.json()["evidence"]["forced"]) == ("expert", True)
    for wrong, status in (
        ({"experts": ["nobody"]}, 400),
        ({"experts": ["new"]}, 400),
        ({"experts": []}, 422),
        ({"kind": "best"}, 422),
        ({"experts": "expert1"}, 422),
    ):
        assert caller.post("/v1/users/new/match", wrong).status_code == status
    assert caller.get("/v1/users/new/match").json() == match.json()
    assert desk.app.post("/v1/users/expert1/match").status_code == 409


def test_the_model_base_over_http(desk: Desk) -> None:
    app = desk.app
    listed = app.get("/v1/experts").json()["items"]
    assert [(each["name"], each["not_matched_because"]) for each in listed] == [
        ("Expert2", None),
        ("Expert1", None),
        ("Expert0", None),
    ]
    page = app.get("/v1/experts", limit=2).json()
    rest = app.get("/v1/experts", limit=2, cursor=page["next_cursor"]).json()
    assert [len(page["items"]), len(rest["items"]), rest["next_cursor"]] == [2, 1, None]
    assert app.get("/v1/experts", domain="other").json()["items"] == []
    desk.clinic.add_user("late")
    body = {"name": "Dr. Late", "domain": "posture", "form": "head"}
    created, again = app.put("/v1/experts/late", body), app.put("/v1/experts/late", body | {"name": "Dr. L."})
    assert (created.status_code, again.status_code, again.json()["name"]) == (201, 200, "Dr. L.")
    assert "no model yet" in created.json()["not_matched_because"]
    for wrong in ({"name": ""}, {"form": "tail"}, {"domain": "d" * 65}, {"more": 1}):
        assert app.put("/v1/experts/late", body | wrong).status_code == 422
    assert app.post("/v1/experts/expert0/retire").json()["not_matched_because"] == "retired"
    assert app.post("/v1/experts/expert0/restore").json()["not_matched_because"] is None
    detail = app.get("/v1/experts/expert0").json()
    assert detail["held_out"]["srcc"]["beauty"] > detail["held_out"]["generic_srcc"]["beauty"]
    own = desk.key_of(desk.clinic.experts[0], KeyScope.EXPERT)
    assert own.get("/v1/experts/expert0").json() == detail
    assert own.get("/v1/experts/expert1").status_code == 404
    agreement = app.get("/v1/expert-agreement").json()["items"]
    assert {each["num_images"] for each in agreement} == {60}
    assert len(agreement) == 3
    assert app.get("/v1/experts/nobody").status_code == 404
    desk.clinic.add_user("plain")
    assert app.get("/v1/experts/plain").status_code == 404


def test_suggestions_over_http(desk: Desk) -> None:
    caller = desk.key_of(desk.clinic.add_user("new"))
    found = caller.get("/v1/users/new/suggestions", count=5).json()
    assert (found["kind"], len(set(found["images"]))) == ("rating", 5)
    assert {*found["images"]} <= {str(image_id) for image_id in desk.clinic.images}
    assert caller.get("/v1/users/new/suggestions", kind="pair").status_code == 422
    assert caller.get("/v1/users/new/suggestions", count=0).status_code == 422


def test_rollback_to_version_0_and_to_the_base_over_http(desk: Desk) -> None:
    user = desk.clinic.add_user("new")
    desk.app.post("/v1/users/new/match")
    desk.clinic.rate(user, range(60, 80), seed=1)
    desk.clinic.work()
    with desk.clinic.database.session() as session:
        admin = Caller(desk._client, keys.create(session, name="a", scope=KeyScope.ADMIN, actor="t").token)
    path = f"/v1/users/{user}"
    back = admin.post(f"{path}/rollback", {"to": 0, "reason": "r"}).json()
    assert (back["from_number"], back["to_number"]) == (1, 0)
    assert admin.post(f"{path}/adapters/1/promote", {"reason": "r"}).json()["from_number"] == 0
    base = admin.post(f"{path}/rollback", {"to": "base", "reason": "r"}).json()
    assert (base["from_number"], base["to_number"]) == (1, None)
    assert {item["source"] for item in desk.scores(desk.app)} == {"base"}
    assert admin.post(f"{path}/adapters/0/promote", {"reason": "r"}).json()["to_number"] == 0
    assert admin.get(f"{path}/adapters/compare", a=0, b=1).status_code == 200
    for wrong in ("Base", "1", -1, True, 1.5):
        assert admin.post(f"{path}/rollback", {"to": wrong, "reason": "r"}).status_code == 422


def test_all_of_it_over_http(settings: Settings, database: Any) -> None:
    """Experts label, models are trained; a new user is asked, matched, served, trained, and rolled back."""
    clinic = Clinic(database, settings, num_experts=0)
    with TestClient(app_with(settings)) as client:
        desk = Desk(client, clinic)
        with database.session() as session:
            admin = Caller(client, keys.create(session, name="a", scope=KeyScope.ADMIN, actor="t").token)

        def teach(name: str, images: range, seed: int) -> None:
            events = [
                {
                    "event_id": f"{name}-{i}",
                    "user": name,
                    "kind": "rating",
                    "image": str(clinic.images[i]),
                    "ratings": {"beauty": clinic.opinion(i, seed=seed)},
                    "scale": {"min": 0, "max": 10},
                }
                for i in images
            ]
            assert desk.app.post("/v1/feedback", {"events": events}).json()["accepted"] == len(events)

        for seed, name in enumerate(("dr-ada", "dr-bob")):
            user = desk.app.post("/v1/users", {"external_id": name}).json()["id"]
            assert desk.app.put(f"/v1/experts/{name}", {"name": name, "domain": "photographs"}).status_code == 201
            teach(name, range(50), seed)
            assert admin.post(f"/v1/users/{user}/retrain", {"reason": "labels reviewed"}).status_code == 202
        clinic.work()
        assert [e["not_matched_because"] for e in desk.app.get("/v1/experts").json()["items"]] == [None, None]

        user = desk.app.post("/v1/users", {"external_id": "new"}).json()["id"]
        caller = desk.key_of(UUID(user))
        assert {item["source"] for item in desk.scores(caller)} == {"base"}
        desk.answer(caller, caller.post("/v1/users/new/quiz").json(), seed=1)
        match = caller.post("/v1/users/new/match").json()
        assert (match["version"], match["is_live"]) == (0, True)
        matched = desk.scores(caller)
        assert {(item["source"], item["adapter"]["number"]) for item in matched} == {("match", 0)}

        teach("new", range(60, 90), 1)
        clinic.work()
        taught = desk.scores(caller)
        assert {(item["source"], item["adapter"]["number"], item["match_id"]) for item in taught} == {
            ("adapter", 1, match["id"])
        }
        error = {
            name: sum(abs(item["scores"]["beauty"] - clinic.opinion(i, seed=1)) for i, item in enumerate(items))
            for name, items in (("matched", matched), ("taught", taught))
        }
        assert error["taught"] < error["matched"]
        admin.post(f"/v1/users/{user}/rollback", {"to": 0, "reason": "it was better before"})
        assert [item["scores"] for item in desk.scores(caller)] == [item["scores"] for item in matched]
