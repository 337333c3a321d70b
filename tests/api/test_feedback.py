"""Feedback over HTTP: one event, or many."""

from __future__ import annotations

import base64
import json
import math
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.api import feedback
from paaplus.api.schemas.feedback import FeedbackItemOut, ItemError
from paaplus.db.tables import FeedbackRow, PredictionReceiptRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import NotFound
from paaplus.services.feedback.intake import AppendResult
from tests.api.conftest import Caller, World, jpeg
from tests.support.databases import on_both_databases

GHOST = "0199f7c4-8f3e-7c55-b7a0-3f3a5d7f0001"


def log(world: World) -> list[FeedbackRow]:
    with world.database.read_session() as session:
        return list(session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.sequence)).scalars())


def test_event_is_kept_once(world: World) -> None:
    first = world.application.post("/v1/feedback", world.rating())
    again = world.application.post("/v1/feedback", world.rating())
    told = {"event_id": "e1", "sequence": 1, "trains": True}
    assert (first.status_code, first.json()) == (201, told | {"status": "accepted"})
    assert (again.status_code, again.json()) == (200, told | {"status": "duplicate"})
    (row,) = log(world)
    assert row.payload == {"ratings": {"beauty": 6.0}, "scale": {"min": 1.0, "max": 7.0}}
    assert (row.source, row.user_id) == (f"key:{world.keys['application']}", world.ada)


def test_whole_and_decimal_numbers_are_the_same_event(world: World) -> None:
    world.application.post("/v1/feedback", world.rating(value=6))
    assert world.application.post("/v1/feedback", world.rating(value=6.0)).json()["status"] == "duplicate"


def test_another_event_under_the_same_id_is_a_conflict(world: World) -> None:
    world.application.post("/v1/feedback", world.rating(value=6))
    response = world.application.post("/v1/feedback", world.rating(value=5))
    assert (response.status_code, response.json()["error"]["code"]) == (409, "conflict")
    assert len(log(world)) == 1


def test_every_kind_is_stored(world: World) -> None:
    item = {"user": "ada", "image": str(world.images[0])}
    predicted = world.application.post("/v1/predictions", {"items": [item]}).json()["items"][0]
    scored = {"ratings": {"beauty": 2}, "scale": {"min": 0, "max": 10}}
    events: list[dict[str, Any]] = [
        world.rating("r"),
        {"event_id": "c", "user": "ada", "kind": "correction", "receipt": predicted["receipt_id"], **scored},
        {"event_id": "v", "user": "ada", "kind": "comparison", "image": str(world.images[0]),
         "other_image": str(world.images[1]), "preference": {"beauty": "second"}},
        {"event_id": "b", "user": "ada", "kind": "binary", "image": str(world.images[1]), "liked": False},
        {"event_id": "x", "user": "ada", "kind": "retraction", "retracts": "r"},
    ]  # fmt: skip
    for event in events:
        response = world.application.post("/v1/feedback", event | {"occurred_at": "2026-11-22T13:00:00+01:00"})
        assert response.status_code == 201, response.text
        assert response.json()["trains"] is (event["kind"] != "retraction")
    again = [event | {"occurred_at": "2026-11-22T13:00:00+01:00"} for event in events]
    in_one_call = world.application.post("/v1/feedback", {"events": again}).json()["items"]
    assert [item["trains"] for item in in_one_call] == [True, True, True, True, False]
    rows = log(world)
    assert [row.kind.value for row in rows] == ["rating", "correction", "comparison", "binary", "retraction"]
    assert rows[1].image_id == world.images[0]
    assert (rows[2].payload, rows[3].payload) == ({"preference": {"beauty": "second"}}, {"liked": False})
    assert rows[4].retracts_sequence == 1
    assert {row.occurred_at.isoformat() for row in rows if row.occurred_at} == {"2026-11-22T12:00:00+00:00"}


