"""Acts that are asked for twice: rollback, retrain, keys, batches, surveys, and everything else that changes a row."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from paaplus.db.tables import AdapterHistoryRow, ApiKeyRow, AuditRow, IdempotencyRow
from paaplus.db.tables.models import AdapterState
from paaplus.services import audit
from tests.api.conftest import Caller, World
from tests.api.test_errors import assert_error

REASON = {"reason": "because"}


def keyed(caller: Caller, path: str, body: Any, key: str = "act-1") -> Any:
    return caller.request("POST", path, json=body, headers={"Idempotency-Key": key})


def num(world: World, table: Any) -> int:
    with world.database.read_session() as session:
        return int(session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


@pytest.fixture
def versions(world: World) -> World:
    """Ada has three versions, each the child of the one before; the third is active."""
    parent = None
    for state in (AdapterState.RETIRED, AdapterState.RETIRED, AdapterState.ACTIVE):
        parent = world.adapter(world.ada, state=state, parent_id=parent, learner_state=b"").id
    return world


def active(world: World) -> int | None:
    found = world.admin.get(f"/v1/users/{world.ada}").json()["active_adapter"]
    return found["number"] if found else None


def test_rollback_posted_twice_goes_one_version_back(versions: World) -> None:
    path = f"/v1/users/{versions.ada}/rollback"
    first = versions.admin.post(path, REASON)
    assert (first.status_code, first.json()["to_number"]) == (200, 2)
    again = versions.admin.post(path, REASON)
    assert "from version 3 to 2" in assert_error(again, 409, "conflict")["message"]
    assert active(versions) == 2
    assert versions.admin.post(path, REASON | {"to": 1}).json()["to_number"] == 1, "asked for by number, it is possible"


def test_rollback_that_names_the_active_version_is_done_once(versions: World) -> None:
    path = f"/v1/users/{versions.ada}/rollback"
    assert versions.admin.post(path, REASON | {"active": 3}).json()["to_number"] == 2
    again = versions.admin.post(path, REASON | {"active": 3})
    assert "version 2 of user" in assert_error(again, 409, "conflict")["message"]
    assert versions.admin.post(path, REASON | {"active": 2}).json()["to_number"] == 1


def test_rollback_after_a_promotion_is_another_one(versions: World) -> None:
    path = f"/v1/users/{versions.ada}"
    assert versions.admin.post(f"{path}/rollback", REASON).status_code == 200
    assert versions.admin.post(f"{path}/adapters/3/promote", REASON).status_code == 200
    assert versions.admin.post(f"{path}/rollback", REASON).json()["to_number"] == 2


def test_same_key_gives_the_same_answer_and_one_act(versions: World) -> None:
    path = f"/v1/users/{versions.ada}/rollback"
    first, again = (keyed(versions.admin, path, REASON) for _ in range(2))
    assert first.json() == again.json()
    assert (first.status_code, again.status_code) == (200, 200)
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert active(versions) == 2
    assert num(versions, AdapterHistoryRow) == 1


def acts(world: World) -> dict[str, tuple[Caller, str, Any]]:
    """Acts that would make a second row, or move something again, when they are repeated."""
    form = {"title": "t", "items": [{"id": "a", "kind": "scale", "text": "?", "min": 1, "max": 7}]}
    user = f"/v1/users/{world.ada}"
    return {
        "retrain": (world.admin, f"{user}/retrain", REASON),
        "promote": (world.admin, f"{user}/adapters/1/promote", REASON),
        "pin": (world.admin, f"{user}/adapters/2/pin", REASON),
        "release": (world.admin, f"{user}/exclusions/release", REASON),
        "user": (world.application, "/v1/users", {"external_id": "zoe"}),
        "survey": (world.application, "/v1/surveys", {"name": "first", "domain": "photographs", "form": form}),
    }


def test_every_act_is_carried_out_once_under_a_key(versions: World) -> None:
    for name, (caller, path, body) in acts(versions).items():
        before = num(versions, AuditRow), num(versions, AdapterHistoryRow)
        first = keyed(caller, path, body, name)
        assert first.status_code < 300, (name, first.text)
        done = num(versions, AuditRow), num(versions, AdapterHistoryRow)
        again = keyed(caller, path, body, name)
        assert (again.status_code, again.json()) == (first.status_code, first.json()), name
        assert (num(versions, AuditRow), num(versions, AdapterHistoryRow)) == done, name
        assert done >= before
    with versions.database.session() as session:
        assert audit.verify(session, None).is_intact


def test_review_batch_is_made_once_under_a_key(world: World) -> None:
    from tests.api.test_schema import reviewed_things

    known = reviewed_things(world)
    new = {"name": "c", "experts": known["experts"], "images": [str(world.images[0])], "application": "test-app"}
    first, again = (keyed(world.admin, "/v1/review-batches", new) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert len(world.admin.get("/v1/review-batches").json()["items"]) == 2


def test_new_key_is_made_once_and_its_secret_is_not_stored(world: World) -> None:
    before = num(world, ApiKeyRow)
    body = {"name": "k", "scope": "admin"}
    first = keyed(world.admin, "/v1/keys", body)
    assert first.status_code == 201
    again = keyed(world.admin, "/v1/keys", body)
    assert "was carried out" in assert_error(again, 409, "conflict")["message"]
    assert num(world, ApiKeyRow) == before + 1
    rotate = f"/v1/keys/{first.json()['id']}/rotate"
    rotated = keyed(world.admin, rotate, None, "r1")
    assert rotated.status_code == 200
    assert_error(keyed(world.admin, rotate, None, "r1"), 409, "conflict")
    works = Caller(world.client, rotated.json()["key"])
    assert works.get("/v1/keys").status_code == 200, "the first rotation stands"
    with world.database.read_session() as session:
        stored = [row.answer for row in session.execute(sa.select(IdempotencyRow)).scalars()]
    assert stored == [None, None]


def test_key_for_another_request_is_refused(versions: World) -> None:
    assert keyed(versions.application, "/v1/users", {"external_id": "zoe"}).status_code == 201
    other = keyed(versions.application, "/v1/users", {"external_id": "zac"})
    assert "was used for another request" in assert_error(other, 409, "conflict")["message"]
    elsewhere = keyed(versions.application, "/v1/users?", {"external_id": "zoe"})
    assert elsewhere.status_code == 201, "the same request"
    assert keyed(versions.admin, "/v1/users", {"external_id": "zac", "application": "test-app"}).status_code == 201, (
        "another caller's keys are others"
    )


def test_failed_act_may_be_tried_again_under_its_key(versions: World) -> None:
    path = f"/v1/users/{versions.ada}/adapters/9/promote"
    assert_error(keyed(versions.admin, path, REASON), 404, "not_found")
    assert num(versions, IdempotencyRow) == 0
    assert_error(keyed(versions.admin, path, REASON), 404, "not_found")


@pytest.mark.parametrize("key", ["", "a b", "x" * 129, "ü".encode()])
def test_key_that_is_none_is_refused(versions: World, key: Any) -> None:
    response = versions.admin.request(
        "POST", f"/v1/users/{versions.ada}/rollback", json=REASON, headers={"Idempotency-Key": key}
    )
    assert_error(response, 400, "invalid_input")
    assert active(versions) == 3


def test_same_act_at_the_same_moment_is_done_once(versions: World) -> None:
    path = f"/v1/users/{versions.ada}/rollback"
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: keyed(versions.admin, path, REASON), range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({json.dumps(answer.json()) for answer in answers}) == 1
    assert active(versions) == 2


def test_answers_are_kept_for_a_day(versions: World) -> None:
    assert keyed(versions.application, "/v1/users", {"external_id": "zoe"}, "old").status_code == 201
    with versions.database.session() as session:
        row = session.execute(sa.select(IdempotencyRow)).scalar_one()
        assert row.expires_at - row.created_at == timedelta(days=1)
        row.expires_at -= timedelta(days=1)
    assert keyed(versions.application, "/v1/users", {"external_id": "zoe"}, "new").status_code == 200
    with versions.database.read_session() as session:
        assert session.execute(sa.select(IdempotencyRow.key)).scalars().all() == ["new"]


def test_erasing_a_user_erases_what_was_answered_about_them(versions: World) -> None:
    keyed(versions.application, "/v1/users", {"external_id": "canary-zoe"})
    keyed(versions.admin, f"/v1/users/{versions.ada}/rollback", REASON)
    keyed(versions.other, "/v1/users", {"external_id": "theirs"})
    assert versions.application.delete("/v1/users/canary-zoe").status_code == 204
    with versions.database.read_session() as session:
        [left] = session.execute(sa.select(IdempotencyRow)).scalars()
    assert left.actor == f"key:{versions.keys['other']}"
