"""Cursors of lists: good for the list that gave them, refused by every other one."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from paaplus.ids import new_id
from tests.api.conftest import Caller, World
from tests.api.test_errors import assert_error
from tests.support.factories import APPLICATION

WRONG = "is the `next_cursor` of another list"


def lists(world: World) -> dict[str, str]:
    """The path of every list with a cursor, and who may ask for it, as the API's own document says."""
    paths = world.nobody.get("/openapi.json").json()["paths"]
    found = {}
    for path, methods in paths.items():
        names = {each.get("name") for each in methods.get("get", {}).get("parameters", [])}
        if "cursor" in names:
            found[path.replace("{webhook_id}", str(new_id())).replace("{user}", str(world.ada))] = path
    return found


def page(caller: Caller, path: str, **query: Any) -> dict[str, Any]:
    answer = caller.get(path, **query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_list_refuses_the_cursor_of_another_list_and_what_is_none(world: World) -> None:
    of_users = page(world.admin, "/v1/users", limit=1)["next_cursor"]
    of_images = page(world.admin, "/v1/images", limit=1)["next_cursor"]
    known = lists(world)
    assert len(known) >= 16
    assert {"/v1/users", "/v1/images", "/v1/feedback", "/v1/audit", "/v1/jobs"} <= set(known)
    for path, template in known.items():
        other = of_images if path == "/v1/users" else of_users
        error = assert_error(world.admin.get(path, cursor=other), 422, "invalid_request")
        assert error["message"].startswith(f"query.cursor: {WRONG}"), template
        for none in (str(new_id()), str(uuid4()), "%00", "x", other[:-1], other + "A", "ä" * 32, "A" * 32):
            assert_error(world.admin.get(path, cursor=none), 422, "invalid_request")
        short = assert_error(world.admin.get(path, cursor="c1"), 422, "invalid_request")
        assert short["message"] == "query.cursor: is no `next_cursor` of a page"


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/v1/users", {}, {"external_id": "bob"}),
        ("/v1/images", {}, {"shared": "true"}),
        ("/v1/images", {"shared": "true"}, {}),
        ("/v1/images", {"unrated_by": "ada"}, {"unrated_by": "bob"}),
        ("/v1/feedback", {}, {"order": "oldest"}),
        ("/v1/feedback", {"user": "ada"}, {"user": "bob"}),
        ("/v1/feedback", {"user": "ada"}, {}),
        ("/v1/feedback", {"kind": "rating"}, {"kind": "correction"}),
    ],
)
def test_cursor_of_other_conditions_is_refused(
    world: World, path: str, first: dict[str, str], second: dict[str, str]
) -> None:
    for number, user in enumerate(("ada", "ada", "bob", "bob")):
        answer = world.application.post("/v1/feedback", world.rating(user=user, event_id=f"e{number}"))
        assert answer.status_code == 201, answer.text
    cursor = page(world.application, path, limit=1, **first)["next_cursor"]
    assert cursor is not None
    error = assert_error(world.application.get(path, cursor=cursor, **second), 422, "invalid_request")
    assert WRONG in error["message"]
    for limit in (1, 50):
        assert page(world.application, path, limit=limit, cursor=cursor, **first)["items"]


def test_cursor_of_another_asker_is_refused(world: World) -> None:
    cursor = page(world.application, "/v1/images", limit=1)["next_cursor"]
    for other in (world.other, world.user, world.admin):
        assert WRONG in assert_error(other.get("/v1/images", cursor=cursor), 422, "invalid_request")["message"]


def test_another_key_of_the_same_application_goes_on(world: World) -> None:
    body = {"name": "second", "scope": "application", "application": APPLICATION}
    second = Caller(world.client, world.admin.post("/v1/keys", body).json()["key"])
    cursor = page(world.application, "/v1/images", limit=1)["next_cursor"]
    assert page(second, "/v1/images", cursor=cursor) == page(world.application, "/v1/images", cursor=cursor)


def test_cursor_stays_good_when_its_own_item_goes_away(world: World) -> None:
    first = page(world.application, "/v1/images", limit=1)
    rest = page(world.application, "/v1/images", cursor=first["next_cursor"])["items"]
    assert world.application.delete(f"/v1/images/{first['items'][0]['id']}").status_code == 204
    assert page(world.application, "/v1/images", cursor=first["next_cursor"])["items"] == rest != []


def test_audience_refuses_the_cursor_of_another_image_and_of_another_list(world: World) -> None:
    image, other_image = str(world.images[0]), str(world.images[1])
    cursor = world.application.post("/v1/audiences", {"image": image, "limit": 1}).json()["next_cursor"]
    of_users = page(world.application, "/v1/users", limit=1)["next_cursor"]
    for body in ({"image": other_image, "cursor": cursor}, {"image": image, "cursor": of_users}):
        error = assert_error(world.application.post("/v1/audiences", body), 422, "invalid_request")
        assert error["message"].startswith(f"body.cursor: {WRONG}")
    of_audience = assert_error(world.application.get("/v1/users", cursor=cursor), 422, "invalid_request")
    assert WRONG in of_audience["message"]
    assert world.application.post("/v1/audiences", {"image": image, "cursor": cursor}).status_code == 200


def test_rollback_of_many_refuses_to_go_on_after_the_user_of_other_conditions(world: World) -> None:
    for user in (world.ada, world.bob):
        world.adapter(user)
    body = {"application": APPLICATION, "since": "2020-01-01T00:00:00Z", "limit": 1, "dry_run": True, "reason": "test"}
    after = world.admin.post("/v1/adapters/rollback", body).json()["next_after"]
    assert after is not None
    going_on = world.admin.post("/v1/adapters/rollback", body | {"after": after}).json()
    assert [each["user_id"] for each in going_on["users"]] == [str(world.bob)]
    for wrong in ({"after": after, "application": "other-app"}, {"after": str(world.ada)}):
        error = assert_error(world.admin.post("/v1/adapters/rollback", body | wrong), 422, "invalid_request")
        assert error["message"].startswith("body.after: ")
