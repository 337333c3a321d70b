"""Review batches: experts, images, order, labels, and agreement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow, ExpertRow, ReviewRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.reviews import ReviewOrder
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.metrics import icc, srcc
from paaplus.services.operations import erasures
from paaplus.services.reviews import batches, ordering, progress
from paaplus.services.reviews.batches import NewBatch
from paaplus.services.reviews.reviews import Verdict
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from tests.support.factories import APPLICATION, make_image
from tests.support.reviewing import APP, TOOL, Reviewing


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    return Reviewing(database, settings, num_images=20)


def test_images_are_dealt_out_and_the_overlap_goes_to_all(world: Reviewing) -> None:
    batch = world.batch(experts=("ada", "bob"), overlap=0.3)
    images = [{row.image_id for row in world.reviews_of(expert)} for expert in (world.ada, world.bob)]
    assert [len(one) for one in images] == [13, 13]
    assert len(images[0] & images[1]) == 6
    assert images[0] | images[1] == set(world.images)
    assert [row.position for row in world.reviews_of(world.ada)] == list(range(13))
    with world.database.read_session() as session:
        assert {p.expert_id: p.open for p in progress.progress(session, [batch.id])[batch.id]} == {
            world.ada: 13, world.bob: 13,
        }  # fmt: skip


def test_same_seed_gives_the_same_order_and_another_seed_another(world: Reviewing) -> None:
    orders = [
        [r.image_id for r in world.reviews_of(world.ada, world.batch(image_ids=tuple(world.images), seed=s).id)]
        for s in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]
    assert orders[0] != sorted(orders[0])


def test_uncertain_images_and_those_on_which_tools_are_apart_come_first(world: Reviewing) -> None:
    world.raw_I[3] = 10 - world.raw_I[3] if abs(world.raw_I[3] - 5) > 2 else 9.5
    world.label(range(3, 4), tool="precomputed:other")
    world.label(range(7, 8), version="2", confidence=0.01)
    rows = world.reviews_of(world.ada, world.batch(order=ReviewOrder.VALUE).id)
    assert {row.image_id for row in rows[:2]} == {world.images[3], world.images[7]}
    values = [row.expected_value for row in rows]
    assert values == sorted(values, reverse=True)
    assert all(0 <= value <= 1 for value in values)


def test_label_of_several_tools_is_weighed_by_their_confidence(world: Reviewing) -> None:
    world.raw_I[:] = 2.0
    world.label(range(20), tool="precomputed:low", confidence=0.1)
    world.raw_I[:] = 8.0
    world.label(range(20), tool="precomputed:high", confidence=0.3)
    batch = world.batch(tools=("precomputed:low", "precomputed:high"))
    shown = world.reviews_of(world.ada)[0].shown
    assert shown["scores"]["beauty"] == pytest.approx(0.25 * 2 + 0.75 * 8)
    assert shown["confidences"]["beauty"] == pytest.approx(0.25)
    assert shown["spreads"]["beauty"] == pytest.approx(np.sqrt(0.25 * 4.5**2 + 0.75 * 1.5**2))
    assert set(shown["tools"]) == {"precomputed:low", "precomputed:high"}
    assert batch.tools == ["precomputed:high", "precomputed:low"]


def test_newest_version_of_a_tool_is_what_is_shown(world: Reviewing) -> None:
    world.raw_I[:] = 1.5
    world.label(range(20), version="2")
    world.batch()
    assert {row.shown["scores"]["beauty"] for row in world.reviews_of(world.ada)} == {1.5}


def test_next_batch_holds_what_the_expert_has_not_had(world: Reviewing) -> None:
    world.batch(limit=5)
    skipped, *had = world.reviews_of(world.ada)
    world.decide(skipped, Verdict.SKIP)
    second = world.batch()
    again = {row.image_id for row in world.reviews_of(world.ada, second.id)}
    assert again == set(world.images) - {row.image_id for row in had}
    with pytest.raises(InvalidInput, match="have not had"):
        world.batch()
    world.batch(image_ids=(world.images[0],))  # by name, again


def test_agreement_of_those_who_share_images_is_icc_and_srcc(world: Reviewing) -> None:
    batch = world.batch(experts=("ada", "bob"), overlap=1.0, limit=8)
    scores: dict[Any, list[float]] = {}
    for expert, offset in ((world.ada, 0.0), (world.bob, 1.0)):
        for row in world.reviews_of(expert):
            place = world.images.index(row.image_id)
            score = min(10.0, (place * 7 % 10) * 0.9 + offset)
            world.decide(row, Verdict.CORRECT, beauty=score)
            scores.setdefault(row.image_id, []).append(score)
    with world.database.read_session() as session:
        [found] = progress.agreement(session, batch.id)
    score_NK = np.array(list(scores.values()))
    assert (found.aspect, found.num_experts, found.num_images, found.reason) == ("beauty", 2, 8, None)
    assert found.icc == pytest.approx(icc(score_NK))
    assert found.srcc == pytest.approx(srcc(*score_NK.T))


def test_agreement_with_too_few_shared_images_has_a_reason(world: Reviewing) -> None:
    batch = world.batch(experts=("ada", "bob"), overlap=0.2)
    for expert in (world.ada, world.bob):
        for row in world.reviews_of(expert):
            world.decide(row)
    with world.database.read_session() as session:
        [found] = progress.agreement(session, batch.id)
    assert (found.icc, found.srcc, found.num_images) == (None, None, 4)
    assert "5 images are needed" in (found.reason or "")


def test_an_invalid_batch_is_refused_and_nothing_is_written(world: Reviewing) -> None:
    world.add_user("carl")
    retired = world.expert("dora")
    with world.database.session() as session:
        session.get_one(ExpertRow, retired).retired_at = utcnow()
        owned = make_image(session, owner_id=world.ada).id
        unlabelled = make_image(session).id
    for error, message, options in (
        (InvalidInput, "'carl' is no expert", {"experts": ("carl",)}),
        (InvalidInput, "'dora' is no expert, or a retired one", {"experts": ("dora",)}),
        (NotFound, "'nobody' does not exist", {"experts": ("nobody",)}),
        (InvalidInput, "name the same user", {"experts": ("ada", str(world.ada))}),
        (NotFound, "belongs to a single user", {"image_ids": (owned,)}),
        (Conflict, "1 of 1 images have no label", {"image_ids": (unlabelled,)}),
        (InvalidInput, "has a label by", {"tools": ("exposure",)}),
        (InvalidInput, "overlap", {"overlap": 1.5}),
        (InvalidInput, "limit", {"limit": 0}),
        (InvalidInput, "experts", {"experts": ()}),
        (InvalidInput, "name", {"name": ""}),
    ):
        with pytest.raises(error, match=message):
            world.batch(**options)
    with world.database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(ReviewRow)).scalar_one() == 0


def test_batch_of_more_reviews_than_one_transaction_should_write_is_refused(
    world: Reviewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "MAX_REVIEWS", 30)
    with pytest.raises(InvalidInput, match="40 reviews of 20 images by 2 experts; at most 30"):
        world.batch(experts=("ada", "bob"), overlap=1.0)
    assert world.reviews_of(world.ada) == world.reviews_of(world.bob) == []
    world.batch(experts=("ada", "bob"), overlap=0.5)
    assert len(world.reviews_of(world.ada) + world.reviews_of(world.bob)) == 30


def test_another_application_sees_neither_batch_nor_experts(world: Reviewing) -> None:
    batch = world.batch()
    other = Principal("other", KeyScope.APPLICATION, application="other")
    with world.database.session() as session:
        with pytest.raises(NotFound):
            batches.get(session, other, batch.id)
        with pytest.raises(NotFound):
            batches.close(session, other, batch.id)
        assert batches.list_batches(session, other) == []
    with pytest.raises(NotFound):
        batches.create(world.database, world.store, other, NewBatch("other", "b", (str(world.ada),)))


def test_erasing_an_expert_erases_their_reviews_and_no_other(world: Reviewing) -> None:
    world.batch(experts=("ada", "bob"), overlap=1.0)
    for expert in (world.ada, world.bob):
        world.decide(world.reviews_of(expert)[0])
    with world.database.session() as session:
        erasures.erase(session, world.blobs, world.ada, actor="test", erasures_url=world.settings.resolved_erasures_url)
    assert world.reviews_of(world.ada) == []
    assert len(world.reviews_of(world.bob)) == 20


def test_without_open_reviews_there_is_nothing_to_put_in_order_and_no_base_model_is_needed(world: Reviewing) -> None:
    world.batch()
    world.review_all(world.ada, seed=1)
    with world.database.session() as session:
        session.get_one(BaseModelRow, world.base_row.id).retired_at = utcnow()
    assert world.learn().version == 1
    assert ordering.rerank(world.database, world.store, APPLICATION) == 0


def test_learning_puts_what_would_be_corrected_now_first(world: Reviewing) -> None:
    """The tool is right on half of the images, and the experts' reviews correct its high scores."""
    done = world.batch(limit=10, tools=(TOOL,))
    world.batch(order=ReviewOrder.VALUE, tools=(TOOL,))
    for row in world.reviews_of(world.ada, done.id):
        world.decide(row, Verdict.CORRECT, beauty=max(0.0, 10 - row.shown["scores"]["beauty"] * 1.5))
    world.learn()
    moved = ordering.rerank(world.database, world.store, APPLICATION)
    rows = [row for row in world.reviews_of(world.ada) if row.batch_id != done.id]
    assert moved > 0
    values = [row.expected_value for row in rows]
    assert values == sorted(values, reverse=True)
    assert sorted(row.position for row in rows) == list(range(10))
    with world.database.session() as session:
        batches.close(session, APP, rows[0].batch_id)
    assert ordering.rerank(world.database, world.store, APPLICATION) == 0
