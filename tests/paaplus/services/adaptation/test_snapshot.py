"""Snapshots of several users at once are those of each alone."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.services.adaptation import drift
from paaplus.services.adaptation.snapshot import Snapshot, read_snapshot, read_snapshots
from paaplus.settings import Settings
from tests.support.deployment import Deployment

QUICK = {"threshold": 8.0, "min_ratings": 10}


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def test_snapshots_together_are_those_of_each_alone_and_an_unknown_user_is_an_error(deployment: Deployment) -> None:
    trained, new, silent = (deployment.add_user(name) for name in ("ann", "ben", "cy"))
    deployment.rate(trained, range(30))
    deployment.work()
    deployment.rate(trained, range(30, 35))
    deployment.rate(new, range(7))
    user_ids = [trained, new_id(), new, silent]
    inputs = deployment.database, deployment.blobs
    found = read_snapshots(*inputs, user_ids, deployment.settings, deployment.context.projections)
    assert isinstance(found[1], NotFound)
    for user_id, together in zip(user_ids, found, strict=True):
        if isinstance(together, Snapshot):
            alone = read_snapshot(*inputs, user_id, deployment.settings)
            assert (together.user_id, together.epoch, together.policy) == (user_id, alone.epoch, alone.policy)
            assert together.log == alone.log
            assert together.images.keys() == alone.images.keys() == together.log.image_ids()
            np.testing.assert_array_equal(together.pool_PR, alone.pool_PR)
            np.testing.assert_array_equal(together.pool_PA, together.base.generic(together.pool_PR))
            versions = [each.reference.id if each.reference is not None else None for each in (together, alone)]
            assert versions[0] == versions[1]
            assert (versions[0] is None) == (together.active is None)


def test_users_are_watched_together_as_each_alone(deployment: Deployment) -> None:
    drifting, stable, silent = (deployment.add_user(name, drift=QUICK) for name in ("ann", "ben", "cy"))
    for user in (drifting, stable):
        deployment.rate(user, range(60))
    deployment.work()
    deployment.rate(drifting, range(60, 72), flip=True)
    deployment.rate(stable, range(60, 72))
    users = [drifting, stable, silent]
    store, logs = deployment.context.serving, {}
    for user in users:
        read = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
        logs[user] = read.watched_up_to, read.log
    found = drift.watch_logs(deployment.database, store, logs)
    assert found == {drifting: (72, True), stable: (72, False)}
    assert [deployment.user(user).watched_sequence for user in users[:3]] == [72, 72, 0]
    assert deployment.user(drifting).drift["since"] is not None
    assert drift.watch_log(deployment.database, store, drifting, *logs[drifting]) is False, "once"
    assert drift.watch_logs(deployment.database, store, logs) == {}, "another one has been there since"
