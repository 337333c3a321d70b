"""API keys over HTTP."""

from __future__ import annotations

from uuid import uuid4

from tests.api.conftest import Caller, World


def test_new_key_opens_at_once_and_is_never_shown_again(world: World) -> None:
    response = world.admin.post("/v1/keys", {"name": "ada's phone", "scope": "user", "user": "test-app/ada"})
    key = response.json()
    assert response.status_code == 201
    assert (key["scope"], key["user_id"], key["application"]) == ("user", str(world.ada), "test-app")
    assert Caller(world.client, key["key"]).get("/v1/users/ada").status_code == 200
    listed = world.admin.get("/v1/keys")
    assert key["id"] in listed.text
    assert key["key"] not in listed.text
    assert "sha256" not in listed.text


def test_revoked_key_is_shut_out_at_once(world: World) -> None:
    key = world.admin.post("/v1/keys", {"name": "k", "scope": "application", "application": "test-app"}).json()
    caller = Caller(world.client, key["key"])
    assert caller.get("/v1/users").status_code == 200
    revoked = world.admin.delete(f"/v1/keys/{key['id']}")
    assert (revoked.status_code, revoked.json()["revoked_at"] is not None) == (200, True)
    assert caller.get("/v1/users").status_code == 401
    assert world.admin.delete(f"/v1/keys/{key['id']}").json() == revoked.json()
    assert world.admin.delete(f"/v1/keys/{uuid4()}").status_code == 404


def test_key_that_cannot_be_right_is_refused(world: World) -> None:
    wrong = [
        ({"name": "k", "scope": "god"}, 422),
        ({"name": "", "scope": "admin"}, 422),
        ({"name": "x" * 65, "scope": "admin"}, 422),
        ({"name": "k", "scope": "application"}, 400),
        ({"name": "k", "scope": "application", "application": "a/b"}, 422),
        ({"name": "k", "scope": "user"}, 400),
        ({"name": "k", "scope": "user", "user": "ghost"}, 404),
        ({"name": "k", "scope": "admin", "user": "test-app/ada"}, 400),
    ]
    assert [(body, world.admin.post("/v1/keys", body).status_code) for body, _ in wrong] == wrong
    assert len(world.admin.get("/v1/keys").json()["items"]) == len(world.keys)


def test_keys_come_in_pages(world: World) -> None:
    page = world.admin.get("/v1/keys", limit=3).json()
    rest = world.admin.get("/v1/keys", limit=3, cursor=page["next_cursor"]).json()
    assert {key["id"] for key in page["items"] + rest["items"]} == {str(key_id) for key_id in world.keys.values()}
