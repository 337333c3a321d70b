"""Base models: registered once, numbered by name, and damaged ones are never loaded."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from paaplus.db.engine import Database
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, Unavailable
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import make_base_model
from tests.support.tiny import tiny_base


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    base_models._loaded.clear()
    yield
    base_models._loaded.clear()


def test_versions_are_numbered_by_name_and_the_same_artifact_is_one_row(database: Database, blobs: BlobStore) -> None:
    with database.session() as session:
        first = base_models.register(session, blobs, tiny_base(seed=0), {"extractor": "x"}, {"srcc": 0.5})
        second = base_models.register(session, blobs, tiny_base(seed=1), {}, {})
        again = base_models.register(session, blobs, tiny_base(seed=0), {"other": 1}, {})
    assert (first.name, first.version, second.version) == ("tiny", 1, 2)
    assert again.id == first.id
    assert (first.digest, first.aspects, first.feature_dim) == (tiny_base(seed=0).digest, ["beauty"], 12)
    assert first.config == {"extractor": "x"}


def test_same_artifact_from_many_at_once_is_one_row(database: Database, blobs: BlobStore) -> None:
    def register(seed: int) -> int:
        with database.session() as session:
            return base_models.register(session, blobs, tiny_base(seed=seed % 3), {}, {}).version

    with ThreadPoolExecutor(6) as threads:
        versions = list(threads.map(register, range(12)))
    assert set(versions) == {1, 2, 3}


def test_default_is_the_newest_that_is_not_retired(database: Database, blobs: BlobStore, settings: Settings) -> None:
    with database.session() as session:
        older = base_models.register(session, blobs, tiny_base(seed=0), {}, {})
        newer = base_models.register(session, blobs, tiny_base(seed=1), {}, {})
        assert base_models.default(session, settings).id == newer.id
        newer.retired_at = utcnow()
        session.flush()
        assert base_models.default(session, settings).id == older.id
        assert [row.id for row in base_models.list_base_models(session)] == [newer.id, older.id]


def test_default_can_be_configured_by_name_and_version(
    database: Database, blobs: BlobStore, settings: Settings
) -> None:
    with database.session() as session:
        first = base_models.register(session, blobs, tiny_base(seed=0), {}, {})
        second = base_models.register(session, blobs, tiny_base(seed=1), {}, {})
        make_base_model(session, name="other")
        for wanted, row in [("tiny", second), ("tiny@1", first), ("tiny@2", second)]:
            configured = settings.model_copy(update={"default_base_model": wanted})
            assert base_models.default(session, configured).id == row.id


@pytest.mark.parametrize("wanted", ["", "lite", "lite@3"])
def test_missing_default_says_what_to_do(database: Database, settings: Settings, wanted: str) -> None:
    configured = settings.model_copy(update={"default_base_model": wanted})
    with database.read_session() as session, pytest.raises(Unavailable, match="paaplus base-models train"):
        base_models.default(session, configured)


@pytest.mark.parametrize("wanted", ["@1", "lite@", "lite@one", "lite@-1", "lite@1@2"])
def test_default_that_cannot_be_a_name_is_refused(database: Database, settings: Settings, wanted: str) -> None:
    configured = settings.model_copy(update={"default_base_model": wanted})
    with database.read_session() as session, pytest.raises(InvalidInput, match="neither a name nor name@version"):
        base_models.default(session, configured)


def test_loaded_model_is_the_one_registered_and_stays_in_memory(database: Database, blobs: BlobStore) -> None:
    with database.session() as session:
        row = base_models.register(session, blobs, tiny_base(), {}, {})
    loaded = base_models.load(blobs, row)
    assert loaded.to_bytes() == tiny_base().to_bytes()
    blobs.delete(row.artifact_sha256)
    assert base_models.load(blobs, row) is loaded


def test_missing_or_foreign_artifact_is_unavailable(database: Database, blobs: BlobStore) -> None:
    with database.session() as session:
        missing = make_base_model(session)
        foreign = make_base_model(session, artifact_sha256=blobs.put(tiny_base().to_bytes()))
        rubbish = make_base_model(session, artifact_sha256=blobs.put(b"rubbish"))
    for row, message in [(missing, "not in storage"), (foreign, "registered was"), (rubbish, "cannot be read")]:
        with pytest.raises(Unavailable, match=message):
            base_models.load(blobs, row)


def test_memory_holds_a_few_models_only(database: Database, blobs: BlobStore) -> None:
    with database.session() as session:
        rows = [base_models.register(session, blobs, tiny_base(seed=i), {}, {}) for i in range(6)]
    for row in rows:
        base_models.load(blobs, row)
    assert base_models._loaded.digests() == [row.digest for row in rows[-base_models.NUM_KEPT :]]
