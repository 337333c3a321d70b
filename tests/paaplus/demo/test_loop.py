from __future__ import annotations

from typing import Any

from paaplus.demo.loop import ask, correction_events, rating_events
from paaplus.records import Scale

SCALE = {"scale": {"min": 1, "max": 7}}


class Answers:
    """Predicts: the score is the image's number, the second person has an adapter."""

    def predict(self, items: list[tuple[str, str]]) -> list[dict[str, Any]]:
        self.items = items
        adapters = {self.items[0][0]: None}
        return [
            {
                "adapter": adapters.get(user, {"number": 2, "digest": "a" * 64}),
                "base_model": {"digest": "b" * 64},
                "scores": {"beauty": float(image[-7:-4])},
                "generic": {"beauty": 0.5},
                "receipt_id": f"{user}/{image}",
            }
            for user, image in items
        ]


def test_everybody_is_asked_about_all_their_images_in_one_call(canned_run):
    people = canned_run.plan.people[:2]
    ids = {image: f"id-{image}" for image in canned_run.folder.images}
    client = Answers()
    served = ask(client, people, ids)
    assert client.items == [(p.user_id, f"id-{image}") for p in people for image in p.images]
    for person, number, digest in zip(people, (0, 2), (None, "a" * 64), strict=True):
        seen = served[person.user_id]
        assert (seen.adapter_number, seen.adapter_digest, seen.base_digest) == (number, digest, "b" * 64)
        assert seen.scores == {image: {"beauty": float(image[-7:-4])} for image in person.images}
        assert seen.receipts == {image: f"{person.user_id}/id-{image}" for image in person.images}


def test_events_say_what_the_person_gave_on_their_scale(canned_run):
    person = canned_run.plan.people[0]
    image = person.increments[0][0]
    name, rated = f"{person.user_id}:{image}", {"ratings": person.ratings[image], **SCALE}
    assert rating_events(person, [image], {image: "id"}, Scale(1, 7)) == [
        {"event_id": name, "user": person.user_id, "kind": "rating", "image": "id", **rated}
    ]
    shown = canned_run.rounds[1][person.user_id]
    assert correction_events(person, [image], shown, Scale(1, 7)) == [
        {"event_id": name, "user": person.user_id, "kind": "correction", "receipt": f"receipt-{image}", **rated}
    ]
