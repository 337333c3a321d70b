"""What a training may read: never what is held out."""

from __future__ import annotations

from uuid import UUID

import pytest

from paaplus.db.engine import Database
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.pipelines.lineage import sort_feedback
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.feedback.counted_events import TRAINED_ON_NOTHING, TrainedUpTo
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.databases import on_one_database
from tests.support.deployment import Deployment


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def likes(deployment: Deployment, user: UUID, images: range) -> list[NewEvent]:
    return [
        NewEvent(
            index=i,
            user_id=user,
            event_id=f"l{image}",
            kind=FeedbackKind.BINARY,
            image_id=deployment.images[image],
            payload={"liked": True},
        )
        for i, image in enumerate(images)
    ]


@on_one_database
def test_what_is_held_out_is_neither_new_nor_past(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(60))
    deployment.post(*likes(deployment, user, range(40)))
    snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    held_images = {each.image_id for each in snapshot.log.latest_ratings() if each.held_out}
    held_sequences = {each.sequence for each in snapshot.log.latest_ratings() if each.held_out}
    assert 5 < len(held_images) < 25
    for up_to in (TRAINED_ON_NOTHING, TrainedUpTo(30, 0), TrainedUpTo(100, 0)):
        feedback = sort_feedback(snapshot, up_to)
        training = [*feedback.new.sequence_N.tolist(), *feedback.past.sequence_N.tolist()]
        assert sorted(training) == feedback.training.sequence_N.tolist()
        assert not set(training) & held_sequences
        assert set(feedback.held_out.sequence_N.tolist()) == held_sequences
        assert len(training) + len(feedback.held_out) == 60
        compared = [*feedback.new_compared, *feedback.past_compared]
        assert not {image_id for each in compared for image_id in each.image_ids} & held_images
        assert len(compared) + len(feedback.held_out_compared) == 40
    assert not len(sort_feedback(snapshot, TrainedUpTo(100, 0)).new)
    assert len(sort_feedback(snapshot, TrainedUpTo(30, 0)).past) < 30


def test_a_training_counts_what_is_not_held_out(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(60))
    deployment.work()
    log = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings).log
    training = [each for each in log.latest_ratings() if not each.held_out]
    run = deployment.runs(user)[-1]
    assert run.metrics["num_ratings"] == run.num_new == len(training)
    assert run.num_held_out == 60 - len(training)
