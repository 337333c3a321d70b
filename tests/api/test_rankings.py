"""Rankings over HTTP. What is ranked how: `tests/paaplus/services/predictions/test_rankings.py`."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa

from paaplus.db.tables import PredictionReceiptRow
from paaplus.services.predictions.rankings import TOP_MAX
from tests.api.conftest import World, jpeg
from tests.support.factories import make_features


def test_ranking_names_images_as_the_application_does(world: World) -> None:
    version = world.adapter(world.ada)
    image = world.application.upload(jpeg(), name="sea/beach.jpg", external_id="asset-1").json()
    with world.database.session() as session:
        data = world.features_ID[2].tobytes()
        make_features(session, image_id=UUID(image["id"]), extractor_digest=world.base.extractor_digest, data=data)
    world.application.post("/v1/feedback", world.rating("e1", image=0, value=7))
    answer = world.application.post("/v1/rankings", {"user": "ada", "top": 10})
    assert answer.status_code == 200
    ranking = answer.json()
    assert (ranking["num_ranked"], ranking["num_pending"], ranking["num_failed"]) == (3, 1, 0)
    assert (ranking["adapter"]["digest"], ranking["source"], ranking["aspect"]) == (version.digest, "adapter", "beauty")
    assert [item["rank"] for item in ranking["items"]] == [1, 2, 3]
    by_id = {item["image_id"]: item for item in ranking["items"]}
    beach = by_id[image["id"]]
    assert (beach["name"], beach["external_id"], beach["rating"], beach["stars"]) == (
        "sea/beach.jpg",
        "asset-1",
        None,
        None,
    )
    assert (by_id[str(world.images[0])]["rating"], by_id[str(world.images[0])]["stars"]) == (10.0, 5)
    scored = world.application.post("/v1/predictions", {"users": ["ada"], "images": [image["id"]]}).json()["items"][0]
    assert (beach["score"], beach["generic_score"]) == (scored["scores"]["beauty"], scored["generic"]["beauty"])
    named = world.user.post(
        "/v1/rankings", {"user": "ada", "images": ["asset-1", str(world.images[1])], "top": 1}
    ).json()
    assert (len(named["items"]), named["num_ranked"]) == (1, 2)
    folder = world.application.post("/v1/rankings", {"user": "ada", "name_prefix": "sea/", "only_unrated": True}).json()
    assert [item["image_id"] for item in folder["items"]] == [image["id"]]
    with world.database.read_session() as session:
        assert session.execute(sa.select(PredictionReceiptRow.id)).all() == [], "no correction names one"
    assert all("receipt_id" not in item for item in ranking["items"])


def test_ranking_that_cannot_be_made_is_refused(world: World) -> None:
    for body, status in (
        ({"user": "nobody"}, 404),
        ({"user": str(world.eve)}, 404),
        ({"user": "ada", "images": [str(world.foreign_image)]}, 404),
        ({"user": "ada", "images": []}, 422),
        ({"user": "ada", "images": ["x"], "theme": "sea"}, 400),
        ({"user": "ada", "aspect": "loudness"}, 400),
        ({"user": "ada", "top": 0}, 422),
        ({"user": "ada", "top": TOP_MAX + 1}, 422),
        ({"user": "ada", "top": "3"}, 422),
        ({"user": "ada", "receipts": True}, 422),
        ([{"user": "ada"}], 422),
    ):
        answer = world.application.post("/v1/rankings", body)
        assert answer.status_code == status, (body, answer.text)
    assert world.user.post("/v1/rankings", {"user": "bob"}).status_code == 404
    limit = world.context.settings.max_ranking_images
    many = world.application.post("/v1/rankings", {"user": "ada", "images": ["x"] * (limit + 1)})
    assert (many.status_code, str(limit) in many.text) == (400, True)
