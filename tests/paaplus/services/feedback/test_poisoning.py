"""One user cannot change another user's scores: not by false ratings, floods, or own images."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from tests.support.deployment import Deployment


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def judge_of(deployment: Deployment, user: UUID) -> tuple[str, bytes]:
    """The active version's digest, and its scores of every image."""
    version = deployment.active(user)
    assert version is not None
    return version.digest, deployment.scores(user).tobytes()


@pytest.mark.slow
def test_poisoned_feedback_of_one_user_changes_no_other_users_version(deployment: Deployment) -> None:
    anna, eve = deployment.add_user("anna"), deployment.add_user("eve")
    deployment.rate(anna, range(60), seed=1)
    deployment.work()
    before = judge_of(deployment, anna)

    for round_ in range(4):  # by turns the opposite of Anna's ratings, and extreme ones, of the same images
        events = [
            deployment.rating(eve, f"{round_}-{image}", image, [0.0, 10.0][(image + round_) % 2], index)
            for index, image in enumerate(range(60))
        ]
        deployment.post(*events)
        deployment.work()
    deployment.rate(eve, range(60), seed=1, flip=True, prefix="flip")
    deployment.work()
    assert len(deployment.versions(eve)) > 1

    assert judge_of(deployment, anna) == before
    assert len(deployment.versions(anna)) == 1
    deployment.retrain(anna)  # and training again on her own ratings gives the same version
    assert judge_of(deployment, anna) == before
    with deployment.database.read_session() as session:
        (base,) = base_models.list_base_models(session)
    assert base.digest == deployment.base.digest


@pytest.mark.slow
def test_any_feedback_moves_scores_only_within_the_scale(deployment: Deployment) -> None:
    """However often and however extreme: scores stay numbers from 0 to 10, or the version does not become active."""
    eve = deployment.add_user("eve")
    for round_ in range(6):
        deployment.post(
            *(deployment.rating(eve, f"{round_}-{i}", i, 10.0 if round_ % 2 else 0.0, i) for i in range(100))
        )
        deployment.work()
    scores_IA = deployment.scores(eve)
    assert np.isfinite(scores_IA).all()
    assert ((scores_IA >= 0) & (scores_IA <= 10)).all()
