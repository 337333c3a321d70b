"""Reviews: a verdict's rating is in the expert's log once, however often it is posted."""

from __future__ import annotations

import pytest

from paaplus.db.engine import Database
from paaplus.db.tables.reviews import ReviewState
from paaplus.errors import Conflict, InvalidInput, NotFound, TooMany
from paaplus.services.reviews import batches
from paaplus.services.reviews.reviews import Verdict
from paaplus.settings import Settings
from tests.support.reviewing import APP, Reviewing


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    return Reviewing(database, settings, num_images=8)


def test_accepting_writes_the_shown_scores_into_the_experts_log(world: Reviewing) -> None:
    world.batch()
    row = world.next(world.ada)
    assert row is not None
    decided = world.decide(row)
    assert (decided.is_new, decided.row.state) == (True, ReviewState.DONE)
    [event] = world.log(world.ada)
    assert (event.source, event.image_id, event.id) == ("review", row.image_id, decided.row.feedback_id)
    assert event.payload == {"ratings": row.shown["scores"], "scale": {"min": 0.0, "max": 10.0}}
    after = world.next(world.ada)
    assert after is not None
    assert after.id != row.id


def test_correcting_a_part_accepts_the_rest(world: Reviewing) -> None:
    world.label(range(8), tool="precomputed:other", health=3.0)  # an aspect that the base model does not have
    world.batch()
    row = world.reviews_of(world.ada)[0]
    assert set(row.shown["scores"]) == {"beauty"}
    decided = world.decide(row, Verdict.CORRECT, beauty=9.0).row
    assert decided.answers is not None
    assert (decided.answers["scores"], decided.answers["corrected"]) == ({"beauty": 9.0}, ["beauty"])
    assert world.latest_ratings(world.ada) == {row.image_id: {"beauty": 9.0}}


def test_posting_twice_changes_nothing_in_any_order_of_retries(world: Reviewing) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    assert world.decide(row, event_id="e1").is_new
    assert not world.decide(row, event_id="e1").is_new
    assert not world.decide(row, event_id="another id, the same verdict").is_new
    assert world.decide(row, Verdict.CORRECT, event_id="e2", revise=True, beauty=1.0).is_new
    assert not world.decide(row, event_id="e1").is_new  # a late retry of the first verdict
    assert len(world.log(world.ada)) == 2
    assert world.latest_ratings(world.ada) == {row.image_id: {"beauty": 1.0}}


def test_another_verdict_needs_to_be_called_a_revision(world: Reviewing) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    world.decide(row, event_id="e1")
    for verdict, scores in ((Verdict.CORRECT, {"beauty": 1.0}), (Verdict.SKIP, {}), (Verdict.CANNOT_SAY, {})):
        with pytest.raises(Conflict, match="has the verdict 'accept'"):
            world.decide(row, verdict, event_id=f"other-{verdict}", **scores)
    with pytest.raises(Conflict, match="was used for another verdict"):
        world.decide(row, Verdict.CORRECT, event_id="e1", revise=True, beauty=1.0)
    assert len(world.log(world.ada)) == 1


def test_withdrawing_a_verdict_retracts_all_ratings_of_the_review(world: Reviewing) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    world.decide(row, event_id="e1")
    world.decide(row, Verdict.CORRECT, event_id="e2", revise=True, beauty=2.0)
    decided = world.decide(row, Verdict.CANNOT_SAY, event_id="e3", revise=True).row
    assert (decided.state, decided.feedback_id) == (ReviewState.CANNOT_SAY, None)
    assert world.latest_ratings(world.ada) == {}  # nor does the first rating count again
    world.decide(row, Verdict.CORRECT, event_id="e4", revise=True, beauty=3.0)
    assert world.latest_ratings(world.ada) == {row.image_id: {"beauty": 3.0}}
    world.decide(row, Verdict.SKIP, event_id="e5", revise=True)
    assert world.latest_ratings(world.ada) == {}
    assert [event.kind.value for event in world.log(world.ada)] == [
        "rating", "rating", "retraction", "retraction", "rating", "retraction",
    ]  # fmt: skip


def test_skipping_and_not_being_able_to_say_leave_no_feedback(world: Reviewing) -> None:
    world.batch()
    first, second, *_ = world.reviews_of(world.ada)
    world.decide(first, Verdict.SKIP)
    world.decide(second, Verdict.CANNOT_SAY)
    assert world.log(world.ada) == []
    following = world.next(world.ada)
    assert following is not None
    assert following.id not in (first.id, second.id)
    skipped = world.next(world.ada, skipped=True)
    assert skipped is not None
    assert skipped.id == first.id
    assert world.decide(first, event_id="later").is_new  # a skipped review can be decided later
    assert world.next(world.ada, skipped=True) is None


@pytest.mark.parametrize(
    ("verdict", "scores", "message"),
    [
        (Verdict.CORRECT, {}, "needs the score"),
        (Verdict.ACCEPT, {"beauty": 5.0}, "takes no scores"),
        (Verdict.CORRECT, {"health": 5.0}, "were not shown"),
        (Verdict.CORRECT, {"beauty": 10.5}, "not 0 to 10"),
        (Verdict.CORRECT, {"beauty": float("nan")}, "not 0 to 10"),
    ],
)
def test_verdict_that_cannot_be_right_changes_nothing(
    world: Reviewing, verdict: Verdict, scores: dict[str, float], message: str
) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    with pytest.raises(InvalidInput, match=message):
        world.decide(row, verdict, **scores)
    assert world.reviews_of(world.ada)[0].state == ReviewState.OPEN
    assert world.log(world.ada) == []


def test_expert_has_no_part_in_anothers_review(world: Reviewing) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    row.expert_id = world.bob  # the caller
    with pytest.raises(NotFound):
        world.decide(row)
    assert world.next(world.bob) is None


def test_event_id_that_the_log_knows_for_something_else_is_a_conflict_and_rolls_back(world: Reviewing) -> None:
    world.batch()
    row = world.reviews_of(world.ada)[0]
    world.post(world.rating(world.ada, "taken", 3, 7.0))
    with pytest.raises(Conflict, match="'taken' was used for another event"):
        world.decide(row, event_id="taken")
    assert world.reviews_of(world.ada)[0].state == ReviewState.OPEN


def test_closed_batch_takes_no_more_verdicts_and_leaves_the_queue(world: Reviewing) -> None:
    batch = world.batch()
    row, other, *_ = world.reviews_of(world.ada)
    world.decide(row)
    with world.database.session() as session:
        assert batches.close(session, APP, batch.id).closed_at is not None
    assert world.next(world.ada) is None
    with pytest.raises(Conflict, match="closed"):
        world.decide(other)
    assert not world.decide(row).is_new  # a retry of an earlier verdict is no error


def test_reviews_count_against_the_experts_daily_feedback(world: Reviewing) -> None:
    world.settings = world.settings.model_copy(update={"feedback_per_user_per_day": 1})
    world.batch()
    first, second, *_ = world.reviews_of(world.ada)
    world.decide(first)
    with pytest.raises(TooMany):
        world.decide(second)
    assert world.reviews_of(world.ada)[1].state == ReviewState.OPEN


def test_reviews_train_the_experts_model_like_any_feedback(world: Reviewing) -> None:
    world.label(range(8), version="2")
    world.batch()
    world.review_all(world.ada, seed=3)
    world.retrain(world.ada)
    active = world.active(world.ada)
    assert active is not None
    assert active.high_water_sequence == 8
