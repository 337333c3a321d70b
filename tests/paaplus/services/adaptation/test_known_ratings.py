"""Ratings to which newer events are added, beside those of logs that are read anew; and a worker that knows nothing."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.gate import verdict
from paaplus.pipelines.context import WorkerContext
from paaplus.records import RatedSet
from paaplus.scoring import rating_sums
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.fingerprints import word_sums
from paaplus.scoring.rating_sums import RatingSums
from paaplus.services.adaptation import known_ratings
from paaplus.services.adaptation.known_logs import KnownLogs
from paaplus.services.adaptation.known_ratings import KnownRatings, RatingsMemory
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.deployment import SCALE, Deployment
from tests.support.tiny import tiny_base

ASPECTS = ("beauty", "mood")


@pytest.fixture
def deployment(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    monkeypatch.setattr(known_ratings, "_SHORTEST", 1)
    return Deployment(database, settings, num_images=40, base=tiny_base(ASPECTS))


def act(deployment: Deployment, rng: np.random.Generator, user_id: UUID, turn: int) -> None:
    """Ratings of old and new images, of some aspects, some of them given earlier; rarely a comparison, or a change."""
    for place in range(int(rng.integers(1, 6))):
        aspects = [aspect for aspect in ASPECTS if rng.random() < 0.8] or [ASPECTS[0]]
        event = NewEvent(
            place,
            user_id,
            f"{turn}-{place}",
            FeedbackKind.RATING,
            {"ratings": {each: float(rng.uniform(0, 10)) for each in aspects}, "scale": SCALE},
            image_id=deployment.images[int(rng.integers(40))],
            occurred_at=utcnow() - timedelta(hours=int(rng.integers(1, 9))) if rng.random() < 0.3 else None,
        )
        deployment.post(event)
    first, other = (deployment.images[i] for i in rng.choice(40, 2, replace=False))
    match int(rng.integers(12)):
        case 0 | 1:
            preference = {"preference": dict.fromkeys(ASPECTS, "first")}
            deployment.post(
                NewEvent(9, user_id, f"c{turn}", FeedbackKind.COMPARISON, preference, first, other_image_id=other)
            )
        case 2 if turn > 10:
            deployment.retract(user_id, f"{turn}-0")


@pytest.mark.parametrize("seed", range(4))
def test_what_is_known_and_added_to_is_what_is_read_anew(
    deployment: Deployment, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, logs, num_added = np.random.default_rng(seed), KnownLogs(), []
    added_to = KnownRatings.followed_by

    def counted(self: KnownRatings, *given: object) -> KnownRatings | None:
        found = added_to(self, *given)  # type: ignore[arg-type]
        num_added.append(found is not None)
        return found

    monkeypatch.setattr(KnownRatings, "followed_by", counted)
    user, read = deployment.add_user(), (deployment.database, deployment.blobs)
    for turn in range(15):
        act(deployment, rng, user, turn)
        if turn == 8:
            logs.ratings = RatingsMemory(0)  # nothing is kept for a while
        if turn == 9:
            logs.ratings = RatingsMemory()
        found = read_snapshot(*read, user, deployment.settings, deployment.context.projections, logs)
        expected = read_snapshot(*read, user, deployment.settings)
        assert found.ratings == expected.ratings
        assert found.images.keys() == expected.images.keys()
        np.testing.assert_array_equal(found.first_N, expected.first_N)
        for name in ("sequence_N", "taste_NR", "generic_NA", "target_NA", "weight_N", "answered_at_N"):
            np.testing.assert_array_equal(getattr(found.rated, name), getattr(expected.rated, name))
            for part, other in zip(found.training_and_held_out(), expected.training_and_held_out(), strict=True):
                np.testing.assert_array_equal(getattr(part, name), getattr(other, name))
        if found.taste_sum_N2 is not None:
            np.testing.assert_array_equal(found.taste_sum_N2, word_sums([expected.rated.taste_NR]))
    assert any(num_added), "of ratings that are known only newer ones are read"


def test_a_worker_that_knows_a_long_log_judges_it_as_one_that_does_not(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "LONG_LOG", 15)
    knowing, forgetting = deployment.add_user("ann"), deployment.add_user("ben")
    reports = []
    for user in (knowing, forgetting):
        for turn in range(4):
            deployment.rate(user, range(10 * turn, 10 * turn + 10), prefix=f"{turn}")
            if turn == 2:
                deployment.rate(user, range(3, 6), prefix="again", flip=True)
            if user == forgetting:
                deployment.context = WorkerContext(
                    deployment.database, deployment.blobs, deployment.settings, worker="new"
                )
            deployment.work()
            reports.append(last_report(deployment, user))
    of_knowing, of_forgetting = reports[:4], reports[4:]
    assert [each.pop("log_odds") for each in of_knowing] == pytest.approx([e.pop("log_odds") for e in of_forgetting])
    assert of_knowing == of_forgetting
    assert len({each["num_answers"] for each in of_knowing}) == 4


def test_a_worker_that_knows_sums_trains_the_bytes_of_one_that_does_not(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rating_sums, "FEWEST", 15)
    user, known = deployment.add_user(), []
    changed_to = RatingSums.changed_to

    def counted(self: RatingSums, base: BaseScorer, rated: RatedSet) -> RatingSums | None:
        known.append(changed_to(self, base, rated))
        return known[-1]

    monkeypatch.setattr(RatingSums, "changed_to", counted)
    for turn in range(3):
        deployment.rate(user, range(10 * turn, 10 * turn + 12), prefix=f"{turn}")
        deployment.work()
    num_known = len(known)
    assert num_known > 0
    assert None not in known
    deployment.context = WorkerContext(deployment.database, deployment.blobs, deployment.settings, worker="new")
    deployment.retrain(user)
    deployment.work()
    assert len(known) == num_known
    *_, knowing, forgetting = deployment.versions(user)
    assert forgetting.digest == knowing.digest


def last_report(deployment: Deployment, user_id: UUID) -> dict[str, object]:
    version = deployment.versions(user_id)[-1]
    return dict(version.gate_report["feedback"])
