"""Tools, labels, batches and reviews over HTTP: the whole loop, and whose doors are whose."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pytest

from paaplus.db.tables import ExpertRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.db.tables.governance import KeyScope
from paaplus.db.types import utcnow
from paaplus.pipelines.context import WorkerContext
from paaplus.pipelines.run_jobs import run_next
from paaplus.services.users import keys
from tests.api.conftest import Caller, World, jpeg
from tests.support.factories import make_features
from tests.support.tiny import FEATURE_DIM


class Studio:
    """The world with ten pictures that have features, labelled by `generic` and `exposure`; ada and bob are experts."""

    def __init__(self, world: World) -> None:
        self.world, self.app, self.admin = world, world.application, world.admin
        self.ada = world.callers["expert"]
        with world.database.session() as session:
            for user_id in (world.ada, world.bob):
                session.add(
                    ExpertRow(user_id=user_id, name="x", domain="b", form=ExpertForm.POOLED, created_at=utcnow())
                )
            bob = keys.create(session, name="b", scope=KeyScope.EXPERT, user_id=world.bob, actor="test")
        self.bob = Caller(world.client, bob.token)
        self.images = [self._upload(i) for i in range(10)]

    def _upload(self, i: int) -> str:
        image: str = self.app.upload(jpeg(shade=20 * i)).json()["id"]
        features_D = np.random.default_rng(i).normal(size=FEATURE_DIM).astype(np.float16)
        with self.world.database.session() as session:
            make_features(
                session,
                image_id=UUID(image),
                extractor_digest=self.world.base.extractor_digest,
                data=features_D.tobytes(),
            )
        return image

    def label(self, *tools: str) -> dict[str, Any]:
        answer = self.app.post("/v1/pseudo-labels", {"tools": list(tools), "images": self.images})
        assert answer.status_code == 202, answer.text
        self.work()
        job: dict[str, Any] = self.app.get(f"/v1/jobs/{answer.json()['job_id']}").json()
        return job

    def work(self) -> None:
        context = self.world.context
        worker = WorkerContext(context.database, context.blobs, context.settings, worker="test")
        while run_next(worker, ["cpu"]):
            pass

    def batch(self, **fields: Any) -> dict[str, Any]:
        body = {"name": "b", "experts": ["ada"], "order": "random", "images": self.images} | fields
        answer = self.app.post("/v1/review-batches", body)
        assert answer.status_code == 201, answer.text
        batch: dict[str, Any] = answer.json()
        return batch


@pytest.fixture
def studio(world: World) -> Studio:
    return Studio(world)


@pytest.mark.slow
def test_labels_go_to_an_expert_and_come_back_as_feedback_and_as_a_better_tool(studio: Studio) -> None:
    job = studio.label("generic", "exposure")
    assert (job["state"], job["progress"]) == ("succeeded", {"done": 20, "total": 20})
    labels = studio.app.get("/v1/pseudo-labels", image=studio.images[0]).json()["items"]
    assert {label["tool"] for label in labels} == {"generic", "exposure"}
    batch = studio.batch()
    assert batch["progress"] == [
        {"expert_id": str(studio.world.ada), "open": 10, "done": 0, "skipped": 0, "cannot_say": 0}
    ]
    for number in range(10):
        asked = studio.ada.get("/v1/reviews/next").json()
        assert asked["num_open"] == 10 - number
        review = asked["review"]
        picture = studio.ada.get(review["image_url"])
        assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
        score = min(10.0, review["scores"]["beauty"] + 2)
        body = {"event_id": f"e{number}", "verdict": "correct", "scores": {"beauty": score}}
        for _ in range(2):
            answer = studio.ada.post(f"/v1/reviews/{review['id']}", body)
            assert answer.status_code == 200, answer.text
        assert (answer.json()["state"], answer.json()["said"]) == ("done", {"beauty": score})
    assert studio.ada.get("/v1/reviews/next").json() == {"review": None, "num_open": 0}
    assert studio.app.get("/v1/users/ada").json()["feedback_sequence"] == 10
    learned = studio.app.post("/v1/tools/generic/revisions", {})
    assert learned.status_code == 201, learned.text
    assert learned.json()["metrics"]["beauty"]["mae_affine"] < learned.json()["metrics"]["beauty"]["mae_raw"]
    second = studio.batch(experts=["bob"])
    shown = studio.bob.get("/v1/reviews/next", batch=second["id"]).json()["review"]
    raw = next(
        label["scores"]["beauty"]
        for label in studio.app.get("/v1/pseudo-labels", image=shown["image_id"], tool="generic").json()["items"]
    )
    assert shown["scores"]["beauty"] > min(raw + 1, 9.0)
    retired = studio.app.post("/v1/tools/generic/revisions/1/retire", {})
    assert retired.json()["retired_at"] is not None
    assert [r["version"] for r in studio.app.get("/v1/tools/generic/revisions").json()["items"]] == [1]


def test_tools_are_told_with_what_they_label_and_why_they_cannot_run(studio: Studio) -> None:
    tools = {tool["name"]: tool for tool in studio.app.get("/v1/tools").json()["items"]}
    assert tools["generic"]["labels"] == ["beauty"]
    assert tools["generic"]["version"] == studio.world.base.digest[:16]
    assert (tools["exposure"]["aspects"], tools["exposure"]["labels"]) == (["exposure"], [])
    assert "PAAPLUS_NIMA_FILE" in tools["nima"]["unavailable"]
    assert "cannot be run" in tools["precomputed"]["unavailable"]


def test_scores_from_elsewhere_come_in_once_and_all_or_none(studio: Studio) -> None:
    label = {"image": studio.images[0], "scores": {"beauty": 6.5}, "confidence": 0.8}
    body = {"tool": "precomputed:partner", "version": "1", "labels": [label]}
    path = "/v1/pseudo-labels/precomputed"
    assert studio.app.post(path, body).json() == {"new": 1, "known": 0}
    assert studio.app.post(path, body).json() == {"new": 0, "known": 1}
    other = body | {"labels": [{"image": studio.images[1], "scores": {"beauty": 1}}, label | {"scores": {"beauty": 1}}]}
    assert studio.app.post(path, other).status_code == 409
    for wrong, status in (
        ({"tool": "generic"}, 400),
        ({"labels": [label, label]}, 400),
        ({"labels": [label | {"image": str(studio.world.foreign_image)}]}, 404),
        ({"labels": [label | {"scores": {"beauty": 11}}]}, 422),
        ({"labels": [label | {"confidence": True}]}, 422),
        ({"labels": []}, 422),
        ({"tool": "precomputed:UPPER"}, 422),
    ):
        assert studio.app.post(path, body | wrong).status_code == status, wrong
    assert len(studio.app.get("/v1/pseudo-labels", tool="precomputed:partner").json()["items"]) == 1


def test_expert_key_opens_its_own_reviews_and_no_other(studio: Studio) -> None:
    studio.label("generic")
    studio.batch()
    review = studio.ada.get("/v1/reviews/next").json()["review"]
    path = f"/v1/reviews/{review['id']}"
    assert studio.ada.get(path).status_code == 200
    for method, tail, body in (
        ("GET", "", None),
        ("GET", "/image", None),
        ("POST", "", {"event_id": "e", "verdict": "accept"}),
    ):
        assert studio.bob.request(method, path + tail, json=body).status_code == 404
        assert studio.app.request(method, path + tail, json=body).status_code == 403
    assert studio.bob.get("/v1/reviews/next").json()["review"] is None
    assert studio.ada.get("/v1/review-batches").status_code == 403


def test_verdict_that_contradicts_is_a_conflict_until_it_is_a_revision(studio: Studio) -> None:
    studio.label("generic")
    batch = studio.batch()
    path = f"/v1/reviews/{studio.ada.get('/v1/reviews/next').json()['review']['id']}"
    assert studio.ada.post(path, {"event_id": "e1", "verdict": "accept"}).status_code == 200
    change = {"event_id": "e2", "verdict": "correct", "scores": {"beauty": 1}}
    assert studio.ada.post(path, change).status_code == 409
    assert studio.ada.post(path, change | {"revise": True}).json()["said"] == {"beauty": 1}
    for wrong, status in (
        ({"verdict": "accept", "scores": {"beauty": 1}}, 400),
        ({"verdict": "correct", "scores": {}}, 400),
        ({"verdict": "correct", "scores": {"beauty": 11}}, 400),
        ({"verdict": "correct", "scores": {"beauty": "7"}}, 422),
        ({"verdict": "nonsense"}, 422),
    ):
        assert studio.ada.post(path, {"event_id": "e3", "revise": True} | wrong).status_code == status, wrong
    closed = studio.app.post(f"/v1/review-batches/{batch['id']}/close")
    assert closed.json()["closed_at"] is not None
    assert studio.ada.post(path, {"event_id": "e4", "verdict": "accept", "revise": True}).status_code == 409
    assert studio.ada.get("/v1/reviews/next").json()["num_open"] == 0


def test_batch_of_all_that_is_open_is_made_once_under_a_key(studio: Studio) -> None:
    """The first call leaves nothing open for the second."""
    studio.label("generic")
    body = {"name": "all", "experts": ["ada"], "order": "random"}

    def post(key: str) -> Any:
        return studio.app.request("POST", "/v1/review-batches", json=body, headers={"Idempotency-Key": key})

    first = post("all")
    assert first.status_code == 201, first.text
    again = post("all")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(studio.app.get("/v1/review-batches").json()["items"]) == 1


def test_batch_tells_how_experts_agree(studio: Studio) -> None:
    studio.label("generic")
    batch = studio.batch(experts=["ada", "bob"], overlap=1)
    for offset, expert in enumerate((studio.ada, studio.bob)):
        while (review := expert.get("/v1/reviews/next").json()["review"]) is not None:
            score = studio.images.index(review["image_id"]) * 0.9 + offset * 0.1
            body = {"event_id": review["id"], "verdict": "correct", "scores": {"beauty": score}}
            assert expert.post(f"/v1/reviews/{review['id']}", body).status_code == 200
    [agreement] = studio.app.get(f"/v1/review-batches/{batch['id']}").json()["agreement"]
    assert (agreement["num_images"], agreement["srcc"]) == (10, pytest.approx(1.0))
    assert agreement["icc"] > 0.99
    assert agreement["reason"] is None


def test_admin_names_the_application_and_another_applications_key_sees_nothing(studio: Studio) -> None:
    studio.label("generic")
    body = {"name": "b", "experts": ["test-app/ada"], "images": studio.images}
    assert studio.admin.post("/v1/review-batches", body).status_code == 400
    made = studio.admin.post("/v1/review-batches", body | {"application": "test-app"})
    assert made.status_code == 201, made.text
    assert studio.world.other.get(f"/v1/review-batches/{made.json()['id']}").status_code == 404
    assert studio.world.other.post("/v1/review-batches", body | {"application": "test-app"}).status_code == 403
    assert studio.world.other.get("/v1/pseudo-labels").json()["items"] == []
    assert studio.world.other.get("/v1/pseudo-labels", image=studio.images[0]).status_code == 404
