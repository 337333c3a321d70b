"""Health, readiness and metrics, for machines that watch."""

from __future__ import annotations

import re
from typing import Any
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from paaplus.db.tables.jobs import JobState
from paaplus.db.types import utcnow
from paaplus.errors import Unavailable
from tests.api.conftest import World
from tests.support.factories import make_job, make_user


def values(text: str) -> dict[str, float]:
    """Prometheus text as {series: value}."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_process_is_healthy_and_ready(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "database": "ok", "storage": "ok"}


def test_process_is_healthy_but_not_ready_without_database_or_storage(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> Any:
        raise Unavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(world.context.blobs, "exists", away)
        world.context.readiness._checked = None
        response = world.client.get("/readyz")
        assert (response.status_code, response.json()["storage"], response.json()["database"]) == (503, "away", "ok")
    take_database_away(world)
    world.context.readiness._checked = None  # an answer is used again for a second
    response = world.client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "not_ready")
    assert response.json()["database"] == "away"
    assert world.client.get("/healthz").status_code == 200


def take_database_away(world: World) -> None:
    """Every new connection fails, as when the server is down or the file is on a disk that is gone."""
    import sqlalchemy as sa

    world.database.dispose()

    @sa.event.listens_for(world.database.engine, "do_connect")
    def refuse(*_: Any) -> Any:
        raise world.database.engine.dialect.loaded_dbapi.OperationalError("connection refused")


def test_metrics_count_requests_by_route_never_by_path(world: World) -> None:
    for _ in range(3):
        world.application.get("/v1/users/ada")
    world.application.get(f"/v1/users/{uuid4()}")
    world.client.get("/no/such/path")
    world.client.request("BREW", "/healthz")
    text = world.client.get("/metrics").text
    found = values(text)
    assert found['paaplus_requests_total{method="GET",route="/v1/users/{user}",status="200"}'] == 3
    assert found['paaplus_requests_total{method="GET",route="/v1/users/{user}",status="404"}'] == 1
    assert found['paaplus_requests_total{method="GET",route="unmatched",status="404"}'] == 1
    assert found['paaplus_request_seconds_count{method="GET",route="/v1/users/{user}"}'] == 4
    assert "BREW" not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-", text)


def test_metrics_count_feedback_and_predictions(world: World) -> None:
    world.application.post("/v1/feedback", {"events": [world.rating("a"), world.rating("a"), world.rating("b"), 7]})
    world.application.post("/v1/feedback", world.rating("c"))
    world.application.post("/v1/feedback", world.rating("c"))
    world.application.post("/v1/feedback", world.rating("d", value=99))
    body = {"users": ["ada"], "images": [str(image) for image in world.images]}
    world.application.post("/v1/predictions", body)
    found = values(world.client.get("/metrics").text)
    assert found["paaplus_feedback_accepted_total"] == 3
    assert found['paaplus_predictions_total{source="base",status="scored"}'] == 2
    assert found['paaplus_predictions_total{source="none",status="pending"}'] == 1


def test_metrics_count_jobs_and_due_users_in_the_database(world: World) -> None:
    with world.database.session() as session:
        for state in (JobState.QUEUED, JobState.DEAD, JobState.DEAD):
            make_job(session, state=state)
        make_user(session, next_due_at=utcnow())
        make_user(session, next_due_at=utcnow().replace(year=2999))
    found = values(world.client.get("/metrics").text)
    assert {state: found[f'paaplus_jobs{{state="{state}"}}'] for state in JobState} == {
        "queued": 1,
        "running": 0,
        "succeeded": 0,
        "dead": 2,
        "cancelled": 0,
    }
    assert found["paaplus_due_users"] == 1


def test_metrics_are_there_without_the_database(world: World) -> None:
    world.client.get("/healthz")
    take_database_away(world)
    text = world.client.get("/metrics").text
    assert "paaplus_requests_total" in text
    assert "paaplus_jobs" not in text
