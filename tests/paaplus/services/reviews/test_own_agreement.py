"""What an expert is told of agreement with the other experts."""

from __future__ import annotations

import pytest
from scipy.stats import spearmanr

from paaplus.db.engine import Database
from paaplus.services.reviews import own_agreement
from paaplus.services.reviews.own_agreement import OwnAgreement
from paaplus.services.reviews.reviews import Verdict
from paaplus.settings import Settings
from tests.support.reviewing import Reviewing

MINE = (1.0, 9.0, 4.0, 6.0, 2.0, 8.0)
OTHER = (2.0, 7.0, 5.0, 4.0, 1.0, 9.0)


@pytest.fixture
def world(database: Database, settings: Settings) -> Reviewing:
    made = Reviewing(database, settings, num_images=8)
    made.batch(experts=("ada", "bob"), overlap=1.0)
    return made


def decide(world: Reviewing, expert: object, scores: tuple[float, ...]) -> None:
    """Scores of the first images, in the order of their ids."""
    rows = sorted(world.reviews_of(expert), key=lambda row: row.image_id)
    for row, score in zip(rows, scores, strict=False):
        world.decide(row, Verdict.CORRECT, beauty=score)


def of(world: Reviewing, expert: object) -> list[OwnAgreement]:
    with world.database.read_session() as session:
        return own_agreement.of_expert(session, expert)  # type: ignore[arg-type]


def test_agreement_is_that_of_the_images_which_both_have_reviewed(world: Reviewing) -> None:
    assert of(world, world.ada) == []
    decide(world, world.ada, MINE)
    decide(world, world.bob, OTHER[:4])
    assert of(world, world.ada) == [OwnAgreement("beauty", 4, 1, None, None)]  # too few
    rows = sorted(world.reviews_of(world.bob), key=lambda row: row.image_id)
    for row, score in zip(rows[4:6], OTHER[4:], strict=True):
        world.decide(row, Verdict.CORRECT, beauty=score)
    [mine], [others] = of(world, world.ada), of(world, world.bob)
    assert (mine.num_images, mine.num_others) == (6, 1)
    assert mine.srcc == pytest.approx(spearmanr(MINE, OTHER).statistic)
    assert mine.mean_difference == pytest.approx(8 / 6)
    assert (others.srcc, others.mean_difference) == (mine.srcc, mine.mean_difference)


def test_scores_that_are_all_alike_have_no_order_but_a_difference(world: Reviewing) -> None:
    decide(world, world.ada, (5.0,) * 6)
    decide(world, world.bob, OTHER)
    [found] = of(world, world.ada)
    assert found.srcc is None
    assert found.mean_difference == pytest.approx(sum(abs(5 - each) for each in OTHER) / 6)
