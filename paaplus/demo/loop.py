"""The application's part of the loop: request scores, post feedback, request scores again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paaplus.demo.application import Application
from paaplus.demo.plan import Person
from paaplus.records import Scale

AspectScores = dict[str, dict[str, float]]  # image -> aspect -> score


@dataclass(frozen=True)
class Served:
    """The scores of one person at one moment, as they came over HTTP."""

    adapter_number: int  # 0: the base model
    adapter_digest: str | None
    base_digest: str
    scores: AspectScores
    generic: AspectScores
    receipts: dict[str, str]  # image -> receipt


def ask(client: Application, people: Sequence[Person], image_ids: Mapping[str, str]) -> dict[str, Served]:
    """Scores of every image that each person rated; by user_id."""
    served: dict[str, Served] = {}
    for person in people:
        items = client.scores(person.user_id, [image_ids[image] for image in person.images])
        by_image = dict(zip(person.images, items, strict=True))
        first = items[0]
        assert first.base_model is not None, "every scored item has one"
        served[person.user_id] = Served(
            first.adapter.number if first.adapter else 0,
            first.adapter.digest if first.adapter else None,
            first.base_model.digest,
            {image: dict(item.scores or {}) for image, item in by_image.items()},
            {image: dict(item.generic or {}) for image, item in by_image.items()},
            {image: str(item.receipt_id) for image, item in by_image.items()},
        )
    return served


def rating_events(
    person: Person, images: Sequence[str], image_ids: Mapping[str, str], scale: Scale
) -> list[dict[str, Any]]:
    """Rating events of images."""
    return [
        {
            "event_id": f"{person.user_id}:{image}",
            "user": person.user_id,
            "kind": "rating",
            "image": image_ids[image],
            **_ratings(person, image, scale),
        }
        for image in images
    ]


def correction_events(person: Person, images: Sequence[str], shown: Served, scale: Scale) -> list[dict[str, Any]]:
    """Correction events of scores that the person was shown."""
    return [
        {
            "event_id": f"{person.user_id}:{image}",
            "user": person.user_id,
            "kind": "correction",
            "receipt": shown.receipts[image],
            **_ratings(person, image, scale),
        }
        for image in images
    ]


def _ratings(person: Person, image: str, scale: Scale) -> dict[str, Any]:
    return {"ratings": person.ratings[image], "scale": {"min": scale.minimum, "max": scale.maximum}}
