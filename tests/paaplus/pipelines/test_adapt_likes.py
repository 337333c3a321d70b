"""Likes on the platform: they make a user due, train, are held out, judge and tell of drift; and the latest word."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.services.adaptation import drift
from paaplus.services.adaptation.contradictions import MIDDLE
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.deployment import Deployment

MORNING = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def like(deployment: Deployment, user: UUID, images: range, *, middle: float = 5.5, flip: bool = False) -> None:
    """Post what a simulated user likes: images that they would rate above `middle`."""
    deployment.post(
        *(
            NewEvent(
                index=i,
                user_id=user,
                event_id=f"l{image}",
                kind=FeedbackKind.BINARY,
                image_id=deployment.images[image],
                payload={"liked": (deployment.opinion(image) > middle) != flip},
            )
            for i, image in enumerate(images)
        )
    )


def in_order(deployment: Deployment, scores_IA: np.ndarray) -> float:
    """Share of pairs of unseen images that the scores order as the user would."""
    opinion_I = np.array([deployment.opinion(i) for i in range(120, 160)])
    first, second = np.triu_indices(40, 1)
    clear = np.abs(opinion_I[first] - opinion_I[second]) > 0.5
    served_I = scores_IA[120:160, 0]
    return float(((served_I[first] > served_I[second]) == (opinion_I[first] > opinion_I[second]))[clear].mean())


@pytest.mark.parametrize(("adapter", "strategy"), [("taste_vector", "bayes"), ("bottleneck", "replay_ewc")])
def test_likes_alone_make_a_user_due_and_train_the_order(deployment: Deployment, adapter: str, strategy: str) -> None:
    user = deployment.add_user(adapter=adapter, strategy=strategy)
    like(deployment, user, range(120))
    assert deployment.work() == 1
    run = deployment.runs(user)[-1]
    assert run.num_new == run.metrics["num_comparisons"] > 40
    assert run.num_held_out > 5
    assert deployment.active(user) is not None, deployment.versions(user)[-1].gate_report
    assert in_order(deployment, deployment.scores(user)) > in_order(deployment, deployment.generic_IA) + 0.05
    assert 4.0 < run.metrics[MIDDLE]["beauty"] < 7.0


def test_a_like_and_a_rating_of_one_image_both_train_and_later_likes_replace_earlier_ones(
    deployment: Deployment,
) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(12))
    like(deployment, user, range(12))
    deployment.post(liked(deployment, user, 3, "again", True))
    log = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings).log
    assert len(log.latest_ratings()) == len(log.latest_likes()) == 12
    [third] = [each for each in log.latest_likes() if each.image_id == deployment.images[3]]
    assert (third.sequence, third.liked) == (25, True)
    assert log.latest_compared() == log.latest_likes()


def test_who_likes_everything_is_not_served_a_version(deployment: Deployment) -> None:
    user = deployment.add_user()
    like(deployment, user, range(100), middle=-100.0)
    deployment.work()
    assert deployment.versions(user)
    assert deployment.active(user) is None


def test_likes_that_contradict_what_is_served_are_a_drift(deployment: Deployment) -> None:
    user = deployment.add_user(drift={"threshold": 8.0, "min_ratings": 10})
    like(deployment, user, range(80), middle=5.0)
    deployment.work()
    assert deployment.active(user) is not None
    like(deployment, user, range(80, 110), middle=5.0)
    assert drift.watch(deployment.database, deployment.context.serving) == 0
    like(deployment, user, range(110, 150), middle=5.0, flip=True)
    assert drift.watch(deployment.database, deployment.context.serving) == 1
    assert 110 <= deployment.user(user).drift["since"] < 150


def liked(deployment: Deployment, user: UUID, image: int, event_id: str, liked: bool) -> NewEvent:
    return NewEvent(
        index=0,
        user_id=user,
        event_id=event_id,
        kind=FeedbackKind.BINARY,
        image_id=deployment.images[image],
        payload={"liked": liked},
    )


def ratings_of_a_day(deployment: Deployment, user: UUID) -> list[NewEvent]:
    """Low ratings in the morning and high ones in the evening, of the same images."""
    events = []
    for hours, what in ((0, "morning"), (9, "evening")):
        for image in range(30):
            opinion = deployment.opinion(image)
            event = deployment.rating(user, f"{what}{image}", image, opinion if hours else 10.0 - opinion)
            fields = {name: getattr(event, name) for name in event.__slots__}
            moment = MORNING + timedelta(hours=hours, minutes=image)
            events.append(NewEvent(**fields | {"occurred_at": moment, "index": len(events)}))
    return events


def test_what_was_said_last_counts_in_whatever_order_it_is_posted(deployment: Deployment) -> None:
    """Case: a tablet that was offline posts the morning's ratings after the evening's."""
    online, offline, shuffled = (deployment.add_user(name) for name in ("online", "offline", "shuffled"))
    for user in (online, offline, shuffled):
        events = ratings_of_a_day(deployment, user)
        if user == offline:
            events = events[30:] + events[:30]
        elif user == shuffled:
            events = [events[i] for i in np.random.default_rng(0).permutation(60)]
        deployment.post(*events)
    logs = [
        read_snapshot(deployment.database, deployment.blobs, user, deployment.settings).log
        for user in (online, offline, shuffled)
    ]
    scores = [{each.image_id: each.scores["beauty"] for each in log.latest_ratings()} for log in logs]
    assert scores[0] == scores[1] == scores[2]
    assert scores[0][deployment.images[4]] == pytest.approx(deployment.opinion(4))


def test_same_events_give_the_same_version_in_any_order_and_any_increments(deployment: Deployment) -> None:
    """Promise 10, on the platform: one user, forgotten and told again in other orders."""
    digests = set()
    for number in range(3):
        user = deployment.add_user("anna")
        events = ratings_of_a_day(deployment, user)
        order = np.random.default_rng(number).permutation(60) if number else np.arange(60)
        parts = np.split(order, [20, 35]) if number == 2 else [order]
        for part in parts:
            deployment.post(*(events[i] for i in part))
        deployment.retrain(user)
        deployment.work()
        digests.add(deployment.versions(user)[-1].digest)
        erase(deployment, user)
    assert len(digests) == 1


def erase(deployment: Deployment, user: UUID) -> None:
    with deployment.database.session() as session:
        row = session.get(UserRow, user)
        row.external_id = f"gone-{user}"


def test_an_answer_is_not_given_after_its_receipt(deployment: Deployment) -> None:
    user = deployment.add_user()
    first = deployment.rating(user, "future", 1, 2.0)
    fields = {name: getattr(first, name) for name in first.__slots__}
    deployment.post(NewEvent(**fields | {"occurred_at": datetime(2999, 1, 1, tzinfo=UTC)}))
    deployment.post(deployment.rating(user, "now", 1, 9.0))
    [rating] = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings).log.latest_ratings()
    assert rating.scores == {"beauty": 9.0}
