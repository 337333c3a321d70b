"""Anchors beside a score, and circles of comparisons, over HTTP."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from tests.api.conftest import World
from tests.support.factories import make_features, make_image


def more_images(world: World, count: int) -> None:
    """Shared images that can be scored, behind those of the world."""
    with world.database.session() as session:
        for _ in range(count):
            image = make_image(session)
            data = world.features_ID[0].tobytes()
            make_features(session, image_id=image.id, extractor_digest=world.base.extractor_digest, data=data)
            world.images.append(image.id)


def rate(world: World, event_id: str, image: int, value: float, user: str = "ada") -> None:
    event = world.rating(event_id, image=image, value=value, user=user, scale={"min": 0, "max": 10})
    answer = world.application.post("/v1/feedback", event)
    assert answer.status_code < 300, answer.text
    assert answer.json()["status"] == "accepted", answer.text


def test_anchors_are_of_the_users_own_ratings(world: World) -> None:
    more_images(world, 4)
    for i, value in enumerate((0.0, 10.0, 9.5), 3):
        rate(world, f"e{i}", i, value)
    rate(world, "b1", 6, 9.0, user="bob")  # nearer, but another's
    rate(world, "e0", 0, 5.0)  # the image itself is no anchor of its own
    found = world.user.get(f"/v1/users/ada/anchors/{world.images[0]}").json()
    [beauty] = found["aspects"]
    predicted = world.user.post("/v1/predictions", {"users": ["ada"], "images": [str(world.images[0])]}).json()
    assert beauty["score"] == predicted["items"][0]["scores"]["beauty"]
    assert 0.0 < beauty["score"] < 9.5
    assert beauty["below"] == {"image": str(world.images[3]), "rating": 0.0}
    assert beauty["above"] == {"image": str(world.images[5]), "rating": 9.5}
    retraction = {"event_id": "r", "user": "ada", "kind": "retraction", "retracts": "e5"}
    assert world.application.post("/v1/feedback", retraction).status_code < 300
    [beauty] = world.user.get(f"/v1/users/ada/anchors/{world.images[0]}").json()["aspects"]
    assert beauty["above"] == {"image": str(world.images[4]), "rating": 10.0}


def test_what_cannot_be_scored_has_no_anchors(world: World) -> None:
    assert world.user.get(f"/v1/users/ada/anchors/{world.images[2]}").status_code == 503
    assert world.user.get(f"/v1/users/ada/anchors/{uuid4()}").status_code == 404
    assert world.user.get(f"/v1/users/bob/anchors/{world.images[0]}").status_code == 404
    assert world.application.get(f"/v1/users/ada/anchors/{world.foreign_image}").status_code == 404
    [beauty] = world.user.get(f"/v1/users/ada/anchors/{world.images[0]}").json()["aspects"]
    assert (beauty["below"], beauty["above"]) == (None, None)


def compare(world: World, event_id: str, first: int, second: int, preference: str) -> None:
    event: dict[str, Any] = {
        "event_id": event_id,
        "user": "ada",
        "kind": "comparison",
        "image": str(world.images[first]),
        "other_image": str(world.images[second]),
        "preference": {"beauty": preference},
    }
    answer = world.application.post("/v1/feedback", event)
    assert answer.json()["status"] == "accepted", answer.text


def test_circles_are_counted_over_the_latest_comparisons(world: World) -> None:
    assert world.user.get("/v1/users/ada/consistency").json() == {"aspects": [], "chance": 0.25}
    compare(world, "c1", 0, 1, "first")
    compare(world, "c2", 1, 2, "first")
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert (beauty["num_triples"], beauty["circular_share"]) == (0, None)
    compare(world, "c3", 0, 2, "second")
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert (beauty["num_triples"], beauty["num_circular"], beauty["circular_share"]) == (1, 1, 1.0)
    compare(world, "c4", 2, 0, "second")  # the person thinks again
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert (beauty["num_triples"], beauty["num_circular"]) == (1, 0)
    compare(world, "c5", 2, 0, "cannot_say")
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert beauty["num_triples"] == 0


def test_sides_are_counted_and_swapped_pairs_found(world: World) -> None:
    compare(world, "c1", 0, 1, "first")
    compare(world, "c2", 1, 0, "first")
    compare(world, "c3", 1, 2, "tie")
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert (beauty["num_first"], beauty["num_second"]) == (2, 0)
    assert (beauty["num_swapped"], beauty["num_same_side"]) == (1, 1)
    compare(world, "c4", 1, 0, "second")  # the person thinks again
    [beauty] = world.user.get("/v1/users/ada/consistency").json()["aspects"]
    assert (beauty["num_swapped"], beauty["num_same_side"]) == (1, 0)
