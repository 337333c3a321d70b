"""SRCC and forgetting of a user's versions on ratings that no training has seen."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.scoring.adapters import TasteVector, adapter_from_bytes
from paaplus.services.adapters import versions
from paaplus.services.experts import quality
from paaplus.services.predictions import version_quality
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.predictions.version_quality import VersionQuality
from paaplus.settings import Settings
from tests.support.databases import on_one_database
from tests.support.deployment import Deployment
from tests.support.factories import make_adapter


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def measured(deployment: Deployment, user: UUID, rows: list[AdapterRow]) -> dict[int, VersionQuality]:
    store = ServingStore(deployment.database, deployment.blobs, deployment.settings)
    reached = {row.number: row.high_water_sequence for row in rows}
    return version_quality.of_versions(deployment.database, store, deployment.settings, user, reached)


@on_one_database
def test_a_version_that_turns_the_order_around_has_forgotten_it(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(100), seed=1)
    deployment.work()
    [good] = deployment.versions(user)
    store = ServingStore(deployment.database, deployment.blobs, deployment.settings)
    expected = quality.held_out(deployment.database, store, deployment.settings, user)
    found = measured(deployment, user, [good])[1]
    assert (found.srcc, found.generic_srcc) == (expected.srcc["beauty"], expected.generic_srcc["beauty"])
    assert (found.num_ratings, found.forgetting) == (expected.num_images, None)

    with deployment.database.session() as session:
        adapter = adapter_from_bytes(versions.get_version(session, user, 1).data)
        assert isinstance(adapter, TasteVector)
        turned = replace(adapter, weight_RA=-adapter.weight_RA, uncertainty=None)
        row = session.get_one(UserRow, user)
        base_id = deployment.base_row.id
        for data, digest in ((turned.to_bytes(), turned.digest), (b"damaged", "0" * 64)):
            make_adapter(session, row, base_model_id=base_id, data=data, digest=digest, state=AdapterState.RETIRED)
    both = measured(deployment, user, deployment.versions(user))
    assert both.keys() == {1, 2}, "a version that cannot be read is left out"
    first, second = both[1], both[2]
    assert first == found
    assert first.srcc is not None
    assert second.srcc is not None
    assert second.srcc < first.srcc
    assert second.forgetting == pytest.approx(first.srcc - second.srcc)


@on_one_database
def test_few_held_out_ratings_measure_nothing(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(10))
    deployment.work()
    found = measured(deployment, user, deployment.versions(user))
    assert all((each.srcc, each.forgetting) == (None, None) for each in found.values())
