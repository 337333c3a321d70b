"""Users over HTTP."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any
from urllib.parse import quote
from uuid import UUID

from paaplus.configs import GateConfig, Policy, TrainingConfig
from paaplus.db.tables import UserRow
from tests.api.conftest import World, jpeg


def test_user_is_created_once(world: World) -> None:
    body = {"external_id": "zoe", "policy": {"min_new_feedback": 3, "training": {"num_steps": 5}}}
    first = world.application.post("/v1/users", body)
    again = world.application.post("/v1/users", {"external_id": "zoe"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    user = first.json()
    assert (user["external_id"], user["application"]) == ("zoe", "test-app")
    assert user["policy_overrides"] == body["policy"]
    assert user["policy"] == Policy().overridden(body["policy"]).to_dict()
    assert (user["active_adapter"], user["pending_feedback"], user["next_due_at"]) == (None, 0, None)


def test_user_is_found_by_either_name(world: World) -> None:
    by_name, by_id = world.application.get("/v1/users/ada"), world.application.get(f"/v1/users/{world.ada}")
    assert by_name.json() == by_id.json()
    assert world.admin.get(f"/v1/users/{world.ada}").json() == by_id.json()
    assert world.admin.get("/v1/users/ada").status_code == 404
    assert world.admin.get("/v1/users", application="test-app", external_id="ada").json()["items"] == [by_id.json()]


def test_unusual_names_work_in_paths(world: World) -> None:
    for name in ("用户-7", "ada@example.org", "a b", "a+b", "50%", "a?b#c", "..."):
        created = world.application.post("/v1/users", {"external_id": name})
        assert created.status_code == 201
        assert world.application.get(f"/v1/users/{quote(name, safe='')}").json() == created.json()


def test_user_shows_what_they_are_served_with(world: World) -> None:
    adapter = world.adapter(world.ada)
    world.application.post("/v1/feedback", world.rating())
    user = world.user.get("/v1/users/ada").json()
    assert user["active_adapter"]["number"] == 1
    assert user["active_adapter"]["digest"] == adapter.digest
    assert user["active_adapter"]["base_model"] == {"name": "tiny", "version": 1, "digest": world.base.digest}
    assert (user["feedback_sequence"], user["pending_feedback"], user["due_reason"]) == (1, 1, "interval")


def test_admin_says_which_application_and_an_application_may_not(world: World) -> None:
    assert world.admin.post("/v1/users", {"external_id": "zoe"}).status_code == 400
    created = world.admin.post("/v1/users", {"external_id": "zoe", "application": "third"})
    assert created.json()["application"] == "third"
    foreign = world.application.post("/v1/users", {"external_id": "zoe", "application": "other-app"})
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (403, "forbidden")
    own = world.application.post("/v1/users", {"external_id": "zoe", "application": "test-app"})
    assert own.status_code == 201


def test_users_come_in_pages(world: World) -> None:
    for i in range(5):
        world.application.post("/v1/users", {"external_id": f"u{i}"})
    names, cursor, pages = [], None, 0
    while True:
        page = world.application.get("/v1/users", limit=3, **({"cursor": cursor} if cursor else {})).json()
        names += [user["external_id"] for user in page["items"]]
        pages += 1
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert names == ["u4", "u3", "u2", "u1", "u0", "bob", "ada"]
    assert pages == 3


def test_query_that_no_name_fits_is_refused(world: World) -> None:
    for query in ("external_id=%00", "application=%00", "application=a/b", "external_id=", "cursor=%00", "limit=0"):
        assert world.admin.request("GET", f"/v1/users?{query}").status_code == 422, query
    for query in ("external_id=%ff", "external_id=%ed%a0%80"):  # no UTF-8
        assert world.admin.request("GET", f"/v1/users?{query}").status_code == 422, query
    assert world.admin.request("GET", "/v1/users?application=nobody").json()["items"] == []


def test_policy_is_replaced_as_a_whole(world: World) -> None:
    world.application.put("/v1/users/ada/policy", {"min_new_feedback": 3, "gate": {"margin": 0.2}})
    user = world.application.put("/v1/users/ada/policy", {"paused": True}).json()
    assert user["policy_overrides"] == {"paused": True}
    assert world.application.put("/v1/users/ada/policy", {}).json()["policy"] == Policy().to_dict()


def test_policy_takes_every_field_of_the_configuration(world: World) -> None:
    everything = Policy(strategy="naive", training=TrainingConfig(seed=3), gate=GateConfig(margin=0.1)).to_dict()
    user = world.application.put("/v1/users/ada/policy", everything)
    assert (user.status_code, user.json()["policy"]) == (200, everything)


IMPOSSIBLE_POLICIES: list[tuple[dict[str, Any], int]] = [
    ({"speed": 1}, 422),
    ({"min_new_feedback": True}, 422),
    ({"min_new_feedback": "7"}, 422),
    ({"min_new_feedback": 2.5}, 422),
    ({"paused": 1}, 422),
    ({"strategy": "magic"}, 422),
    ({"training": {"num_steps": 1.5}}, 422),
    ({"training": 3}, 422),
    ({"min_new_feedback": 0}, 400),
    ({"min_new_feedback": -1}, 400),
    ({"min_new_feedback": 10**30}, 422),
    ({"max_interval_s": 1e308}, 400),
    ({"adapter": "bottleneck", "strategy": "bayes"}, 400),
    ({"training": {"rank": 65}}, 400),
]


def test_policy_that_cannot_be_right_is_refused(world: World) -> None:
    for policy, status in IMPOSSIBLE_POLICIES:
        assert world.application.put("/v1/users/ada/policy", policy).status_code == status, policy
        assert world.application.post("/v1/users", {"external_id": "zoe", "policy": policy}).status_code == status
    assert world.application.get("/v1/users/ada").json()["policy_overrides"] == {}
    assert world.application.get("/v1/users/zoe").status_code == 404


def test_name_that_cannot_be_one_is_refused(world: World) -> None:
    for name in ("", "a/b", "..", "x" * 129, "nul\0", "\ud800", 7, None, ["a"]):
        body = json.dumps({"external_id": name})
        response = world.application.request(
            "POST", "/v1/users", content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == (400 if name in ("a/b", "..") else 422), name


def test_erased_user_is_gone_with_all_that_was_theirs(world: World) -> None:
    own = world.application.upload(jpeg(40), user="ada").json()
    world.application.post("/v1/feedback", world.rating(image=0))
    world.adapter(world.ada)
    sha256 = own["sha256"]
    assert world.context.blobs.exists(sha256)
    assert world.application.delete("/v1/users/ada").status_code == 204
    assert world.application.get("/v1/users/ada").status_code == 404
    assert world.application.get(f"/v1/images/{own['id']}").status_code == 404
    assert not world.context.blobs.exists(sha256)
    assert world.user.get("/v1/images").status_code == 401  # their own key went with them
    assert world.application.delete("/v1/users/ada").status_code == 404
    with world.database.read_session() as session:
        assert session.get(UserRow, UUID(str(world.bob))) is not None
    again = world.application.post("/v1/users", {"external_id": "ada"}).json()
    assert (again["feedback_sequence"], again["id"] != str(world.ada)) == (0, True)


def test_export_is_a_zip_of_what_is_held_about_the_user(world: World) -> None:
    picture = world.user.upload(jpeg(), user="ada").json()
    world.user.post("/v1/feedback", world.rating("ada-canary"))
    world.application.post("/v1/feedback", world.rating("bob-canary", user="bob"))
    answer = world.user.get("/v1/users/ada/export")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        document = json.loads(archive.read("export.json"))
        assert archive.read(f"images/{picture['id']}.jpg")[:2] == b"\xff\xd8"
    assert [row["event_id"] for row in document["tables"]["feedback"]] == ["ada-canary"]
    assert world.application.get("/v1/users/nobody/export").status_code == 404