def test_batch_keeps_the_good_and_names_the_bad(world: World) -> None:
    events: list[Any] = [
        world.rating("a"),
        world.rating("b", value=99),
        "nonsense",
        world.rating("c", user="ghost"),
        world.rating("a"),
        world.rating("d", image=1, ratings={}),
        world.rating("e", image=1),
        {"event_id": 7, "kind": "rating"},
        world.rating("f", kind="wish"),
        world.rating("g", user="bob"),
        world.rating("a", value=1),
        world.rating("h", surprise=True),
        None,
    ]
    response = world.application.post("/v1/feedback", {"events": events})
    assert response.status_code == 200
    body = response.json()
    assert (body["accepted"], body["duplicates"], body["rejected"]) == (3, 1, 9)
    assert [item["index"] for item in body["items"]] == list(range(13))
    assert [(item["event_id"], item["status"], (item["error"] or {}).get("code")) for item in body["items"]] == [
        ("a", "accepted", None),
        ("b", "rejected", "invalid_input"),
        (None, "rejected", "invalid_input"),
        ("c", "rejected", "not_found"),
        ("a", "duplicate", None),
        ("d", "rejected", "invalid_input"),
        ("e", "accepted", None),
        (None, "rejected", "invalid_input"),
        ("f", "rejected", "invalid_input"),
        ("g", "accepted", None),
        ("a", "rejected", "conflict"),
        ("h", "rejected", "invalid_input"),
        (None, "rejected", "invalid_input"),
    ]
    assert "99" in body["items"][1]["error"]["message"]
    assert body["items"][2]["error"]["message"] == "an object is needed, not a text"
    assert body["items"][12]["error"]["message"] == "an object is needed, not null"
    assert [(row.event_id, row.sequence) for row in log(world)] == [("a", 1), ("g", 1), ("e", 2)]
    again = world.application.post("/v1/feedback", {"events": events}).json()
    assert (again["accepted"], again["duplicates"]) == (0, 4)


def test_thousand_events_are_accepted_and_one_more_refused(world: World) -> None:
    events = [world.rating(f"e{i}", image=i % 3, value=1 + i % 7) for i in range(1001)]
    assert world.application.post("/v1/feedback", {"events": events[:1000]}).json()["accepted"] == 1000
    refused = world.application.post("/v1/feedback", {"events": events})
    assert (refused.status_code, len(log(world))) == (400, 1000)
    assert world.application.post("/v1/feedback", {"events": []}).status_code == 422


IMPOSSIBLE: list[tuple[dict[str, Any], int]] = [
    ({"ratings": {"beauty": True}}, 422),
    ({"ratings": {"beauty": "6"}}, 422),
    ({"ratings": {"beauty": None}}, 422),
    ({"ratings": {"beauty": math.nan}}, 422),
    ({"ratings": {"beauty": math.inf}}, 422),
    ({"ratings": {"beauty": 10**400}}, 422),
    ({"ratings": {}}, 422),
    ({"ratings": {"be\0auty": 6}}, 422),
    ({"ratings": {"speed": 6}}, 400),
    ({"ratings": {"beauty": 8}}, 400),
    ({"scale": {"min": 7, "max": 1}}, 400),
    ({"scale": {"min": 1, "max": math.nan}}, 422),
    ({"scale": {"min": 1}}, 422),
    ({"scale": {"min": 1, "max": 7, "step": 1}}, 422),
    ({"image": GHOST}, 404),
    ({"image": "nonsense"}, 422),
    ({"image": 7}, 422),
    ({"user": "ghost"}, 404),
    ({"user": ""}, 422),
    ({"user": "nul\0"}, 422),
    ({"event_id": ""}, 422),
    ({"event_id": "x" * 129}, 422),
    ({"event_id": "line\nbreak"}, 422),
    ({"event_id": "\ud800"}, 422),
    ({"kind": "wish"}, 422),
    ({"kind": ["rating"]}, 422),
    ({"occurred_at": "2026-11-22T12:00:00"}, 422),
    ({"occurred_at": 1_763_812_800}, 422),
    ({"occurred_at": "0001-01-01T00:00:00+14:00"}, 422),
    ({"occurred_at": "9999-12-31T23:59:59-12:00"}, 422),
    ({"unknown": 1}, 422),
    ({"events": []}, 422),
]


def test_event_that_cannot_be_right_changes_nothing(world: World) -> None:
    for change, status in IMPOSSIBLE:
        body = json.dumps(world.rating() | change)
        response = world.application.request(
            "POST", "/v1/feedback", content=body, headers={"Content-Type": "application/json"}
        )
        assert response.status_code == status, (change, response.text)
        assert response.json()["error"]["message"]
    assert log(world) == []


def test_user_key_gives_feedback_for_itself_only(world: World) -> None:
    assert world.user.post("/v1/feedback", world.rating("a")).status_code == 201
    assert world.user.post("/v1/feedback", world.rating("b", user="bob")).status_code == 404
    batch = world.user.post("/v1/feedback", {"events": [world.rating("c"), world.rating("d", user=str(world.bob))]})
    assert [item["status"] for item in batch.json()["items"]] == ["accepted", "rejected"]


def test_image_of_another_application_or_person_does_not_exist(world: World) -> None:
    bobs = world.application.upload(jpeg(), user="bob").json()["id"]
    for image in (str(world.foreign_image), bobs):
        assert world.application.post("/v1/feedback", world.rating(image=0) | {"image": image}).status_code == 404


def test_receipt_of_another_person_does_not_exist(world: World) -> None:
    item = {"user": "bob", "image": str(world.images[0])}
    receipt = world.application.post("/v1/predictions", {"items": [item]}).json()["items"][0]["receipt_id"]
    event = {k: v for k, v in world.rating().items() if k != "image"} | {"kind": "correction", "receipt": receipt}
    assert world.application.post("/v1/feedback", event).status_code == 404
    assert world.application.post("/v1/feedback", event | {"user": "bob"}).status_code == 201


