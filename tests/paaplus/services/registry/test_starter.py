"""The starter base model: registered with its prior where there is no base model, and nowhere else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus import starter as shipped
from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow, TastePriorRow
from paaplus.errors import Unavailable
from paaplus.services.registry import base_models, starter, taste_priors
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_base_model


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


def test_starter_is_registered_once_with_its_prior_and_is_the_default(
    database: Database, blobs: BlobStore, settings: Settings
) -> None:
    with ThreadPoolExecutor(4) as threads:
        rows = list(threads.map(lambda _: starter.ensure(database, blobs, settings), range(4)))
    assert {(row.name, row.version, row.digest) for row in rows} == {("starter", 1, shipped.load().base.digest)}
    with database.read_session() as session:
        assert base_models.default(session, settings).id == rows[0].id
        assert base_models.load(blobs, rows[0]).digest == rows[0].digest
        prior = taste_priors.in_force(session, rows[0].id, "anything")
        assert prior is not None
        assert taste_priors.load(blobs, prior).fits(shipped.load().base)
        assert session.execute(sa.select(sa.func.count()).select_from(TastePriorRow)).scalar_one() == 1


def test_a_base_model_that_is_there_stays_the_default(database: Database, blobs: BlobStore, settings: Settings) -> None:
    with database.session() as session:
        own = make_base_model(session)
    assert starter.ensure(database, blobs, settings).id == own.id
    with database.read_session() as session:
        assert session.execute(sa.select(sa.func.count()).select_from(BaseModelRow)).scalar_one() == 1


@pytest.mark.parametrize(
    ("wanted", "is_starter"), [("starter", True), ("starter@1", True), ("starter@2", False), ("mine", False)]
)
def test_a_setting_that_names_another_base_model_is_not_answered_with_the_starter(
    database: Database, blobs: BlobStore, settings: Settings, wanted: str, is_starter: bool
) -> None:
    chosen = settings.model_copy(update={"default_base_model": wanted})
    if is_starter:
        assert starter.ensure(database, blobs, chosen).name == "starter"
        return
    with pytest.raises(Unavailable, match=wanted):
        starter.ensure(database, blobs, chosen)
    with database.read_session() as session:
        assert base_models.list_base_models(session) == []
