"""Webhooks over HTTP: the API writes rows and resolves nothing."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from paaplus.db.tables import DeliveryRow, UserRow
from paaplus.db.tables.events import EventKind
from paaplus.services import events
from tests.api.conftest import World
from tests.api.test_errors import assert_error

URL = "https://app.example/hook"


def test_webhook_shows_its_secret_once(world: World) -> None:
    made = world.application.post("/v1/webhooks", {"url": URL, "kinds": ["job.failed", "adapter.promoted"]})
    assert made.status_code == 201
    new = made.json()
    assert new["secret"].startswith("whsec_")
    assert len(new["secret"]) > 40
    assert new["kinds"] == ["adapter.promoted", "job.failed"]
    assert (new["application"], new["failures"], new["disabled_at"]) == ("test-app", 0, None)
    [listed] = world.application.get("/v1/webhooks").json()["items"]
    assert listed == {name: value for name, value in new.items() if name != "secret"}
    assert world.admin.get("/v1/webhooks").json()["items"] == [listed]
    assert world.other.get("/v1/webhooks").json()["items"] == []
    assert_error(world.other.delete(f"/v1/webhooks/{new['id']}"), 404, "not_found")
    assert world.application.delete(f"/v1/webhooks/{new['id']}").status_code == 204
    assert_error(world.application.delete(f"/v1/webhooks/{new['id']}"), 404, "not_found")
    acts = [entry["action"] for entry in world.admin.get("/v1/audit", limit=2).json()["items"]]
    assert acts == ["webhook_deleted", "webhook_created"]


def test_secret_is_not_stored_for_a_repeated_request(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    assert world.application.post("/v1/webhooks", {"url": URL}, headers=headers).status_code == 201
    again = world.application.post("/v1/webhooks", {"url": URL}, headers=headers)
    assert_error(again, 409, "conflict")
    assert len(world.application.get("/v1/webhooks").json()["items"]) == 1


def test_all_kinds_are_the_default_and_an_admin_may_mean_all_applications(world: World) -> None:
    every = world.admin.post("/v1/webhooks", {"url": URL}).json()
    assert every["application"] is None
    assert set(every["kinds"]) == {
        "training.finished",
        "adapter.promoted",
        "adapter.refused",
        "adapter.rolled_back",
        "job.failed",
        "drift.found",
    }
    assert world.admin.post("/v1/webhooks", {"url": URL, "application": "test-app"}).json()["application"] == "test-app"
    foreign = world.application.post("/v1/webhooks", {"url": URL, "application": "other-app"})
    assert_error(foreign, 403, "forbidden")


@pytest.mark.parametrize("url", ["http://app.example/", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "x"])
def test_url_that_no_webhook_may_have_is_refused(world: World, url: str) -> None:
    assert_error(world.application.post("/v1/webhooks", {"url": url}), 400, "invalid_input")


def test_wrong_bodies_are_refused(world: World) -> None:
    for body in ({}, {"url": 7}, {"url": URL, "kinds": []}, {"url": URL, "kinds": ["x"]}, {"url": URL, "secret": "s"}):
        assert world.application.post("/v1/webhooks", body).status_code == 422


def test_a_webhook_is_disabled_enabled_and_its_deliveries_are_listed_with_their_errors(world: World) -> None:
    made = world.application.post("/v1/webhooks", {"url": URL}).json()
    path = f"/v1/webhooks/{made['id']}"
    disabled = world.application.post(f"{path}/disable").json()
    assert disabled["disabled_at"] is not None
    assert world.application.post(f"{path}/disable").json() == disabled, "repeating it changes nothing"
    assert world.application.post(f"{path}/enable").json()["disabled_at"] is None
    with world.database.session() as session:
        user_id = session.execute(sa.select(UserRow.id).where(UserRow.application == "test-app").limit(1)).scalar_one()
        for kind in (EventKind.ADAPTER_PROMOTED, EventKind.DRIFT_FOUND):
            events.write(session, kind, user_id, {})
        session.execute(sa.update(DeliveryRow).values(attempts=3, last_error="answered 500: no success"))
    first = world.application.get(f"{path}/deliveries", limit=1).json()
    [item] = first["items"]
    assert (item["kind"], item["state"], item["attempts"]) == ("drift.found", "waiting", 3)
    assert item["last_error"] == "answered 500: no success"
    second = world.application.get(f"{path}/deliveries", cursor=first["next_cursor"]).json()
    assert [each["kind"] for each in second["items"]] == ["adapter.promoted"]
    assert_error(world.other.get(f"{path}/deliveries"), 404, "not_found")
    assert_error(world.other.post(f"{path}/disable"), 404, "not_found")
