"""Predictions over HTTP."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import sqlalchemy as sa

from paaplus.db.tables import JobRow, PredictionReceiptRow
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.services.predictions.confidence import confidences
from tests.api.conftest import World
from tests.support.factories import make_features


def items(*pairs: tuple[str, UUID]) -> dict[str, Any]:
    return {"items": [{"user": user, "image": str(image)} for user, image in pairs]}


def make_ready(world: World) -> None:
    """The last image gets its features, as a worker would write them."""
    with world.database.session() as session:
        make_features(
            session,
            image_id=world.images[2],
            extractor_digest=world.base.extractor_digest,
            data=world.features_ID[2].tobytes(),
        )


def test_scores_come_with_what_gave_them(world: World) -> None:
    row = world.adapter(world.ada)
    response = world.application.post("/v1/predictions", items(("ada", world.images[0]), ("bob", world.images[0])))
    assert response.status_code == 200
    assert "Retry-After" not in response.headers
    taste_1R = world.base.project(world.features_ID[:1])
    generic_1A = world.base.generic(taste_1R)
    personal_1A = adapter_from_bytes(row.data).score(taste_1R, generic_1A)
    ada, bob = response.json()["items"]
    assert np.float32(ada["scores"]["beauty"]) == personal_1A[0, 0]
    assert np.float32(ada["generic"]["beauty"]) == np.float32(bob["scores"]["beauty"]) == generic_1A[0, 0]
    assert (ada["source"], bob["source"], bob["source_reason"]) == ("adapter", "base", "no_adapter")
    assert (ada["adapter"]["id"], ada["adapter"]["number"], ada["adapter"]["digest"]) == (str(row.id), 1, row.digest)
    assert 0 <= ada["adapter"]["age_s"] < 60
    assert bob["adapter"] is None
    assert ada["base_model"] == {"name": "tiny", "version": 1, "digest": world.base.digest}
    receipt = world.context.predictor.signer.read(world.ada, ada["receipt_id"])
    assert (receipt.image_id, receipt.adapter_id) == (world.images[0], row.id)
    assert receipt.scores == (ada["scores"]["beauty"],)


def test_users_times_images_is_every_pair_in_order(world: World) -> None:
    body = {"users": ["ada", "bob"], "images": [str(image) for image in world.images[:2]]}
    answered = world.application.post("/v1/predictions", body).json()["items"]
    assert [(UUID(item["user_id"]), UUID(item["image_id"])) for item in answered] == [
        (user, image) for user in (world.ada, world.bob) for image in world.images[:2]
    ]


def test_image_that_is_not_ready_is_pending_with_job_and_retry_after(world: World) -> None:
    response = world.application.post("/v1/predictions", items(("ada", world.images[2]), ("ada", world.images[0])))
    pending, scored = response.json()["items"]
    assert (response.status_code, response.headers["Retry-After"], response.json()["pending"]) == (200, "2", 1)
    assert (pending["status"], pending["scores"], pending["receipt_id"]) == ("pending", None, None)
    assert scored["status"] == "scored"
    job = world.application.get(f"/v1/jobs/{pending['job_id']}").json()
    assert (job["kind"], job["state"]) == ("extract_features", "queued")
    again = world.application.post("/v1/predictions", items(("ada", world.images[2]))).json()
    assert again["items"][0]["job_id"] == pending["job_id"]


def test_waiting_ends_when_the_features_come(world: World) -> None:
    def work() -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:  # a worker that waits to be asked
            with world.database.read_session() as session:
                if session.execute(sa.select(JobRow.id)).first():
                    break
            time.sleep(0.05)
        make_ready(world)

    worker = threading.Thread(target=work)
    worker.start()
    response = world.application.post("/v1/predictions", items(("ada", world.images[2])) | {"wait_s": 30})
    worker.join()
    assert response.json()["items"][0]["status"] == "scored"
    assert response.json()["pending"] == 0


def test_waiting_is_bounded_by_the_deployment(world: World) -> None:
    short = world.context.settings.model_copy(update={"max_wait_s": 0.3})
    world.app.state.context = replace(world.context, settings=short)
    started = time.monotonic()
    response = world.application.post("/v1/predictions", items(("ada", world.images[2])) | {"wait_s": 1000})
    assert response.json()["pending"] == 1
    assert 0.3 <= time.monotonic() - started < 100


def test_no_wait_is_needed_when_everything_is_ready(world: World) -> None:
    started = time.monotonic()
    world.application.post("/v1/predictions", items(("ada", world.images[0])) | {"wait_s": 30})
    assert time.monotonic() - started < 30
    with world.database.read_session() as session:
        assert session.execute(sa.select(JobRow)).first() is None


def test_unknown_user_or_image_fails_the_call_and_scores_nothing(world: World) -> None:
    ghost = uuid4()
    for pair, name in [(("ghost", world.images[0]), "'ghost'"), (("ada", ghost), str(ghost))]:
        response = world.application.post("/v1/predictions", items(("ada", world.images[0]), pair))
        assert response.status_code == 404
        assert name in response.json()["error"]["message"]
    with world.database.read_session() as session:
        assert session.execute(sa.select(PredictionReceiptRow)).first() is None


def test_request_that_cannot_be_right_is_refused(world: World) -> None:
    image = str(uuid4())
    bodies: list[Any] = [
        {},
        {"items": []},
        {"users": ["ada"]},
        {"images": [image]},
        {"users": [], "images": []},
        {"items": [{"user": "ada", "image": image}], "users": ["ada"], "images": [image]},
        {"items": [{"user": "ada"}]},
        {"items": [{"user": 7, "image": image}]},
        {"items": [{"user": "ada", "image": "x"}]},
        {"users": ["ada"], "images": [image], "wait_s": -1},
        {"users": ["ada"], "images": [image], "wait_s": True},
        {"users": ["ada"], "images": [image], "wait_s": "5"},
        {"users": ["ada\0"], "images": [image]},
        [],
        None,
        "x",
    ]
    for body in bodies:
        response = world.application.post("/v1/predictions", body)
        assert (response.status_code, response.json()["error"]["code"]) == (422, "invalid_request"), body


def test_thousands_of_predictions_are_answered_and_more_refused(world: World) -> None:
    body = {"users": ["ada", "bob"] * 10, "images": [str(world.images[i % 2]) for i in range(100)]}
    response = world.application.post("/v1/predictions", body)
    assert (response.status_code, len(response.json()["items"])) == (200, 2_000)
    too_many = world.application.post("/v1/predictions", body | {"users": ["ada"] * 21})
    assert (too_many.status_code, too_many.json()["error"]["code"]) == (400, "invalid_input")
    assert "2100" in too_many.json()["error"]["message"]


def test_without_a_base_model_predictions_are_unavailable(world: World) -> None:
    with world.database.session() as session:
        session.execute(sa.text("update base_models set retired_at = created_at"))
    for extra in ({}, {"wait_s": 0.2}):
        response = world.application.post("/v1/predictions", items(("ada", world.images[0])) | extra)
        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert "base-models train" in response.json()["error"]["message"]


def test_bits_survive_json(world: World) -> None:
    """A caller who reads the numbers as doubles and rounds to single precision has the very bits."""
    world.adapter(world.ada, seed=9)
    body = items(*[("ada", world.images[i % 2]) for i in range(40)])
    scores = {
        (item["image_id"], item["scores"]["beauty"])
        for item in world.application.post("/v1/predictions", body).json()["items"]
    }
    assert len(scores) == 2
    assert all(float(np.float32(score)) == score for _, score in scores)


def test_confidence_is_told_when_asked_for(world: World) -> None:
    world.adapter(world.ada)  # made without ratings: it cannot tell
    body = items(("ada", world.images[0]), ("bob", world.images[0]), ("bob", world.images[2]))
    assert all(item["confidence"] is None for item in world.application.post("/v1/predictions", body).json()["items"])
    answered = world.application.post("/v1/predictions", {**body, "confidence": True}).json()["items"]
    assert [item["status"] for item in answered] == ["scored", "scored", "pending"]
    assert answered[0]["confidence"] is None
    assert answered[2]["confidence"] is None
    taste_1R = world.base.project(world.features_ID[:1])
    generic_1A = world.base.generic(taste_1R)
    (expected,) = confidences(world.base, None, None, taste_1R, generic_1A)
    assert answered[1]["confidence"] == {"score_sd": expected.score_sd, "rating_sd": expected.rating_sd}
    assert answered[1]["confidence"]["rating_sd"]["beauty"] > answered[1]["confidence"]["score_sd"]["beauty"] > 0


def test_scores_are_the_same_without_receipts_and_nothing_is_stored_either_way(world: World) -> None:
    body = {"users": ["ada"], "images": [str(world.images[0])]}
    with_receipt = world.application.post("/v1/predictions", body).json()["items"][0]
    without = world.application.post("/v1/predictions", body | {"receipts": False}).json()["items"][0]
    assert (without["scores"], without["receipt_id"]) == (with_receipt["scores"], None)
    with world.database.read_session() as session:
        assert session.execute(sa.select(PredictionReceiptRow.id)).first() is None
    assert with_receipt["receipt_id"].startswith("r1.")
