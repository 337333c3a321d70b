"""Any duplication, reordering of retries and splitting of batches gives the same log, and the same adapter's digest.

A history is a list of events in the application's order. A delivery of it reaches the platform: cut into batches
anywhere, with earlier events sent again, alone or mixed with new events. Trainings happen at the same heads of the
log in every delivery.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from paaplus.db.engine import Database
from paaplus.db.tables import PredictionReceiptRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.deployment import SCALE, Deployment

NUM_IMAGES = 24
NUM_EVENTS = 30
TRAIN_AT = (15, NUM_EVENTS)  # heads of the log at which a training happens
KINDS = st.sampled_from(["rating"] * 6 + ["correction"] * 2 + ["retraction", "binary"])

_names = itertools.count()


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A person's events, abstractly: kinds, images, values, and which earlier rating a retraction retracts."""
    events: list[dict[str, Any]] = []
    for number in range(NUM_EVENTS):
        kind = draw(KINDS)
        rated = [i for i, e in enumerate(events) if e["kind"] in ("rating", "correction")]
        if kind == "retraction" and not rated:
            kind = "rating"
        event = {"kind": kind, "image": draw(st.integers(0, NUM_IMAGES - 1)), "value": draw(st.integers(0, 10))}
        if kind == "retraction":
            event["retracts"] = draw(st.sampled_from(rated))
        events.append(event | {"number": number})
    return events


@st.composite
def deliveries(draw: st.DrawFn) -> list[list[int]]:
    """Batches of positions in a history: the new ones in order, old ones anywhere among them, any number of times."""
    batches: list[list[int]] = []
    done = 0
    while done < NUM_EVENTS:
        # a batch ends where a training happens: the same ratings must be there in every delivery
        bound = next(head for head in TRAIN_AT if head > done)
        size = draw(st.integers(1, bound - done))
        batch = list(range(done, done + size))
        for position in draw(st.lists(st.integers(0, done + size - 1), max_size=4)):
            # a retry comes after the first sending of its event
            earliest = batch.index(position) + 1 if position in batch else 0
            batch.insert(draw(st.integers(earliest, len(batch))), position)
        batches.append(batch)
        done += size
        if draw(st.booleans()):
            batches.append(draw(st.lists(st.integers(0, done - 1), min_size=1, max_size=5)))  # late retries alone
    return batches


class Platform:
    """One deployment on which every example is another user of the same name space."""

    def __init__(self, database: Database, config: Settings) -> None:
        self.deployment = Deployment(database, config, num_images=NUM_IMAGES)

    def play(self, name: str, policy: dict[str, Any], history: list[dict[str, Any]], batches: list[list[int]]) -> Any:
        """Deliver the history to a new user; returns the log and the digest of every version."""
        user = self.deployment.add_user(name, min_new_feedback=1_000, **policy)
        receipts = self._receipts(user)
        for batch in batches:
            self.deployment.post(*(self._event(user, history[p], i, receipts) for i, p in enumerate(batch)))
            if (head := self.deployment.user(user).feedback_sequence) in TRAIN_AT and not self._is_trained(user, head):
                self.deployment.retrain(user)
        with self.deployment.database.read_session() as session:
            log = feedback_log.read(session, self.deployment.user(user), None)
        versions = [(v.number, v.state, v.digest, v.high_water_sequence) for v in self.deployment.versions(user)]
        events, likes = (
            [replace(each, answered_at=0) for each in part] for part in (log.events, log.likes)
        )  # not when
        return (log.head, events, log.retractions, likes), versions

    def _is_trained(self, user: UUID, head: int) -> bool:
        return any(run.to_sequence == head for run in self.deployment.runs(user))

    def _receipts(self, user: UUID) -> list[UUID]:
        """One prediction of every image, for corrections to name."""
        ids = [new_id() for _ in self.deployment.images]
        with self.deployment.database.session() as session:
            session.add_all(
                PredictionReceiptRow(
                    id=receipt_id,
                    user_id=user,
                    image_id=image_id,
                    base_model_id=self.deployment.base_row.id,
                    scores={"beauty": 5.0},
                    created_at=utcnow(),
                )
                for receipt_id, image_id in zip(ids, self.deployment.images, strict=True)
            )
        return ids

    def _event(self, user: UUID, event: dict[str, Any], index: int, receipts: list[UUID]) -> NewEvent:
        kind = FeedbackKind(event["kind"])
        common: dict[str, Any] = {"index": index, "user_id": user, "event_id": f"e{event['number']}", "kind": kind}
        if kind == FeedbackKind.RETRACTION:
            return NewEvent(**common, payload={}, retracts_event_id=f"e{event['retracts']}")
        image_id = self.deployment.images[event["image"]]
        if kind == FeedbackKind.BINARY:
            return NewEvent(**common, image_id=image_id, payload={"liked": event["value"] > 5})
        payload = {"ratings": {"beauty": float(event["value"])}, "scale": SCALE}
        if kind == FeedbackKind.CORRECTION:
            return NewEvent(**common, receipt_id=receipts[event["image"]], payload=payload)
        return NewEvent(**common, image_id=image_id, payload=payload)


@pytest.fixture
def platform(database: Database, database_url: str, tmp_path: Path) -> Platform:
    return Platform(database, Settings(home=tmp_path / "home", database_url=database_url, retry_base_s=0.01))


@pytest.mark.parametrize(
    ("policy", "num_examples"),
    [({}, 6), ({"adapter": "bottleneck", "strategy": "replay_ewc", "training": {"num_steps": 5}}, 3)],
    ids=["bayes", "replay_ewc"],
)
@pytest.mark.slow
def test_any_delivery_of_a_history_gives_the_same_log_and_the_same_digests(
    platform: Platform, policy: dict[str, Any], num_examples: int
) -> None:
    @settings(
        max_examples=num_examples, suppress_health_check=list(HealthCheck), derandomize=True, phases=[Phase.generate]
    )
    @given(history=histories(), batches=deliveries())
    def check(history: list[dict[str, Any]], batches: list[list[int]]) -> None:
        # held-out images depend on the user's name, so both users are called the same, one after the other

        once = [list(range(TRAIN_AT[0])), list(range(*TRAIN_AT))]
        results = []
        for delivery in (once, batches):
            try:
                results.append(platform.play("anna", policy, history, delivery))
            finally:
                rename(platform, f"gone-{next(_names)}")
        assert results[0] == results[1]
        assert results[0][1], "nothing was trained"

    check()


def rename(platform: Platform, name: str) -> None:
    """Make room for the next user called anna."""
    with platform.deployment.database.session() as session:
        session.execute(sa.update(UserRow).where(UserRow.external_id == "anna").values(external_id=name))
