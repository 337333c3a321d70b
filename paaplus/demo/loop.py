"""The application's part of the loop: request scores, post feedback, request scores again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paaplus.demo.client import Client
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


def ask(client: Client, people: Sequence[Person], image_ids: Mapping[str, str]) -> dict[str, Served]:
    """Scores of every image that each person rated, in one call; by user_id."""
    wanted = [(person.user_id, image) for person in people for image in person.images]
    items = client.predict([(user_id, image_ids[image]) for user_id, image in wanted])
    served: dict[str, Served] = {}
    for (user_id, image), item in zip(wanted, items, strict=True):
        adapter = item["adapter"]
        entry = served.setdefault(
            user_id,
            Served(
                adapter["number"] if adapter else 0,
                adapter["digest"] if adapter else None,
                item["base_model"]["digest"],
                {},
                {},
                {},
            ),
        )
        entry.scores[image] = item["scores"]
        entry.generic[image] = item["generic"]
        entry.receipts[image] = item["receipt_id"]
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
