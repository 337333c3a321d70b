"""Comparisons in trainings: used together with ratings, held out, and retracted."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.pipelines import learning_sets
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.feedback import feedback_log
from paaplus.services.feedback.intake import NewEvent
from paaplus.settings import Settings
from tests.support.deployment import Deployment

POLICY = {"adapter": "taste_vector", "strategy": "replay"}


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def compare(deployment: Deployment, user: UUID, pairs: list[tuple[int, int]], prefix: str = "c") -> None:
    """Post a simulated user's comparisons: a tie if the ratings differ by less than half a point."""

    def answer(first: int, second: int) -> str:
        difference = deployment.opinion(first) - deployment.opinion(second)
        return "tie" if abs(difference) < 0.5 else "first" if difference > 0 else "second"

    deployment.post(
        *(
            NewEvent(
                index=index,
                user_id=user,
                event_id=f"{prefix}{first}-{second}",
                kind=FeedbackKind.COMPARISON,
                image_id=deployment.images[first],
                other_image_id=deployment.images[second],
                payload={"preference": {"beauty": answer(first, second)}},
            )
            for index, (first, second) in enumerate(pairs)
        )
    )


def pairs(count: int, low: int = 0, high: int = 120) -> list[tuple[int, int]]:
    """Pairs of different images, none twice."""
    rng = np.random.default_rng(0)
    return list({tuple(rng.choice(np.arange(low, high), 2, replace=False).tolist()) for _ in range(count)})


def in_order(deployment: Deployment, scores_I: np.ndarray) -> float:
    """Share of pairs of unseen images that the scores order as the user would."""
    opinion_I = np.array([deployment.opinion(i) for i in range(120, 160)])
    first, second = np.triu_indices(40, 1)
    clear = np.abs(opinion_I[first] - opinion_I[second]) > 0.5
    served_I, own_I = scores_I[120:160, 0], opinion_I
    return float(((served_I[first] > served_I[second]) == (own_I[first] > own_I[second]))[clear].mean())


@pytest.mark.parametrize(("adapter", "strategy"), [("taste_vector", "replay"), ("bottleneck", "replay_ewc")])
def test_comparisons_alone_make_a_user_due_and_train_the_order(
    deployment: Deployment, adapter: str, strategy: str
) -> None:
    user = deployment.add_user(adapter=adapter, strategy=strategy)
    compare(deployment, user, pairs(150))
    assert deployment.work() == 1
    run = deployment.runs(user)[-1]
    assert run.metrics["num_comparisons"] == run.num_new
    assert run.num_held_out > 0
    assert in_order(deployment, deployment.scores(user)) > in_order(deployment, deployment.generic_IA) + 0.05


def test_comparisons_train_beside_ratings_increment_by_increment(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    deployment.rate(user, range(30))
    deployment.work()
    compare(deployment, user, pairs(40))
    deployment.rate(user, range(30, 40))
    deployment.work()
    first, second = deployment.runs(user)
    assert first.metrics["num_comparisons"] == 0
    assert second.metrics["num_ratings"] > first.metrics["num_ratings"]
    assert 20 <= second.metrics["num_comparisons"] < 40
    assert second.num_new == second.metrics["num_comparisons"] + (
        second.metrics["num_ratings"] - first.metrics["num_ratings"]
    )


def test_a_comparison_that_touches_a_held_out_image_is_held_out(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    deployment.rate(user, range(120))
    compare(deployment, user, pairs(80))
    snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    held_images = {word.image_id for word in snapshot.log.latest_ratings() if word.held_out}
    words = snapshot.log.latest_comparisons()
    assert 0 < sum(word.held_out for word in words) < len(words)
    for word in words:
        assert word.held_out == bool({word.first_id, word.second_id} & held_images)


def test_compared_set_has_the_rows_of_both_images_and_nan_for_aspects_not_compared(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    compare(deployment, user, [(3, 7)])
    snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    words = snapshot.log.latest_comparisons()
    compared = learning_sets.compared_set(snapshot, words)
    np.testing.assert_array_equal(compared.first_taste_CR, deployment.taste_IR[[3]])
    np.testing.assert_array_equal(compared.second_generic_CA, deployment.generic_IA[[7]])
    assert compared.preference_CA.tolist() == [[words[0].preferences["beauty"]]]
    assert compared.sequence_C.tolist() == [1]


def test_a_retracted_comparison_restarts_the_lineage_before_it(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    deployment.rate(user, range(30))
    deployment.work()
    before = deployment.active(user)
    compare(deployment, user, pairs(30))
    deployment.work()
    assert deployment.active(user).number == before.number + 1
    held = _held_out_events(deployment, user)
    deployment.retract(user, next(name for a, b in pairs(30) if (name := f"c{a}-{b}") not in held))
    deployment.work()
    last = deployment.versions(user)[-1]
    assert last.parent_id == before.id
    assert deployment.runs(user)[-1].from_sequence == before.high_water_sequence


def _held_out_events(deployment: Deployment, user: UUID) -> set[str]:
    snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    names = {image_id: i for i, image_id in enumerate(deployment.images)}
    return {
        f"c{names[word.first_id]}-{names[word.second_id]}"
        for word in snapshot.log.latest_comparisons()
        if word.held_out
    }


def test_comparisons_of_images_without_features_wait_for_them(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    image_id = deployment.add_image_without_features()
    deployment.post(
        NewEvent(
            index=0,
            user_id=user,
            event_id="c",
            kind=FeedbackKind.COMPARISON,
            image_id=deployment.images[0],
            other_image_id=image_id,
            payload={"preference": {"beauty": "first"}},
        )
    )
    snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
    assert snapshot.num_missing_features == 1


def test_reading_a_log_keeps_the_order_and_the_answers(deployment: Deployment) -> None:
    user = deployment.add_user(**POLICY)
    for answer, expected in (("first", 1.0), ("second", 0.0), ("tie", 0.5), ("cannot_say", None)):
        deployment.post(
            NewEvent(
                index=0,
                user_id=user,
                event_id=answer,
                kind=FeedbackKind.COMPARISON,
                image_id=deployment.images[4],
                other_image_id=deployment.images[2],
                payload={"preference": {"beauty": answer}},
            )
        )
        with deployment.database.read_session() as session:
            log = feedback_log.read(session, deployment.user(user), "key")
        event = log.comparisons[-1]
        assert (event.first_id, event.second_id) == (deployment.images[4], deployment.images[2])
        assert event.preferences == {"beauty": expected}
