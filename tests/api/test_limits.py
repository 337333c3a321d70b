"""How much a key and a user may do: 429 with `Retry-After`, and everybody else goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from paaplus.db.tables import FeedbackRow
from paaplus.settings import Settings
from tests.api.conftest import World, app_with, jpeg
from tests.api.test_errors import assert_error


@pytest.fixture
def world(settings: Settings) -> Iterator[World]:
    limited = settings.model_copy(
        update={
            "requests_per_minute": 40,
            "user_requests_per_minute": 5,
            "feedback_per_key_per_day": 30,
            "feedback_per_user_per_day": 4,
            "user_predictions_per_day": 7,
            "predictions_per_key_per_day": 50,
            "user_uploads_per_day": 2,
        }
    )
    with TestClient(app_with(limited)) as client:
        yield World(client)


def test_key_that_asks_too_often_is_told_when_to_come_back(world: World) -> None:
    answers = [world.user.get("/v1/users/ada") for _ in range(7)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert "its 5 requests in 60 s" in assert_error(answers[-1], 429, "too_many")["message"]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 12
    assert world.application.get("/v1/users/ada").status_code == 200
    assert [world.client.get(path).status_code for path in ("/healthz", "/readyz", "/metrics")] == [200] * 3


def test_user_who_floods_is_refused_what_is_new_and_nobody_else_is(world: World) -> None:
    for i in range(4):
        assert world.application.post("/v1/feedback", world.rating(f"e{i}")).status_code == 201
    refused = world.application.post("/v1/feedback", world.rating("e4"))
    assert "at most 4 new events of one user" in assert_error(refused, 429, "too_many")["message"]
    assert 86_300 < int(refused.headers["Retry-After"]) <= 86_400
    assert world.application.post("/v1/feedback", world.rating("e0")).json()["status"] == "duplicate"
    assert world.application.post("/v1/feedback", world.rating("b0", user="bob")).status_code == 201
    with world.database.session() as session:
        first = session.execute(sa.select(FeedbackRow).where(FeedbackRow.event_id == "e0")).scalar_one()
        first.received_at -= timedelta(days=1)
    assert world.application.post("/v1/feedback", world.rating("e4")).status_code == 201
    assert world.application.post("/v1/feedback", world.rating("e5")).status_code == 429


def test_batch_is_accepted_as_far_as_the_quota_goes(world: World) -> None:
    world.application.post("/v1/feedback", {"events": [world.rating(f"a{i}") for i in range(3)]})
    batch = {"events": [world.rating(f"b{i}") for i in range(8)] + [world.rating("c", user="bob")]}
    answer = world.application.post("/v1/feedback", batch).json()
    assert (answer["accepted"], answer["rejected"]) == (2, 7)
    assert [item["status"] for item in answer["items"]] == ["accepted"] + ["rejected"] * 7 + ["accepted"]
    assert {item["error"]["code"] for item in answer["items"][1:8]} == {"too_many"}
    again = world.application.post("/v1/feedback", batch).json()
    assert (again["accepted"], again["duplicates"], again["rejected"]) == (0, 2, 7)


def test_key_that_posts_too_many_events_is_refused_whole(world: World) -> None:
    users = ["ada", "bob"]
    batch = {"events": [world.rating(f"x{i}", user=users[i % 2]) for i in range(20)]}
    assert world.application.post("/v1/feedback", batch).status_code == 200
    before = world.application.get("/v1/users/ada").json()["feedback_sequence"]
    assert_error(world.application.post("/v1/feedback", batch), 429, "too_many")
    assert world.application.get("/v1/users/ada").json()["feedback_sequence"] == before


def test_predictions_of_a_key_have_a_daily_share_by_item(world: World) -> None:
    body = {"items": [{"user": "ada", "image": str(world.images[0])}] * 3}
    answers = [world.user.post("/v1/predictions", body) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert "its 7 predictions in 86400 s" in assert_error(answers[-1], 429, "too_many")["message"]
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert world.application.post("/v1/predictions", body).status_code == 200


def test_uploads_of_a_key_have_a_daily_share(world: World) -> None:
    answers = [world.user.upload(jpeg(20 * i)) for i in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert "its 2 uploads in 86400 s" in assert_error(answers[-1], 429, "too_many")["message"]
    assert world.application.upload(jpeg(200)).status_code == 201
