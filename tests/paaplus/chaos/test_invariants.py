"""Checks of `paaplus chaos` find what they are for."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from paaplus.chaos.invariants import Check, excluded_once, true_receipts
from paaplus.chaos.ledger import Ledger, Scored
from paaplus.db.engine import Database
from paaplus.db.users import locked_user
from paaplus.services.feedback import exclusions
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.settings import Settings
from tests.support import receipts
from tests.support.deployment import Deployment


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.fixture
def scored(deployment: Deployment) -> list[Scored]:
    """Three predictions; a correction names the receipt of the first."""
    user = deployment.add_user("ada")
    predictor = Predictor(deployment.database, deployment.blobs, deployment.settings)
    items = predictor.answer([Target(user, image) for image in deployment.images[:3]]).items
    receipts.keep_one(deployment.database, items[0])
    return [Scored(str(i.user_id), str(i.image_id), 0, i.scores or {}, i.receipt or "") for i in items]


def checked(deployment: Deployment, scored: list[Scored]) -> Check:
    with deployment.database.read_session() as session:
        return true_receipts(session, Ledger(scored=scored))


@pytest.mark.slow
def test_true_receipts_are_what_was_answered(deployment: Deployment, scored: list[Scored]) -> None:
    assert checked(deployment, scored).problems == []


@pytest.mark.parametrize("place", [0, 2], ids=["with a row", "signed only"])
def test_a_receipt_of_another_answer_is_found(deployment: Deployment, scored: list[Scored], place: int) -> None:
    other = {aspect: score + 1.0 for aspect, score in scored[place].scores.items()}
    assert checked(deployment, [replace(scored[place], scores=other)]).problems != []
    assert checked(deployment, [replace(scored[place], image=scored[1].image)]).problems != []
    assert checked(deployment, [replace(scored[place], user=str(UUID(int=7)))]).problems != []


def test_an_event_that_is_excluded_twice_is_found(deployment: Deployment) -> None:
    user = deployment.add_user("ada")
    for sequences, is_kept in ({2, 3}, True), ({1}, True), ({4, 5}, True), ({5, 6}, False):
        with deployment.database.session() as session:
            exclusions.exclude(session, locked_user(session, user), sequences, actor="admin", reason="why")
        with deployment.database.read_session() as session:
            assert (excluded_once(session).problems == []) == is_kept, sequences