def correction(world: World, receipt: Any, event_id: str = "c") -> dict[str, Any]:
    rating = {k: v for k, v in world.rating(event_id).items() if k != "image"}
    return rating | {"kind": "correction", "receipt": receipt}


def test_signed_receipt_is_named_as_often_as_one_likes_and_has_one_row(world: World) -> None:
    world.adapter(world.ada)
    item = {"user": "ada", "image": str(world.images[0])}
    predicted = world.application.post("/v1/predictions", {"items": [item]}).json()["items"][0]
    first = world.application.post("/v1/feedback", correction(world, predicted["receipt_id"]))
    again = world.application.post("/v1/feedback", correction(world, predicted["receipt_id"]))
    batch = {"events": [correction(world, predicted["receipt_id"], "d"), correction(world, "r1." + "A" * 75, "e")]}
    more = world.application.post("/v1/feedback", batch).json()
    assert (first.status_code, again.status_code) == (201, 200)
    assert [item["status"] for item in more["items"]] == ["accepted", "rejected"]
    with world.database.read_session() as session:
        row = session.execute(sa.select(PredictionReceiptRow)).scalar_one()
    assert (row.user_id, row.image_id, row.scores) == (world.ada, world.images[0], predicted["scores"])
    assert str(row.adapter_id) == predicted["adapter"]["id"]
    listed = world.application.get("/v1/feedback", user="ada").json()["items"]
    assert {event["receipt_id"] for event in listed} == {str(row.id)}
    third = world.application.post("/v1/feedback", correction(world, str(row.id), "f"))
    assert third.status_code == 201, "a stored receipt is named by its id, as those of before"


def test_receipt_that_was_not_given_is_refused(world: World) -> None:
    item = {"user": "ada", "image": str(world.images[0])}
    receipt = world.application.post("/v1/predictions", {"items": [item]}).json()["items"][0]["receipt_id"]
    changed = receipt[:-8] + ("A" if receipt[-8] != "A" else "B") + receipt[-7:]
    assert world.application.post("/v1/feedback", correction(world, changed)).status_code == 404
    for rubbish in ("", "r1.", "r1.x", "r2." + receipt[3:], "x" * 75, 7, None):
        answer = world.application.post("/v1/feedback", correction(world, rubbish))
        assert answer.status_code == 422, rubbish
    assert log(world) == []


