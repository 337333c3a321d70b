"""Adapter versions over HTTP: read, move, roll back."""

from __future__ import annotations

from typing import Any

import pytest

from paaplus.db.tables.models import AdapterState
from paaplus.services.adapters import versions as adapter_versions
from tests.api.conftest import World
from tests.support.factories import make_run

REASON = {"reason": "portraits\nbecame worse"}


@pytest.fixture
def versions(world: World) -> World:
    """Ada has version 1 (retired, 2 events seen), version 2 (live, its child) and 3 (refused); 4 events in the log."""
    for i in range(2):
        world.application.post("/v1/feedback", world.rating(f"e{i}", value=1 + i))
    first = world.adapter(world.ada, seed=1, state=AdapterState.RETIRED, metrics={"srcc": 0.4, "mae": 1.0})
    for i in range(2, 4):
        world.application.post("/v1/feedback", world.rating(f"e{i}", value=1 + i))
    world.adapter(world.ada, seed=2, parent_id=first.id, metrics={"srcc": 0.6}, gate_report={"promote": True})
    world.adapter(world.ada, seed=3, state=AdapterState.REJECTED, gate_report={"promote": False})
    return world


def act(world: World, tail: str, **body: Any) -> Any:
    return world.admin.post(f"/v1/users/{world.ada}{tail}", REASON | body)


def live(world: World) -> int | None:
    adapter = world.user.get("/v1/users/ada").json()["active_adapter"]
    return adapter["number"] if adapter else None


def scores(world: World) -> list[float]:
    body = {"users": ["ada"], "images": [str(image) for image in world.images[:2]]}
    return [item["scores"]["beauty"] for item in world.user.post("/v1/predictions", body).json()["items"]]


def test_versions_are_listed_newest_first(versions: World) -> None:
    listed = versions.user.get("/v1/users/ada/adapters").json()["items"]
    assert [(item["number"], item["state"]) for item in listed] == [(3, "rejected"), (2, "active"), (1, "retired")]
    assert listed[0]["base_model"]["digest"] == versions.base.digest


@pytest.mark.parametrize("name", ["adapters", "history", "exclusions"])
def test_long_lists_come_in_pages(versions: World, name: str) -> None:
    act(versions, "/rollback")
    act(versions, "/adapters/2/promote")
    act(versions, "/rollback", to=1)
    path = f"/v1/users/ada/{name}"
    whole = versions.user.get(path).json()
    assert len(whole["items"]) >= 2
    assert whole["next_cursor"] is None, "short lists are one page"
    found, cursor = [], None
    while not found or cursor is not None:
        page = versions.user.get(path, limit=1, **({"cursor": cursor} if cursor else {})).json()
        found, cursor = found + page["items"], page["next_cursor"]
        assert len(page["items"]) <= 1
    assert found == whole["items"]
    assert versions.user.get(path, limit=201).status_code == 422


def test_the_active_version_is_among_the_latest_however_old(versions: World) -> None:
    def numbers(limit: int) -> list[int]:
        with versions.database.read_session() as session:
            return [row.number for row in adapter_versions.latest(session, versions.ada, limit)]

    assert [numbers(limit) for limit in (1, 2, 5)] == [[3, 2], [3, 2], [3, 2, 1]]
    act(versions, "/rollback")
    assert [numbers(limit) for limit in (1, 2, 5)] == [[3, 1], [3, 2, 1], [3, 2, 1]]


def test_version_tells_everything_about_itself(versions: World) -> None:
    first, second = (versions.user.get(f"/v1/users/ada/adapters/{n}").json() for n in (1, 2))
    assert (second["parent_id"], second["gate_report"]) == (first["id"], {"promote": True})
    assert (first["metrics"], first["high_water_sequence"]) == ({"srcc": 0.4, "mae": 1.0}, 2)
    assert not {"data", "learner_state"} & set(first)


def test_version_that_is_none_is_refused(versions: World) -> None:
    for number, status in [("9", 404), ("0", 404), ("-1", 422), ("9" * 20, 422), ("x", 422), ("1.5", 422)]:
        assert versions.user.get(f"/v1/users/ada/adapters/{number}").status_code == status


def test_versions_are_compared_metric_by_metric(versions: World) -> None:
    compared = versions.user.get("/v1/users/ada/adapters/compare", a=1, b=2).json()
    assert (compared["a"]["number"], compared["b"]["number"]) == (1, 2)
    assert compared["metrics"] == {"mae": {"a": 1.0, "b": None}, "srcc": {"a": 0.4, "b": 0.6}}


def test_metrics_tell_of_versions_and_trainings(versions: World) -> None:
    with versions.database.session() as session:
        run = make_run(session, user_id=versions.ada, base_model_id=versions.base_row.id, timings={"train_s": 0.1})
    metrics = versions.user.get("/v1/users/ada/metrics").json()
    assert [item["number"] for item in metrics["versions"]] == [3, 2, 1]
    assert [(item["id"], item["timings"]) for item in metrics["runs"]] == [(str(run.id), {"train_s": 0.1})]


