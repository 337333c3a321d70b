"""Tool revisions: learned from reviews, numbered, in force for the next batch, retired, stale after an erasure."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import ReviewRow, ToolRevisionPersonRow, ToolRevisionRow
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.services.operations import erasures
from paaplus.services.reviews import tool_revisions
from paaplus.services.reviews.reviews import Verdict
from paaplus.settings import Settings
from tests.support.factories import APPLICATION
from tests.support.reviewing import TOOL, Reviewing


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    return Reviewing(database, settings, num_images=60)


def correct_all(world: Reviewing, limit: int, *, by: float = 2.0, expert: str = "ada") -> None:
    """The expert's scores are `by` higher than the shown ones."""
    batch = world.batch(limit=limit, experts=(expert,), tools=(TOOL,))
    for row in world.reviews_of(world.ada if expert == "ada" else world.bob, batch.id):
        world.decide(row, Verdict.CORRECT, beauty=min(10.0, row.shown["scores"]["beauty"] + by))


def in_force(world: Reviewing) -> ToolRevisionRow | None:
    with world.database.read_session() as session:
        return tool_revisions.in_force(session, APPLICATION, TOOL, "1")


def shown_by_image(world: Reviewing) -> dict[object, float]:
    batch = world.batch(tools=(TOOL,))
    return {row.image_id: row.shown["scores"]["beauty"] for row in world.reviews_of(world.ada, batch.id)}


def test_next_batch_shows_what_was_learned_and_labels_stay_raw(world: Reviewing) -> None:
    correct_all(world, 25)
    row = world.learn()
    assert (row.version, row.tool_version, row.num_reviews, row.application) == (1, "1", 25, APPLICATION)
    assert row.metrics["beauty"]["mae_affine"] < 0.5 < row.metrics["beauty"]["mae_raw"]
    shown = shown_by_image(world)
    errors = [shown[image_id] - min(10.0, self_raw + 2.0) for image_id in shown
              for self_raw in [world.raw_I[world.images.index(image_id)]]]  # fmt: skip
    assert np.abs(errors).mean() < 0.3
    [review, *_] = world.reviews_of(world.ada)[25:]
    label = review.shown["tools"][TOOL]
    assert label["revision"] == 1
    assert label["raw"]["beauty"] == pytest.approx(world.raw_I[world.images.index(review.image_id)])


@pytest.mark.slow
def test_simulated_experts_taste_is_found_by_the_reward_head(world: Reviewing) -> None:
    """The expert is simulated, with a strong linear taste that a calibration of scores cannot express."""
    batch = world.batch(limit=50, tools=(TOOL,))
    world.review_all(world.ada, seed=2, batch_id=batch.id)
    row = world.learn()
    assert row.base_model_id == world.base_row.id
    report = row.metrics["beauty"]["reward_head"]
    assert report["used"]
    assert report["mae_target"] < 0.8 * report["mae_label"]
    left = shown_by_image(world)
    opinions = {i: world.opinion(world.images.index(i), seed=2, strength=2.0) for i in left}
    error = np.mean([abs(left[i] - opinions[i]) for i in left])
    raw_error = np.mean([abs(world.raw_I[world.images.index(i)] - opinions[i]) for i in left])
    assert error < 0.8 * raw_error


def test_learning_again_without_anything_new_is_the_same_revision(world: Reviewing) -> None:
    correct_all(world, 10)
    first = world.learn()
    assert world.learn().id == first.id
    correct_all(world, 10, by=-1.0)
    second = world.learn()
    assert (second.version, second.num_reviews) == (2, 20)
    current = in_force(world)
    assert current is not None
    assert current.id == second.id


def test_retiring_is_a_rollback(world: Reviewing) -> None:
    correct_all(world, 10)
    first = world.learn()
    correct_all(world, 10, by=-1.0)
    second = world.learn()
    for _ in range(2):
        with world.database.session() as session:
            tool_revisions.retire(session, application=APPLICATION, tool=TOOL, version=2, actor="test")
    current = in_force(world)
    assert current is not None
    assert current.id == first.id != second.id
    with world.database.session() as session:
        for options in ({"tool": "generic"}, {"version": 3}, {"application": "other"}):
            with pytest.raises(NotFound):
                tool_revisions.retire(
                    session, **({"application": APPLICATION, "tool": TOOL, "version": 1, "actor": "test"} | options)
                )


def test_too_few_reviews_are_refused(world: Reviewing) -> None:
    correct_all(world, 4)
    with pytest.raises(InvalidInput, match=r"4 reviews of labels by 'precomputed:them'.*needs 5"):
        world.learn()
    with pytest.raises(InvalidInput, match="0 reviews"):
        world.learn("generic")


def test_retracted_and_excluded_reviews_are_not_learned_from(world: Reviewing) -> None:
    correct_all(world, 10)
    world.learn()
    rows = world.reviews_of(world.ada)[:10]
    for row in rows[:5]:
        world.decide(row, Verdict.CANNOT_SAY, event_id=f"undo-{row.id}", revise=True)
    world.retract(world.ada, f"event-{rows[5].id}")  # through the log itself
    with pytest.raises(InvalidInput, match="4 reviews"):
        world.learn()


def test_reviews_of_another_version_of_the_tool_are_not_used(world: Reviewing) -> None:
    correct_all(world, 10)
    world.learn()
    world.label(range(60), version="2")
    raw = shown_by_image(world)
    assert all(score == pytest.approx(world.raw_I[world.images.index(i)]) for i, score in raw.items())


def test_erasing_an_expert_marks_what_was_learned_from_them(world: Reviewing) -> None:
    correct_all(world, 10)
    correct_all(world, 10, expert="bob")
    row = world.learn()
    with world.database.read_session() as session:
        people = set(session.execute(sa.select(ToolRevisionPersonRow.user_id)).scalars())
    assert people == {world.ada, world.bob}
    with world.database.session() as session:
        erasures.erase(session, world.blobs, world.bob, actor="test", erasures_url=world.settings.resolved_erasures_url)
    current = in_force(world)
    assert current is not None
    assert (current.id, current.stale_at is not None) == (row.id, True)
    fresh = world.learn()
    assert (fresh.num_reviews, fresh.stale_at) == (10, None)


def test_learning_needs_no_base_model_for_a_calibration(world: Reviewing) -> None:
    """Images without features are not used by the reward head, but by the calibration."""
    with world.database.session() as session:
        session.execute(sa.text("delete from features"))
    correct_all(world, 15)
    row = world.learn()
    assert row.base_model_id is None
    assert "reward_head" not in row.metrics["beauty"]


def test_damaged_revision_is_an_error_never_a_raw_label(world: Reviewing) -> None:
    correct_all(world, 10)
    world.learn()
    with world.database.session() as session:
        session.execute(sa.update(ToolRevisionRow).values(data=b"rotten", digest="0" * 64))
    tool_revisions._loaded.clear()
    with pytest.raises(Unavailable, match="revision 1 of tool precomputed:them is damaged"):
        world.batch(tools=(TOOL,))
    with world.database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(ReviewRow)).scalar_one() == 10
