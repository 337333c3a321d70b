"""Drift: every answer is compared once, with what was served before a training learned it, however busy the platform.

Scans and trainings come in any order, images get their features late, several users wait in each batch of a scan.
"""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow
from paaplus.db.types import utcnow
from paaplus.services.adaptation import drift
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.images.features import features_digest
from paaplus.settings import Settings
from tests.support.deployment import Deployment

NEVER = {"threshold": 1e6, "min_ratings": 10}  # the test never starts again, so it counts all answers
NUM_USERS, NUM_STEPS = 5, 24


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


class Features:
    """Takes features of images away, and gives them back, as if they were extracted late."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment, self._digest = deployment, deployment.base.extractor_digest

    def remove(self, images: list[int], error: str | None = None) -> None:
        ids = [self._deployment.images[image] for image in images]
        with self._deployment.database.session() as session:
            session.execute(sa.delete(FeaturesRow).where(FeaturesRow.image_id.in_(ids)))
            if error is not None:
                session.add_all(self._row(image_id, None, error) for image_id in ids)

    def restore(self, images: list[int]) -> None:
        with self._deployment.database.session() as session:
            session.add_all(
                self._row(self._deployment.images[image], self._deployment.features_ID[image].tobytes(), None)
                for image in images
            )

    def _row(self, image_id: UUID, data: bytes | None, error: str | None) -> FeaturesRow:
        sha256 = features_digest(self._digest, image_id, data) if data is not None else None
        return FeaturesRow(
            extractor_digest=self._digest, image_id=image_id, data=data, sha256=sha256, error=error, created_at=utcnow()
        )


class People:
    """Users who rate images in order, with the error of every rating against what was served when it came."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment
        self.ids = [deployment.add_user(f"user{i}", drift=NEVER) for i in range(NUM_USERS)]
        self.errors: dict[UUID, list[float]] = {user: [] for user in self.ids}

    def rate(self, user: UUID, count: int) -> list[int]:
        """Rate the next images; their numbers."""
        served_IA, first = self._deployment.scores(user), len(self.errors[user])
        images = list(range(first, first + count))
        seed = self.ids.index(user)
        self.errors[user] += [abs(served_IA[i, 0] - self._deployment.opinion(i, seed=seed)) for i in images]
        self._deployment.rate(user, range(first, first + count), seed=seed)
        return images


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.slow
def test_every_answer_is_compared_once_with_what_was_served_when_it_came(deployment: Deployment, seed: int) -> None:
    rng = np.random.default_rng(seed)
    people, features = People(deployment), Features(deployment)
    for _ in range(NUM_STEPS):
        user = people.ids[rng.integers(NUM_USERS)]
        late = []
        if rng.random() < 0.7:
            images = people.rate(user, int(rng.integers(1, 9)))
            late = [image for image in images if rng.random() < 0.3]
            features.remove(late)
        if rng.random() < 0.4:
            scan(deployment)
        if rng.random() < 0.3:
            read = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
            drift.watch_log(deployment.database, new_store(deployment), user, read.watched_up_to, read.log)
        features.restore(late)
        if rng.random() < 0.4:
            deployment.work()  # trainings of everybody who is due, no scan before them
    scan(deployment)
    for user, errors in people.errors.items():
        if not errors:
            continue
        row = deployment.user(user)
        assert row.watched_sequence == row.feedback_sequence == len(errors)
        assert row.drift["num_errors"] == len(errors)
        assert row.drift["mean"] == pytest.approx(np.mean(errors), abs=1e-4)
    assert any(deployment.active(user) is not None for user in people.ids), "nobody was trained meanwhile"


def new_store(deployment: Deployment) -> object:
    """A store that has not seen any image: what another process has."""
    from paaplus.services.predictions.serving_store import ServingStore

    return ServingStore(deployment.database, deployment.blobs, deployment.settings)


def scan(deployment: Deployment) -> None:
    drift.watch(deployment.database, new_store(deployment), batch=2)


def test_an_answer_waits_for_the_features_of_its_image_and_holds_later_ones_back(deployment: Deployment) -> None:
    people, features = People(deployment), Features(deployment)
    user, other = people.ids[:2]
    people.rate(user, 6)
    people.rate(other, 3)
    features.remove([4])
    for _ in range(2):
        scan(deployment)
        row = deployment.user(user)
        assert (row.watched_sequence, row.drift["num_errors"]) == (4, 4)
        assert deployment.user(other).watched_sequence == 3
    features.restore([4])
    scan(deployment)
    row = deployment.user(user)
    assert (row.watched_sequence, row.drift["num_errors"]) == (6, 6)


def test_an_image_that_cannot_be_scored_holds_nobody_back(deployment: Deployment) -> None:
    people, features = People(deployment), Features(deployment)
    user = people.ids[0]
    people.rate(user, 6)
    features.remove([4], error="no image")
    scan(deployment)
    row = deployment.user(user)
    assert (row.watched_sequence, row.drift["num_errors"]) == (6, 5)
