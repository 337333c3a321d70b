"""The feedback log: latest ratings and comparisons, retractions, exclusions, and what versions were trained on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from paaplus.db.tables import UserRow
from paaplus.services.feedback.counted_events import TRAINED_ON_NOTHING, ExclusionSpan, TrainedUpTo
from paaplus.services.feedback.feedback_log import (
    ComparisonEvent,
    FeedbackLog,
    LikeEvent,
    RatingEvent,
    answer_time,
    is_held_out,
)

A, B, C = uuid4(), uuid4(), uuid4()


def event(sequence: int, image: UUID, **scores: float) -> RatingEvent:
    return RatingEvent(sequence, image, scores or {"beauty": float(sequence)}, held_out=False)


def log(*events: RatingEvent, retractions: dict[int, int] | None = None, exclusions: tuple = ()) -> FeedbackLog:
    head = max([e.sequence for e in events] + list((retractions or {}).values()))
    return FeedbackLog(head, events, retractions or {}, exclusions)


def ratings(of: FeedbackLog) -> list[tuple[int, UUID, dict[str, float]]]:
    return [(each.sequence, each.image_id, each.scores) for each in of.latest_ratings()]


def test_latest_rating_of_an_image_replaces_earlier_ones() -> None:
    assert ratings(log(event(1, A), event(2, B), event(3, A))) == [(2, B, {"beauty": 2}), (3, A, {"beauty": 3})]


def test_ratings_of_different_aspects_are_one_latest_rating() -> None:
    both = log(event(1, A, health=4.0, posture=5.0), event(2, A, health=6.0))
    assert ratings(both) == [(2, A, {"health": 6.0, "posture": 5.0})]


def test_earlier_rating_counts_again_after_a_retraction() -> None:
    assert ratings(log(event(1, A), event(2, A), retractions={2: 3})) == [(1, A, {"beauty": 1})]


def test_latest_ratings_leave_out_excluded_events_until_they_are_released() -> None:
    open_span, closed_span = ExclusionSpan(2, 2, 1, None), ExclusionSpan(2, 2, 1, 2)
    assert ratings(log(event(1, A), event(2, B), exclusions=(open_span,))) == [(1, A, {"beauty": 1})]
    assert len(ratings(log(event(1, A), event(2, B), exclusions=(closed_span,)))) == 2


def test_version_is_tainted_by_later_retractions_and_exclusions() -> None:
    events = (event(1, A), event(2, B))
    trained_on_both, trained_on_first = TrainedUpTo(2, 0), TrainedUpTo(1, 0)
    retracted = log(*events, retractions={2: 3})
    assert retracted.is_tainted(trained_on_both)
    assert not retracted.is_tainted(trained_on_first)
    assert not retracted.is_tainted(TrainedUpTo(3, 0)), "it was trained after the retraction"
    excluded = log(*events, exclusions=(ExclusionSpan(2, 2, 1, None),))
    assert excluded.is_tainted(trained_on_both)
    assert not excluded.is_tainted(trained_on_first)


def test_version_trained_while_an_event_was_excluded_was_not_trained_on_it() -> None:
    trained_in_between = TrainedUpTo(2, 1)
    still = log(event(1, A), event(2, B), exclusions=(ExclusionSpan(1, 1, 1, None),))
    assert not still.is_tainted(trained_in_between)
    released = log(event(1, A), event(2, B), exclusions=(ExclusionSpan(1, 1, 1, 2),))
    new = [w.sequence for w in released.latest_ratings() if released.is_new(trained_in_between, w)]
    assert new == [1]


def test_released_older_event_of_a_rating_makes_it_new_again() -> None:
    parts = (event(1, A, health=4.0), event(2, A, posture=5.0))
    version = TrainedUpTo(2, 1)
    excluded = log(*parts, exclusions=(ExclusionSpan(1, 1, 1, None),))
    assert not excluded.is_new(version, excluded.latest_ratings()[0])
    released = log(*parts, exclusions=(ExclusionSpan(1, 1, 1, 2),))
    assert released.is_new(version, released.latest_ratings()[0])


def like(sequence: int, image: UUID, liked: bool = True, answered_at: int = 0) -> LikeEvent:
    return LikeEvent(sequence, image, liked, False, answered_at)


def test_a_retracted_like_taints_and_a_new_one_is_untrained() -> None:
    liked = FeedbackLog(3, (event(1, A),), {2: 3}, (), likes=(like(2, B),))
    assert liked.is_tainted(TrainedUpTo(2, 0))
    assert not liked.is_tainted(TrainedUpTo(1, 0))
    assert liked.untrained(TrainedUpTo(1, 0)) == {2}
    assert liked.latest_likes() == []
    assert liked.image_ids() == {A, B}


def test_a_like_replaces_an_earlier_one_and_stands_beside_a_rating() -> None:
    both = FeedbackLog(3, (event(1, A),), {}, (), likes=(like(2, A), like(3, A, False)))
    assert [(each.sequence, each.liked) for each in both.latest_likes()] == [(3, False)]
    assert len(both.latest_ratings()) == 1


def test_what_was_said_last_counts_and_the_sequence_only_among_the_same_time() -> None:
    early, late = event(2, A), replace(event(1, A), answered_at=5)
    assert ratings(log(late, early)) == [(1, A, {"beauty": 1})]
    assert ratings(log(replace(late, answered_at=0), early)) == [(2, A, {"beauty": 2})]
    two = FeedbackLog(2, (), {}, (), likes=(like(1, A, True, answered_at=9), like(2, A, False, answered_at=3)))
    assert two.latest_likes()[0].liked
    pair = compared_log(
        replace(compared(1, A, B), answered_at=9), replace(compared(2, A, B, beauty=0.0), answered_at=3)
    )
    assert latest_comparisons(pair) == [(1, A, B, {"beauty": 1.0})]


def test_nothing_is_said_after_its_receipt() -> None:
    received = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert (
        answer_time(None, received) == answer_time(received, received) == answer_time(received + timedelta(1), received)
    )
    assert answer_time(received - timedelta(seconds=1), received) == answer_time(None, received) - 1_000_000


def test_everything_is_new_to_the_base_model() -> None:
    both = log(event(1, A), event(2, B))
    assert all(both.is_new(TRAINED_ON_NOTHING, rating) for rating in both.latest_ratings())
    assert not both.is_tainted(TRAINED_ON_NOTHING)


def test_held_out_is_one_image_in_five_and_the_same_again() -> None:
    user = UserRow(application="app", external_id="anna")
    other = UserRow(application="app", external_id="ben")
    images = [f"{i:064x}" for i in range(2000)]
    held = [is_held_out("key", user, image) for image in images]
    assert held == [is_held_out("key", user, image) for image in images]
    assert 0.17 < sum(held) / len(held) < 0.23
    assert held != [is_held_out("key", other, image) for image in images]
    assert held != [is_held_out("another key", user, image) for image in images]


def compared(sequence: int, first: UUID, second: UUID, held_out: bool = False, **preferences: float | None):
    return ComparisonEvent(sequence, first, second, preferences or {"beauty": 1.0}, held_out)


def compared_log(*comparisons: ComparisonEvent, **options: object) -> FeedbackLog:
    return FeedbackLog(9, (), options.pop("retractions", {}), options.pop("exclusions", ()), comparisons=comparisons)


def latest_comparisons(of: FeedbackLog) -> list[tuple[int, UUID, UUID, dict[str, float]]]:
    return [(w.sequence, w.first_id, w.second_id, w.preferences) for w in of.latest_comparisons()]


def test_latest_comparison_of_a_pair_replaces_earlier_ones_in_either_order() -> None:
    both = compared_log(compared(1, A, B), compared(2, B, C), compared(3, B, A, beauty=0.5))
    assert latest_comparisons(both) == [(2, B, C, {"beauty": 1.0}), (3, B, A, {"beauty": 0.5})]


def test_comparisons_of_different_aspects_are_one_in_the_order_of_the_latest() -> None:
    both = compared_log(compared(1, A, B, health=1.0, posture=1.0), compared(2, B, A, health=1.0))
    assert latest_comparisons(both) == [(2, B, A, {"health": 1.0, "posture": 0.0})]
    assert both.latest_comparisons()[0].sequences == {1, 2}


def test_cannot_say_removes_the_earlier_preference() -> None:
    earlier = compared(1, A, B, health=1.0, posture=0.0)
    one = compared_log(earlier, compared(2, A, B, health=None))
    assert latest_comparisons(one) == [(1, A, B, {"posture": 0.0})]
    assert latest_comparisons(compared_log(earlier, compared(2, A, B, health=None, posture=None))) == []


def test_latest_comparisons_leave_out_retracted_and_excluded_events() -> None:
    events = (compared(1, A, B), compared(2, B, A, beauty=1.0))
    assert latest_comparisons(compared_log(*events, retractions={2: 3})) == [(1, A, B, {"beauty": 1.0})]
    open_span = ExclusionSpan(1, 1, 1, None)
    assert latest_comparisons(compared_log(*events, exclusions=(open_span,))) == [(2, B, A, {"beauty": 1.0})]


def test_retracted_comparisons_taint_versions_that_were_trained_on_them() -> None:
    taken_back = compared_log(compared(1, A, B), compared(2, B, C), retractions={2: 3})
    assert taken_back.is_tainted(TrainedUpTo(2, 0))
    assert not taken_back.is_tainted(TrainedUpTo(1, 0))
    assert taken_back.untrained(TrainedUpTo(1, 0)) == {2}
    (comparison,) = taken_back.latest_comparisons()
    assert taken_back.is_new(TRAINED_ON_NOTHING, comparison)
    assert not taken_back.is_new(TrainedUpTo(1, 0), comparison)


def test_latest_comparison_is_held_out_if_any_of_its_events_is() -> None:
    (comparison,) = compared_log(
        compared(1, A, B, held_out=True, health=1.0), compared(2, A, B, posture=1.0)
    ).latest_comparisons()
    assert comparison.held_out


def test_images_of_a_log_are_those_rated_and_both_of_those_compared() -> None:
    both = FeedbackLog(2, (event(1, A),), {}, (), comparisons=(compared(2, B, C),))
    assert both.image_ids() == {A, B, C}