def test_examples_of_the_documentation_fit_their_schema(world: World) -> None:
    """What `/docs` shows can be sent: it fails for the image that does not exist, not for its form."""
    document = world.client.get("/openapi.json").json()
    content = document["paths"]["/v1/feedback"]["post"]["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        response = world.application.post("/v1/feedback", example["value"])
        if "events" in example["value"]:
            errors = [item["error"] for item in response.json()["items"]]
            assert [error["code"] for error in errors] == ["not_found", "not_found"]
        else:
            assert response.json()["error"]["code"] == "not_found"


# --- the list


def test_log_is_listed_with_names_and_own_ids(world: World) -> None:
    image = world.application.upload(jpeg(), name="sea/beach.jpg", external_id="asset-1").json()
    world.application.post("/v1/feedback", world.rating("e1", image=0, occurred_at="2026-11-01T08:00:00Z"))
    world.application.post("/v1/feedback", world.rating("e2") | {"image": image["id"]})
    world.application.post("/v1/feedback", {"event_id": "e3", "user": "ada", "kind": "retraction", "retracts": "e1"})
    world.application.post(
        "/v1/feedback", {"event_id": "b1", "user": "bob", "kind": "binary", "image": image["id"], "liked": True}
    )
    items = world.application.get("/v1/feedback").json()["items"]
    assert [(item["user"], item["event_id"], item["sequence"]) for item in items] == [
        ("bob", "b1", 1), ("ada", "e3", 3), ("ada", "e2", 2), ("ada", "e1", 1),
    ]  # fmt: skip
    assert (items[0]["liked"], items[0]["ratings"]) == (True, None)
    assert (items[1]["kind"], items[1]["retracts"], items[1]["image"]) == ("retraction", "e1", None)
    about = {"id": image["id"], "name": "sea/beach.jpg", "external_id": "asset-1"}
    assert (items[2]["image"], items[2]["ratings"], items[2]["is_retracted"]) == (about, {"beauty": 6.0}, False)
    assert (items[3]["is_retracted"], items[3]["occurred_at"]) == (True, "2026-11-01T08:00:00Z")

    def found(**query: Any) -> list[str]:
        return [item["event_id"] for item in world.application.get("/v1/feedback", **query).json()["items"]]

    assert found(user="ada", order="oldest") == ["e1", "e2", "e3"]
    assert found(user="ada", order="oldest", after_sequence=1, limit=1) == ["e2"]
    assert found(image=image["id"]) == ["b1", "e2"]
    assert found(kind="retraction") == ["e3"]
    for order in ("newest", "oldest"):
        for query in ({"user": "ada"}, {}):
            pages, cursor = [], {}
            while True:
                page = world.application.get("/v1/feedback", limit=2, order=order, **query, **cursor).json()
                pages += [item["event_id"] for item in page["items"]]
                if page["next_cursor"] is None:
                    break
                cursor = {"cursor": page["next_cursor"]}
            assert pages == found(order=order, **query)
    assert [item["user"] for item in world.user.get("/v1/feedback").json()["items"]] == ["ada"] * 3
    assert world.other.get("/v1/feedback").json() == {"items": [], "next_cursor": None}
    assert world.user.get("/v1/feedback", user="bob").status_code == 404
    assert world.application.get("/v1/feedback", after_sequence=1).status_code == 400
    assert world.application.get("/v1/feedback", order="best").status_code == 422


@on_both_databases
def test_event_keeps_its_id_and_an_older_cursor_is_refused(world: World) -> None:
    """Cursors of lists of events were ids of events: they begin no page anywhere."""
    for number in range(3):
        world.application.post("/v1/feedback", world.rating(f"e{number}"))
    shown = [item["id"] for item in world.application.get("/v1/feedback").json()["items"]]
    assert len(set(shown)) == 3
    with world.database.session() as session:
        event = session.execute(sa.select(FeedbackRow).where(FeedbackRow.sequence == 1)).scalar_one()
        event.earlier_id = UUID(GHOST).bytes
    again = [item["id"] for item in world.application.get("/v1/feedback", user="ada").json()["items"]]
    assert again == [*shown[:2], GHOST]
    for query in ({}, {"user": "ada"}):
        cursor = world.application.get("/v1/feedback", limit=1, **query).json()["next_cursor"]
        of_list = base64.urlsafe_b64decode(cursor)[16:]
        older = base64.urlsafe_b64encode(UUID(GHOST).bytes + of_list).decode()
        page = world.application.get("/v1/feedback", limit=1, cursor=older, **query)
        assert page.status_code == 400
        assert "no event of this list" in page.json()["error"]["message"]
        gone = base64.urlsafe_b64encode(UUID(int=2**40).bytes + of_list).decode()
        assert world.application.get("/v1/feedback", limit=1, cursor=gone, **query).status_code == 400


def test_key_that_creates_users_creates_whom_it_names_first(world: World) -> None:
    made = world.admin.post(
        "/v1/keys", {"name": "k", "scope": "application", "application": "test-app", "creates_users": True}
    ).json()
    assert made["creates_users"] is True
    key = Caller(world.client, made["key"])
    body = {"users": ["fay"], "images": [str(world.images[0])]}
    assert world.application.post("/v1/predictions", body).status_code == 404, "an ordinary key does not"
    assert key.post("/v1/predictions", body).status_code == 200
    assert key.post("/v1/feedback", world.rating("g1", user="gus")).status_code == 201
    many = key.post("/v1/feedback", {"events": [world.rating(f"h{n}", user=f"hal-{n % 2}") for n in range(4)]})
    assert many.json()["accepted"] == 4
    assert key.post("/v1/rankings", {"user": "ivy"}).json()["source_reason"] == "no_adapter"
    assert key.upload(jpeg(), user="jim").json()["owner_id"] is not None
    named = {user["external_id"] for user in world.application.get("/v1/users").json()["items"]}
    assert named == {"ada", "bob", "fay", "gus", "hal-0", "hal-1", "ivy", "jim"}
    for foreign in (str(world.eve), "a/b"):
        assert key.post("/v1/rankings", {"user": foreign}).status_code == 404
    assert world.admin.post("/v1/keys", {"name": "k", "scope": "admin", "creates_users": True}).status_code == 400


@pytest.mark.parametrize("error", [None, NotFound('no "such" image\n')])
@pytest.mark.parametrize("kind", list(FeedbackKind))
def test_text_of_an_item_is_that_of_its_model(kind: FeedbackKind, error: NotFound | None) -> None:
    result = AppendResult(3, 'e "1" é\\', "rejected" if error else "accepted", None if error else 7, error)
    told = ItemError(code="not_found", message=str(error)) if error else None
    expected = FeedbackItemOut(
        index=3,
        event_id=result.event_id,
        status=result.status,
        sequence=result.sequence,
        trains=kind.trains,
        error=told,
    )
    text = feedback._item(result, kind.value)
    assert json.loads(text) == json.loads(expected.model_dump_json())
    assert list(json.loads(text)) == list(FeedbackItemOut.model_fields)