def test_rollback_returns_the_old_scores_and_excludes_what_came_after(versions: World) -> None:
    live_scores = scores(versions)
    changed = act(versions, "/rollback")
    assert changed.status_code == 200
    assert changed.json() == {
        "user_id": str(versions.ada),
        "from_number": 2,
        "to_number": 1,
        "num_excluded": 2,
        "num_released": 0,
    }
    assert live(versions) == 1
    assert scores(versions) != live_scores
    excluded = versions.user.get("/v1/users/ada/exclusions").json()["items"]
    assert [(item["sequence"], item["reason"]) for item in excluded] == [(3, REASON["reason"]), (4, REASON["reason"])]
    assert {item["kind"] for item in excluded} == {"rollback"}
    newest = versions.user.get("/v1/users/ada/history").json()["items"][0]
    assert (newest["move"], newest["actor"], newest["reason"]) == (
        "rolled_back",
        f"key:{versions.keys['admin']}",
        REASON["reason"],
    )
    assert (newest["details"]["from"], newest["details"]["to"]) == (2, 1)
    act(versions, "/adapters/2/promote")
    assert scores(versions) == live_scores  # the same bytes, the same numbers


def test_rollback_to_the_base_and_release(versions: World) -> None:
    assert act(versions, "/rollback", to=0, feedback="exclude").json()["num_excluded"] == 4
    assert live(versions) is None
    assert act(versions, "/exclusions/release", sequences=[1, 3]).json() == {"num_released": 2}
    assert act(versions, "/exclusions/release", sequences=[1]).status_code == 404
    assert act(versions, "/exclusions/release").json() == {"num_released": 2}
    assert versions.user.get("/v1/users/ada/exclusions").json()["items"] == []


def test_rollback_can_keep_the_feedback(versions: World) -> None:
    assert act(versions, "/rollback", to=1, feedback="keep").json()["num_excluded"] == 0
    assert versions.user.get("/v1/users/ada/exclusions").json()["items"] == []


def test_pinned_version_stays_until_unpinned(versions: World) -> None:
    assert act(versions, "/adapters/1/pin").json()["to_number"] == 1
    assert versions.user.get("/v1/users/ada").json()["pinned"] is True
    assert act(versions, "/unpin").status_code == 200
    assert act(versions, "/unpin").status_code == 409
    assert versions.user.get("/v1/users/ada").json()["pinned"] is False


def test_retraining_is_a_job(versions: World) -> None:
    response = act(versions, "/retrain")
    job = versions.user.get(f"/v1/jobs/{response.json()['job_id']}").json()
    assert (response.status_code, job["kind"], job["reason"], job["state"]) == (202, "adapt", "by_hand", "queued")


def test_every_act_is_in_the_audit(versions: World) -> None:
    acts = [("/rollback", "rolled_back"), ("/adapters/2/promote", "promoted"), ("/adapters/2/pin", "pinned"),
            ("/unpin", "unpinned"), ("/retrain", "retrain_requested")]  # fmt: skip
    for tail, _ in acts:
        assert act(versions, tail).status_code in (200, 202)
    entries = versions.admin.get("/v1/audit").json()["items"]
    made = [entry for entry in entries if entry["subject_id"] == str(versions.ada)]
    assert [entry["action"] for entry in made] == [action for _, action in reversed(acts)]
    assert all(entry["actor"] == f"key:{versions.keys['admin']}" for entry in made)
    assert REASON["reason"] not in str(made)  # free text lives where erasing the user erases it


def test_nothing_is_done_without_a_reason(versions: World) -> None:
    reasons: list[Any] = ["", "  \n ", "x" * 2001, "nul\0", 7, None]
    for body in ({}, None, *({"reason": reason} for reason in reasons)):
        for tail in ("/rollback", "/adapters/1/promote", "/adapters/1/pin", "/unpin", "/retrain"):
            assert versions.admin.post(f"/v1/users/{versions.ada}{tail}", body).status_code == 422
    assert live(versions) == 2
    assert versions.user.get("/v1/users/ada/history").json()["items"] == []


def test_act_that_contradicts_what_is_there_is_refused(versions: World) -> None:
    wrong: list[tuple[str, dict[str, Any], int]] = [
        ("/adapters/2/promote", {}, 409),
        ("/adapters/7/promote", {}, 404),
        ("/adapters/7/pin", {}, 404),
        ("/rollback", {"to": 2}, 409),
        ("/rollback", {"to": 3}, 400),
        ("/rollback", {"to": 7}, 404),
        ("/rollback", {"to": -1}, 422),
        ("/rollback", {"to": True}, 422),
        ("/rollback", {"to": "1"}, 422),
        ("/rollback", {"feedback": "forget"}, 422),
        ("/exclusions/release", {"sequences": [1]}, 404),
        ("/exclusions/release", {"sequences": []}, 422),
        ("/exclusions/release", {"sequences": [1.5]}, 422),
    ]
    assert [(tail, body, act(versions, tail, **body).status_code) for tail, body, _ in wrong] == wrong
    assert live(versions) == 2
