from __future__ import annotations

from datetime import UTC, datetime

from paaplus.client import BaseModel, Prediction, ServedAdapter
from paaplus.demo.loop import ask, correction_events, rating_events
from paaplus.records import Scale

SCALE = {"scale": {"min": 1, "max": 7}}


class Answers:
    """Predicts: the score is the image's number; only the second person who asks has an adapter."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []

    def scores(self, user: str, images: list[str]) -> list[Prediction]:
        self.asked.append((user, images))
        adapter = None
        if len(self.asked) > 1:
            trained_at = datetime(2026, 11, 22, tzinfo=UTC)
            adapter = ServedAdapter(id="i", number=2, digest="a" * 64, trained_at=trained_at, age_s=1.0)
        return [
            Prediction(
                user_id=user,
                image_id=image,
                status="scored",
                scores={"beauty": float(image[-7:-4])},
                generic={"beauty": 0.5},
                source="adapter" if adapter else "base",
                source_reason=None,
                adapter=adapter,
                confidence=None,
                receipt_id=f"{user}/{image}",
                job_id=None,
                retry_after_s=None,
                error=None,
                base_model=BaseModel(name="lite2", version=1, digest="b" * 64),
            )
            for image in images
        ]


def test_everybody_is_asked_about_all_their_images(canned_run):
    people = canned_run.plan.people[:2]
    ids = {image: f"id-{image}" for image in canned_run.folder.images}
    client = Answers()
    served = ask(client, people, ids)
    assert client.asked == [(p.user_id, [f"id-{image}" for image in p.images]) for p in people]
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
