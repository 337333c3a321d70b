"""Audiences over HTTP. What is scored how: `tests/paaplus/services/predictions/test_audiences.py`."""

from __future__ import annotations

import json

import pytest
import sqlalchemy as sa

from paaplus.api import audience_json
from paaplus.api.schemas.audiences import AudienceOut
from paaplus.db.tables import AdapterRow, PredictionReceiptRow, UserRow
from paaplus.services.predictions.audiences import Wanted
from paaplus.services.users.keys import OPERATOR
from tests.api.conftest import World


def test_audience_has_the_numbers_of_predictions(world: World) -> None:
    version = world.adapter(world.ada)
    image = str(world.images[0])
    answer = world.application.post("/v1/audiences", {"image": image})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    found = answer.json()
    assert list(found) == list(AudienceOut.model_fields)
    AudienceOut.model_validate_json(answer.content)
    predicted = world.application.post("/v1/predictions", {"users": ["ada", "bob"], "images": [image]}).json()["items"]
    assert found["user_id"] == [item["user_id"] for item in predicted] == [str(world.ada), str(world.bob)]
    assert found["external_id"] == ["ada", "bob"]
    assert found["scores"] == {"beauty": [item["scores"]["beauty"] for item in predicted]}
    assert found["generic"] == predicted[0]["generic"]
    assert found["version"] == [version.number, None]
    assert found["base_model"] == predicted[0]["base_model"]
    assert (found["failed"], found["next_cursor"]) == ({}, None)
    assert world.admin.post("/v1/audiences", {"image": image}).json() == found
    named = world.application.post("/v1/audiences", {"image": image, "users": ["bob", str(world.ada)]}).json()
    assert (named["external_id"], named["scores"]["beauty"]) == (["bob", "ada"], found["scores"]["beauty"][::-1])
    with world.database.read_session() as session:
        assert session.execute(sa.select(PredictionReceiptRow.id)).all() == [], "nothing is stored"


def test_audience_page_by_page_and_from_the_top(world: World) -> None:
    world.adapter(world.ada)
    image = str(world.images[0])
    whole = world.application.post("/v1/audiences", {"image": image}).json()
    first = world.application.post("/v1/audiences", {"image": image, "limit": 1}).json()
    assert first["external_id"] == ["ada"]
    second = world.application.post(
        "/v1/audiences", {"image": image, "limit": 1, "cursor": first["next_cursor"]}
    ).json()
    assert second["external_id"] == ["bob"]
    last = world.application.post("/v1/audiences", {"image": image, "cursor": second["next_cursor"]}).json()
    assert (last["external_id"], last["scores"], last["next_cursor"]) == ([], {"beauty": []}, None)
    best = max(zip(whole["scores"]["beauty"], whole["external_id"], strict=True))
    top = world.application.post("/v1/audiences", {"image": image, "top": 1, "aspect": "beauty"}).json()
    assert (top["scores"]["beauty"], top["external_id"]) == ([best[0]], [best[1]])


def test_keys_see_their_own_users_only(world: World) -> None:
    image, foreign = str(world.images[0]), str(world.foreign_image)
    assert world.application.post("/v1/audiences", {"image": foreign}).status_code == 404
    assert world.other.post("/v1/audiences", {"image": image}).status_code == 404
    assert world.user.post("/v1/audiences", {"image": image}).status_code == 403
    assert world.nobody.post("/v1/audiences", {"image": image}).status_code == 401
    for caller, ref in ((world.application, str(world.eve)), (world.admin, str(world.eve))):
        answer = caller.post("/v1/audiences", {"image": image, "users": [str(world.ada), ref]})
        assert answer.status_code == 404, answer.text
    assert "eve" not in world.admin.post("/v1/audiences", {"image": image}).text


def test_erased_users_are_gone_and_rolled_back_ones_get_the_generic_score(world: World) -> None:
    world.adapter(world.ada)
    image = str(world.images[0])
    before = world.application.post("/v1/audiences", {"image": image}).json()
    rolled = world.admin.post(f"/v1/users/{world.ada}/rollback", {"to": 0, "reason": "a try"})
    assert rolled.status_code == 200, rolled.text
    after = world.application.post("/v1/audiences", {"image": image}).json()
    assert after["version"] == [None, None]
    assert after["scores"]["beauty"][0] == after["generic"]["beauty"] != before["scores"]["beauty"][0]
    assert world.application.delete("/v1/users/ada").status_code in (200, 202, 204)
    assert world.application.post("/v1/audiences", {"image": image}).json()["external_id"] == ["bob"]


def test_a_pinned_user_gets_the_pinned_version(world: World) -> None:
    world.adapter(world.ada)
    with world.database.session() as session:
        session.execute(sa.update(UserRow).where(UserRow.id == world.ada).values(pinned=True))
    found = world.application.post("/v1/audiences", {"image": str(world.images[0])}).json()
    assert found["version"] == [1, None]


def test_a_damaged_version_fails_its_user_only(world: World) -> None:
    world.adapter(world.ada)
    with world.database.session() as session:
        session.execute(sa.update(AdapterRow).values(data=b"other bytes"))
    found = world.application.post("/v1/audiences", {"image": str(world.images[0])}).json()
    assert found["scores"]["beauty"] == [None, found["generic"]["beauty"]]
    assert (list(found["failed"]), "is damaged" in found["failed"]["0"]) == (["0"], True)
    top = world.application.post("/v1/audiences", {"image": str(world.images[0]), "top": 5}).json()
    assert (top["external_id"], top["failed"]) == (["bob"], {})


def test_audience_that_cannot_be_made_is_refused(world: World) -> None:
    image = str(world.images[0])
    for body, status in (
        ({}, 422),
        ({"image": "no"}, 422),
        ({"image": image, "top": 0}, 422),
        ({"image": image, "top": 3, "limit": 3}, 422),
        ({"image": image, "users": ["ada"], "cursor": image}, 422),
        ({"image": image, "users": []}, 422),
        ({"image": image, "aspect": "loudness"}, 400),
        ({"image": image, "users": ["nobody"]}, 404),
        ({"image": str(world.images[2])}, 503),
    ):
        answer = world.application.post("/v1/audiences", body)
        assert answer.status_code == status, (body, answer.text)
    assert "no features yet" in answer.json()["detail"]


def test_it_counts_as_predictions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paaplus.api.scrapes.FRESH_S", -1.0)
    text = world.client.get("/metrics").text
    world.application.post("/v1/audiences", {"image": str(world.images[0])})
    later = world.client.get("/metrics").text
    line = 'paaplus_predictions_total{source="base",status="scored"} '
    assert line + "2.0" in later or line not in text
    assert 'paaplus_cache_lookups_total{cache="audiences",result="miss"}' in later


@pytest.mark.parametrize("num", [0, 1, 3])
def test_columns_are_those_of_the_model(world: World, num: int) -> None:
    users = world.context.audiences.score(OPERATOR, Wanted(world.images[0], limit=max(num, 1)), lambda _: None)
    text = audience_json.columns(users, "next")
    out = AudienceOut.model_validate_json(text)
    assert json.loads(out.model_dump_json()) == json.loads(text)
