"""Answers written as texts are what their models would be."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pytest

from paaplus.api import prediction_json
from paaplus.api.schemas.base_models import BaseModelRef
from paaplus.api.schemas.predictions import PredictionColumnsOut, PredictionOut, PredictionsOut
from paaplus.db.tables import BaseModelRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.governance import KeyScope
from paaplus.ids import new_id
from paaplus.services.predictions.answers import Answer, Prediction, UserScores
from paaplus.services.predictions.confidence import Confidence
from paaplus.services.predictions.serving import ProjectedImage, ServedAdapter, UsedPreference
from paaplus.services.users.keys import Principal
from tests.api.conftest import World
from tests.support.factories import APPLICATION

NOW = datetime(2026, 11, 28, 12, 0, 0, 5, UTC)
ASPECTS = ["beauty", 'a "quoted" 100 % aspect, 美']


def user_scores(places: list[int], **changes: Any) -> UserScores:
    rng = np.random.default_rng(places[0])
    image = ProjectedImage(np.zeros(2, np.float32), np.zeros(2, np.float32), None)
    scores = rng.uniform(0, 10, (2, len(places), 2)).astype(np.float32).tolist()
    found = UserScores(
        new_id(), "base", "no_adapter", None, None, places, [new_id() for _ in places], [image] * len(places), *scores
    )
    found = replace(found, **changes)
    return found if found.adapter is None else replace(found, user_id=found.adapter.user_id)


def adapter(trained_at: datetime, matched: MatchKind | None = None) -> ServedAdapter:
    return ServedAdapter(new_id(), new_id(), 7, "d" * 64, "b" * 64, trained_at, match_id=new_id(), matched=matched)


def answer() -> Answer:
    """Every kind of item: personal, matched, generic; with and without what is optional; pending and failed."""
    branchy = ProjectedImage(np.zeros(2, np.float32), np.zeros(2, np.float32), ("image", "posture"))
    spread = Confidence(dict.fromkeys(ASPECTS, 0.1), dict.fromkeys(ASPECTS, 1e-7))
    by_user = [
        user_scores([1, 4], source="adapter", source_reason="active_adapter", receipts=["r1.a", "r1.b"],
                    adapter=adapter(NOW - timedelta(seconds=3.25)), confidences=[spread, spread]),
        user_scores([0, 6], source="match", source_reason="matched_expert",
                    adapter=adapter(NOW + timedelta(days=1), MatchKind.EXPERT),
                    preference=UsedPreference((0.5, 1.0), None), images=[branchy, branchy]),
        user_scores([3]),
    ]  # fmt: skip
    unscored = {
        2: Prediction(new_id(), new_id(), "pending", job_id=new_id(), retry_after_s=2),
        5: Prediction(new_id(), new_id(), "failed", error='it "cannot"'),
    }
    row = BaseModelRow(name="100 %s tiny", version=3, digest="e" * 64, aspects=ASPECTS)
    return Answer(row, 7, by_user, unscored)


def plain() -> Answer:
    """Items without preference, confidence and branches: nearly all are."""
    full = answer()
    by_user = [
        replace(user, places=places, preference=None, confidences=None, images=[ProjectedImage(*[np.zeros(2)] * 2)] * 2)
        for user, places in zip(full.scored[:2], ([3, 1], [0, 2]), strict=True)
    ]
    return Answer(full.base_model, 4, by_user, {}, is_plain=True)


@pytest.mark.parametrize("found", [answer(), plain()], ids=["everything", "plain"])
def test_readable_text_is_that_of_the_models(found: Answer) -> None:
    base_model = BaseModelRef.model_validate(found.base_model)
    expected = PredictionsOut(
        items=[PredictionOut.of(item, base_model, NOW) for item in found.items],
        pending=found.num_pending,
    )
    text = prediction_json.items(found, NOW)
    assert json.loads(text) == json.loads(expected.model_dump_json())
    assert list(json.loads(text)["items"][0]) == list(PredictionOut.model_fields)
    assert list(json.loads(text)) == list(PredictionsOut.model_fields)


@pytest.mark.parametrize("with_receipts", [False, True])
def test_text_of_known_users_is_that_of_their_objects(world: World, with_receipts: bool) -> None:
    """One with a version and one without; one image each, the same for all, different ones, and in any order."""
    world.adapter(world.ada)
    predictor = world.context.predictor
    key = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
    first, second = world.images[:2]
    shared = [first, second]
    for asked in (
        [("ada", [first], [0]), ("bob", [first], [1])],
        [("ada", shared, range(2)), ("bob", shared, range(2, 4))],
        [("bob", [second, first], [2, 0]), ("ada", [first], [1])],
    ):
        for _ in range(2):
            found = predictor.answer_asked(key, asked, with_receipts=with_receipts)
        assert found.columns is not None
        by_objects = replace(found, scored=list(found.scored))
        assert by_objects.columns is None
        for write in (prediction_json.items, prediction_json.columns):
            assert json.loads(write(found, NOW)) == json.loads(write(by_objects, NOW))


def test_columns_say_what_the_items_say() -> None:
    found = answer()
    text = prediction_json.columns(found, NOW)
    columns = PredictionColumnsOut.model_validate_json(text)
    assert json.loads(columns.model_dump_json()) == json.loads(text)
    assert list(json.loads(text)) == list(PredictionColumnsOut.model_fields)
    base_model = BaseModelRef.model_validate(found.base_model)
    for place, item in enumerate(found.items):
        readable = PredictionOut.of(item, base_model, NOW)
        number = columns.user[place]
        if number is None:
            assert columns.unscored[place] == readable
            continue
        user = columns.users[number]
        of_user = {name: getattr(readable, name) for name in type(user).model_fields}
        assert user.model_dump() == type(user).model_validate(of_user).model_dump()
        assert {aspect: columns.scores[aspect][place] for aspect in ASPECTS} == readable.scores
        assert {aspect: columns.generic[aspect][place] for aspect in ASPECTS} == readable.generic
        assert (columns.receipt_id or [])[place] == readable.receipt_id
        assert (columns.branches or [])[place] == readable.branches
        if readable.confidence is not None:
            assert columns.confidence is not None
            assert {a: columns.confidence["rating_sd"][a][place] for a in ASPECTS} == readable.confidence.rating_sd


@pytest.mark.parametrize("extra", [{}, {"receipts": False}, {"confidence": True}])
def test_compact_answer_has_the_same_scores_in_a_tenth_of_the_bytes(world: World, extra: dict[str, bool]) -> None:
    world.adapter(world.ada)
    images = [str(image) for image in world.images[:2]] * 40
    body = {"users": ["ada", "bob"], "images": [*images, str(world.images[2])], **extra}
    readable = world.application.post("/v1/predictions", body)
    compact = world.application.post("/v1/predictions", body | {"compact": True})
    assert compact.status_code == 200
    assert compact.headers["Retry-After"] == readable.headers["Retry-After"]
    columns, items = compact.json(), readable.json()["items"]
    assert columns["scores"]["beauty"] == [(item["scores"] or {}).get("beauty") for item in items]
    assert [columns["users"][n]["user_id"] if n is not None else None for n in columns["user"]] == [
        item["user_id"] if item["scores"] else None for item in items
    ]
    assert set(columns["unscored"]) == {"80", "161"}
    assert UUID(columns["unscored"]["80"]["image_id"]) == world.images[2]
    if not extra.get("receipts", True):
        assert columns["receipt_id"] is None
        assert len(compact.content) * 10 < len(readable.content)
