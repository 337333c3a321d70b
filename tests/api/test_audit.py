"""The audit trail over HTTP."""

from __future__ import annotations

from tests.api.conftest import World


def test_audit_tells_who_did_what_newest_first_in_pages(world: World) -> None:
    world.application.put("/v1/users/ada/policy", {"paused": True})
    world.application.delete("/v1/users/bob")
    page = world.admin.get("/v1/audit", limit=2).json()
    actor = f"key:{world.keys['application']}"
    assert [(e["action"], e["actor"], e["subject_id"]) for e in page["items"]] == [
        ("user_erased", actor, str(world.bob)),
        ("policy_set", actor, str(world.ada)),
    ]
    rest = world.admin.get("/v1/audit", cursor=page["next_cursor"]).json()
    assert [entry["action"] for entry in rest["items"]] == ["key_created"] * len(world.keys)
    assert "bob" not in str(page)
