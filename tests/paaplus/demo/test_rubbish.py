from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from paaplus.demo import rubbish as rubbish_module
from paaplus.demo.rubbish import post_rubbish
from paaplus.records import Scale


class FakePlatform:
    """A platform whose gate sets random ratings aside, or, with `learns`, one that learns from them."""

    def __init__(self, run: Any, person: Any, learns: bool) -> None:
        self.served = run.rounds[-1][person.user_id]
        self.person, self.learns = person, learns
        self.posted: list[dict[str, Any]] = []

    def command(self, *arguments: str) -> Any:
        assert arguments == ("adapters", "history", f"demo/{self.person.user_id}")
        moves = [("promoted", "Promoted."), ("quarantined", "Quarantined: old."), ("quarantined", "older")]
        return [{"move": move, "reason": reason} for move, reason in moves]

    def check_alive(self) -> None: ...

    def call(self, method: str, path: str) -> Any:
        assert method == "GET"
        assert path == f"/v1/users/{self.person.user_id}/exclusions"
        kinds = [] if self.learns else ["quarantine"] * len(self.posted)
        return {"items": [{"kind": kind} for kind in ["rollback", *kinds]]}

    def post_all(self, events: list[dict[str, Any]]) -> None:
        self.posted = events

    def wait_until_all_trained(self, users: Any, on_trained: Any, check: Any) -> None: ...

    def ask(self, client: Any, people: Any, image_ids: Any) -> dict[str, Any]:
        served = self.served
        if self.posted and self.learns:
            scores = {image: {"beauty": -score["beauty"]} for image, score in served.scores.items()}
            served = replace(served, adapter_number=4, scores=scores)
        return {self.person.user_id: served}


@pytest.mark.parametrize("learns", [False, True])
def test_random_ratings_of_images_that_the_person_did_not_rate_are_posted_and_what_came_of_it_is_told(
    canned_run, monkeypatch, learns
):
    person = canned_run.plan.people[1]
    images = [image for image in person.images if image not in person.increments[2]]
    person = replace(person, increments=person.increments[:2], reserve=(), unseen=tuple(images[:20]))
    platform = FakePlatform(canned_run, person, learns)
    monkeypatch.setattr(rubbish_module, "ask", platform.ask)
    image_ids = {image: f"id-{image}" for image in canned_run.plan.images}
    told = post_rubbish(platform, platform, "demo", person, image_ids, Scale(1, 7), num=12, seed=0)
    assert told.num_posted == len(platform.posted) == 12
    rated = {event["image"] for event in platform.posted}
    assert len(rated) == 12
    assert not rated & {image_ids[image] for image in person.images}
    assert len({event["ratings"]["beauty"] for event in platform.posted}) > 3
    assert told.refused is not learns
    assert told.num_set_aside == (0 if learns else 12)
    assert told.srcc_after == pytest.approx(-told.srcc_before if learns else told.srcc_before)
    assert (told.live_before, told.live_after) == (3, 4 if learns else 3)
    assert told.reason == "Quarantined: old."


def test_images_that_were_rated_are_rated_anew_where_too_few_are_left(canned_run, monkeypatch):
    """A training is due after so many: with fewer the demo would wait for ever where everybody rated everything."""
    person = canned_run.plan.people[1]
    platform = FakePlatform(canned_run, person, learns=False)
    monkeypatch.setattr(rubbish_module, "ask", platform.ask)
    image_ids = {image: f"id-{image}" for image in person.images}
    post_rubbish(platform, platform, "demo", person, image_ids, Scale(1, 7), num=12, seed=0)
    posted = {event["image"] for event in platform.posted}
    assert len(posted) == 12
    assert not posted & {image_ids[image] for image in person.unseen}
