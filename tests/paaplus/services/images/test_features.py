"""Stored features as arrays: which can be scored, why others cannot, and which are damaged."""

from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, ImageRow
from paaplus.errors import Damaged, InvalidInput
from paaplus.services.images import features
from paaplus.services.images.features import (
    StoredFeatures,
    delete_damaged,
    features_digest,
    features_of,
    sorted_features,
    usable_features,
)
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import make_features, make_image

EXTRACTOR = "e" * 64
IMAGE = UUID(int=7)
GOOD = np.arange(3, dtype=np.float16)
BAD = {
    "damaged": (None, "cannot decode", "cannot decode"),
    "without a reason": (None, None, "no features"),
    "of another extractor": (GOOD[:2].tobytes(), None, "4 bytes, not 3 float16 numbers"),
    "not a number": (np.array([0, np.nan, 0], np.float16).tobytes(), None, "not finite"),
    "infinite": (np.array([0, np.inf, 0], np.float16).tobytes(), None, "not finite"),
}


def stored(data: bytes | None, error: str | None = None, image_id: UUID = IMAGE) -> StoredFeatures:
    digest = features_digest(EXTRACTOR, image_id, data) if data is not None else None
    return StoredFeatures(image_id, EXTRACTOR, data, error, digest)


def test_features_come_back_as_they_were_stored() -> None:
    features_D = features_of(stored(GOOD.tobytes()), 3)
    assert features_D.dtype == np.float16
    np.testing.assert_array_equal(features_D, GOOD)


@pytest.mark.parametrize(("data", "error", "message"), BAD.values(), ids=BAD.keys())
def test_features_that_cannot_be_scored_are_refused(data: bytes | None, error: str | None, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        features_of(stored(data, error), 3)


def test_only_usable_features_are_kept_in_order() -> None:
    rows = [stored(data, error, UUID(int=i)) for i, (data, error, _) in enumerate(BAD.values())]
    rows = [stored(GOOD.tobytes(), None, UUID(int=9)), *rows, stored(GOOD[::-1].tobytes(), None, UUID(int=8))]
    usable = usable_features(rows, 3)
    assert list(usable) == [UUID(int=9), UUID(int=8)]
    np.testing.assert_array_equal(usable[UUID(int=8)], GOOD[::-1])


def test_changed_and_exchanged_features_are_damaged_and_no_others() -> None:
    good, other = stored(GOOD.tobytes()), stored(GOOD[::-1].tobytes(), None, UUID(int=8))
    flipped = good.data[:-1] + bytes([good.data[-1] ^ 1])  # type: ignore[index]
    changes = {
        "one bit": good._replace(data=flipped),
        "truncated": good._replace(data=good.data[:4]),  # type: ignore[index]
        "of another image": other._replace(image_id=IMAGE),
        "of another extractor": good._replace(extractor_digest="f" * 64),
        "without a digest": good._replace(sha256=None),
    }
    for name, row in changes.items():
        with pytest.raises(Damaged, match=str(IMAGE)):
            features_of(row, 3)
        found = sorted_features([other, row], 3)
        assert (list(found.usable), found.failed, found.damaged) == ([UUID(int=8)], {}, [IMAGE]), name


def test_only_damaged_rows_are_deleted(database: Database) -> None:
    with database.session() as session:
        images = [make_image(session).id for _ in range(3)]
        for image_id in images:
            make_features(session, image_id=image_id, extractor_digest=EXTRACTOR)
        make_features(session, image_id=images[1], extractor_digest="f" * 64)
        row = session.get_one(FeaturesRow, (EXTRACTOR, images[1]))
        row.data = b"\1" + (row.data or b"")[1:]
    with database.session() as session:
        assert delete_damaged(session, EXTRACTOR, images) == 1
    with database.read_session() as session:
        assert session.get(FeaturesRow, (EXTRACTOR, images[1])) is None
        assert session.get(FeaturesRow, ("f" * 64, images[1])) is not None
        assert {session.get(FeaturesRow, (EXTRACTOR, images[i])) is None for i in (0, 2)} == {False}


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_features_of_many_images_are_found_by_their_key(database: Database) -> None:
    """Otherwise ten thousand images take minutes: every row of features would be looked for among all ids."""
    query = str(features._stored("sqlite").compile(database.engine))
    with database.engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", ("digest", "$[0]", "[]")).all()
    assert any("extractor_digest=? AND image_id=?" in row[3] for row in plan), plan


def test_features_are_found_by_the_digest_of_the_uploaded_file(database: Database, settings: Settings) -> None:
    deployment = Deployment(database, settings, num_images=3)
    digest, dim = deployment.base.extractor_digest, deployment.base.feature_dim
    with database.session() as session:
        rows = session.execute(sa.select(ImageRow).order_by(ImageRow.id)).scalars().all()
        session.execute(sa.delete(FeaturesRow).where(FeaturesRow.image_id == rows[1].id))
        session.execute(sa.update(FeaturesRow).where(FeaturesRow.image_id == rows[2].id).values(sha256="0" * 64))
    with database.read_session() as session:
        found = features.uploads(session, digest)
        assert found == {rows[0].upload_sha256: rows[0].id, rows[2].upload_sha256: rows[2].id}
        stored_D = features.of_image(session, digest, rows[0].id, dim)
        np.testing.assert_array_equal(stored_D, deployment.features_ID[deployment.images.index(rows[0].id)])
        assert features.of_image(session, digest, rows[1].id, dim) is None
        assert features.of_image(session, digest, rows[2].id, dim) is None, "damaged features are extracted again"
