from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from paaplus.client import Version
from paaplus.demo import rollback as rollback_module
from paaplus.demo.failure import DemoFailed
from paaplus.demo.loop import Served
from paaplus.demo.rollback import choose, roll_back
from paaplus.records import Scale

POLICY = {"adapter": "bottleneck", "strategy": "replay_ewc", "min_new_feedback": 20}


class FakePlatform:
    """A platform with one user: version 2 learned 32 ratings, version 3 is live. `undo` and friends are its faults."""

    def __init__(self, run: Any, person: Any, wrong_bits: bool = False, brings_back: bool = False) -> None:
        self.person = person
        self.rounds = [run.rounds[2][person.user_id], run.rounds[3][person.user_id]]
        self.live = 3
        self.wrong_bits = wrong_bits
        self.brings_back = brings_back
        self.rows = [{"number": 2, "num_ratings": 32}, {"number": 3, "num_ratings": 48}]
        self.commands: list[tuple[str, ...]] = []

    def command(self, *arguments: str) -> Any:
        self.commands.append(arguments)
        if arguments[:2] == ("adapters", "rollback"):
            self.live = int(arguments[4])
            return {"from_number": 3, "to_number": self.live, "num_excluded": 20}
        return [{"move": "rolled_back"}] if arguments[:2] == ("adapters", "history") else {}

    def check_alive(self) -> None:
        pass

    def call(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", f"/v1/users/{self.person.user_id}/exclusions")
        return {"items": [{}] * 20}

    def versions(self, user: str) -> list[Version]:
        return [self.version(user, row["number"]) for row in self.rows[::-1]]

    def version(self, _user: str, number: int) -> Version:
        row = next(row for row in self.rows if row["number"] == number)
        parent = "id-2" if number == 4 else f"id-{number - 1}"
        return Version(
            id=f"id-{number}",
            parent_id=parent,
            digest=f"{number}" * 64,
            kind="taste_vector",
            strategy="bayes",
            state="active",
            high_water_sequence=0,
            size_bytes=1,
            created_at=datetime(2026, 11, 22, tzinfo=UTC),
            **row,
        )

    def post_all(self, events: list[dict[str, Any]]) -> None:
        self.posted = events
        learned = 48 if self.brings_back else 32
        self.rows.append({"number": 4, "num_ratings": learned + len(events) - 1})
        self.live = 4

    def wait_until_all_trained(self, users: Any, on_trained: Any, check: Any) -> None:
        pass

    def ask(self, client: Any, people: Any, image_ids: Any) -> dict[str, Served]:
        served = self.rounds[0] if self.live == 2 else self.rounds[1]
        if self.wrong_bits:
            first = self.person.images[0]
            score = served.scores[first]["beauty"]
            served = replace(served, scores={**served.scores, first: {"beauty": score * (1 + 2**-50)}})
        return {self.person.user_id: replace(served, adapter_number=self.live)}


@pytest.fixture
def roll(canned_run, monkeypatch):
    """Rolls the first person back from version 3 to version 2 on a platform with the given faults."""
    monkeypatch.setattr(rollback_module.time, "sleep", lambda _: None)
    person = canned_run.plan.people[0]

    def run(**faults: bool):
        fake = FakePlatform(canned_run, person, **faults)
        monkeypatch.setattr(rollback_module, "ask", fake.ask)
        recorded, now = canned_run.rounds[2][person.user_id], canned_run.rounds[3][person.user_id]
        ids = {image: f"id-{image}" for image in person.images}
        return fake, roll_back(fake, fake, "demo", person, POLICY, recorded, now, ids, Scale(1, 7))

    return run


def test_a_rollback_that_holds_is_proved(roll):
    fake, proof = roll()
    assert proof.bit_for_bit
    assert proof.not_undone
    assert (proof.from_number, proof.to_number, proof.next_version, proof.next_parent) == (3, 2, 4, 2)
    assert proof.num_scores == len(fake.person.images)
    assert proof.num_changed_between > 0
    assert proof.history == [{"move": "rolled_back"}]


def test_the_next_training_is_asked_for_with_the_reserve_and_the_users_own_policy(roll):
    fake, _ = roll()
    assert [event["image"] for event in fake.posted] == [f"id-{image}" for image in fake.person.reserve]
    (overrides,) = [line[4] for line in fake.commands if line[:2] == ("users", "policy")]
    assert overrides == '{"adapter": "bottleneck", "strategy": "replay_ewc", "min_new_feedback": 8}'


def test_one_bit_is_enough_to_fail(roll):
    _, proof = roll(wrong_bits=True)
    assert not proof.bit_for_bit


def test_ratings_that_come_back_are_noticed(roll):
    _, proof = roll(brings_back=True)
    assert proof.bit_for_bit
    assert not proof.not_undone


def test_the_latest_round_with_another_version_is_chosen(canned_run):
    person, number = choose(canned_run.plan.people, canned_run.rounds)
    assert (person, number) == (canned_run.plan.people[0], 2)


def test_a_person_whose_version_stayed_is_passed_over(canned_run):
    first, second = canned_run.plan.people[:2]
    canned_run.rounds[3][first.user_id] = canned_run.rounds[2][first.user_id]
    assert choose(canned_run.plan.people, canned_run.rounds) == (second, 2)


def test_nothing_to_roll_back_is_a_failure(canned_run):
    with pytest.raises(DemoFailed, match="nothing to roll back"):
        choose(canned_run.plan.people, [canned_run.rounds[0]] * 4)
