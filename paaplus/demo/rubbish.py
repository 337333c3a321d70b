"""Post random ratings for one person, as a broken client or a cat on the keyboard would, and see what the gate does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from paaplus.demo.application import Application
from paaplus.demo.loop import ask
from paaplus.demo.plan import Person
from paaplus.demo.platform import Platform
from paaplus.demo.statistics import agreement
from paaplus.records import Scale

_REFUSALS = ("quarantined", "gate_refused", "retired")


@dataclass(frozen=True)
class Refusal:
    """The observations of one batch of random ratings."""

    user_id: str
    num_posted: int
    num_set_aside: int  # quarantined events
    reason: str  # the gate's
    live_before: int
    live_after: int
    srcc_before: float  # with the person's own ratings of unseen images
    srcc_after: float

    @property
    def refused(self) -> bool:
        """True if no version that is served was trained on the batch."""
        return self.num_set_aside == self.num_posted or self.live_after == self.live_before

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "refused": self.refused}


def post_rubbish(
    platform: Platform,
    client: Application,
    application: str,
    person: Person,
    image_ids: Mapping[str, str],
    scale: Scale,
    *,
    num: int,
    seed: int,
) -> Refusal:
    """Post `num` random ratings, wait for the training, and ask again.

    They are of images of which the platform has no rating of the person; of rated ones where these are too few, as a
    training is due after `num`.

    Raises:
        DemoFailed: a command or call failed.
        UndefinedMetric: all scores of unseen images are equal.
    """
    before = ask(client, [person], image_ids)[person.user_id]
    rng = np.random.default_rng([seed, 3])
    images = _choose(person, image_ids, num, rng)
    client.post_all(_events(person, images, image_ids, scale, rng))
    client.wait_until_all_trained([person.user_id], lambda _: None, platform.check_alive)
    after = ask(client, [person], image_ids)[person.user_id]
    excluded = client.call("GET", f"/v1/users/{person.user_id}/exclusions")["items"]
    history = platform.command("adapters", "history", f"{application}/{person.user_id}")
    reasons = [entry["reason"] for entry in history if entry["move"] in _REFUSALS]  # newest first
    return Refusal(
        user_id=person.user_id,
        num_posted=len(images),
        num_set_aside=sum(event["kind"] == "quarantine" for event in excluded),
        reason=reasons[0] if reasons else "",
        live_before=before.adapter_number,
        live_after=after.adapter_number,
        srcc_before=agreement(before.scores, person.ratings, person.unseen),
        srcc_after=agreement(after.scores, person.ratings, person.unseen),
    )


def _choose(person: Person, image_ids: Mapping[str, str], num: int, rng: np.random.Generator) -> list[str]:
    """Images to rate at random, none of which is a test image: those not rated before come first."""
    unrated = sorted(set(image_ids) - set(person.images))
    rated = sorted(set(person.images) - set(person.unseen))
    return [part[i] for part in (unrated, rated) for i in rng.permutation(len(part))][:num]


def _events(
    person: Person, images: Sequence[str], image_ids: Mapping[str, str], scale: Scale, rng: np.random.Generator
) -> list[dict[str, Any]]:
    aspects = sorted(next(iter(person.ratings.values())))
    return [
        {
            "event_id": f"{person.user_id}:rubbish:{image}",
            "user": person.user_id,
            "kind": "rating",
            "image": image_ids[image],
            "ratings": {aspect: round(float(rng.uniform(scale.minimum, scale.maximum))) for aspect in aspects},
            "scale": {"min": scale.minimum, "max": scale.maximum},
        }
        for image in images
    ]
