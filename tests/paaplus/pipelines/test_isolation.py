"""A training changes no other user's parameters, and not the base model."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, BaseModelRow, PredictionReceiptRow
from paaplus.db.tables.jobs import JobState
from paaplus.queue import jobs
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.tensors import pack, unpack
from paaplus.services.predictions.answers import Target
from paaplus.services.predictions.predict import Predictor
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.receipts import keep

POLICIES = [
    {},
    {"adapter": "taste_vector", "strategy": "replay", "training": {"num_steps": 10}},
    {"adapter": "bottleneck", "strategy": "replay_ewc", "training": {"num_steps": 10}},
]


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def stored(deployment: Deployment) -> dict[tuple[UUID, int], tuple[bytes, bytes, str]]:
    """All versions of all users, as bytes."""
    columns = (AdapterRow.user_id, AdapterRow.number, AdapterRow.data, AdapterRow.learner_state, AdapterRow.state)
    with deployment.database.read_session() as session:
        return {(u, n): (data, learner, state) for u, n, data, learner, state in session.execute(sa.select(*columns))}


def test_training_one_user_leaves_the_bytes_of_all_others_as_they_are(deployment: Deployment) -> None:
    users = [deployment.add_user(f"user{i}", **POLICIES[i % 3]) for i in range(6)]
    for seed, user in enumerate(users):
        deployment.rate(user, range(30), seed=seed)
    deployment.work()
    before = stored(deployment)
    assert {user for user, _ in before} == set(users)
    for seed, user in enumerate(users):
        others = {key: value for key, value in stored(deployment).items() if key[0] != user}
        deployment.rate(user, range(30, 60), seed=seed)
        deployment.work()
        after = stored(deployment)
        assert {key: value for key, value in after.items() if key[0] != user} == others
        assert (user, 2) in after


def test_user_whose_training_diverges_is_told_and_the_others_are_trained(deployment: Deployment) -> None:
    policies = [POLICIES[0], POLICIES[2], POLICIES[1]]
    users = [deployment.add_user(f"user{i}", **policy) for i, policy in enumerate(policies)]
    for images in (range(40), range(40, 80)):
        for user in users:
            deployment.rate(user, images)
        if images.start:
            make_enormous(deployment, users[1])
        deployment.work()
    assert [len(deployment.versions(user)) for user in users] == [2, 1, 2]
    with deployment.database.read_session() as session:
        [dead] = jobs.list_jobs(session, state=JobState.DEAD)
    assert (dead.user_id, dead.last_error) == (users[1], "diverged: replay_ewc: loss inf at step 0 of 10")
    assert deployment.user(users[1]).next_due_at is not None, "it is tried again after an interval"


def make_enormous(deployment: Deployment, user: UUID) -> None:
    """Give the user's version a finite slope with which the squares of its scores are infinite."""
    with deployment.database.session() as session:
        row = session.execute(sa.select(AdapterRow).where(AdapterRow.user_id == user)).scalar_one()
        adapter = adapter_from_bytes(row.data)
        adapter = replace(adapter, alpha_A=np.full_like(adapter.alpha_A, 6e37))
        arrays, metadata = unpack(row.learner_state)
        row.data = adapter.to_bytes()
        row.learner_state = pack(arrays, {**metadata, "adapter": adapter.digest})


def test_every_version_and_receipt_names_the_base_model_and_training_leaves_it_alone(deployment: Deployment) -> None:
    digest = deployment.base.digest
    for name, policy in zip(("anna", "ben", "cleo"), POLICIES, strict=True):
        user = deployment.add_user(name, **policy)
        deployment.rate(user, range(40))
        deployment.work()
        answer = Predictor(deployment.database, deployment.blobs, deployment.settings).answer(
            [Target(user, image) for image in deployment.images[:3]]
        )
        keep(deployment.database, answer.items)
    with deployment.database.read_session() as session:
        base = session.execute(sa.select(BaseModelRow)).scalar_one()
        versions = session.execute(sa.select(AdapterRow.base_model_id, AdapterRow.data)).all()
        receipts = session.execute(sa.select(PredictionReceiptRow.base_model_id)).scalars().all()
    assert (base.digest, len(versions), len(receipts)) == (digest, 3, 9)
    assert {version.base_model_id for version in versions} | set(receipts) == {base.id}
    assert {adapter_from_bytes(version.data).base_digest for version in versions} == {digest}
    assert BaseScorer.from_bytes(deployment.blobs.get(base.artifact_sha256)).digest == digest
