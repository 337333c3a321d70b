"""Images: stored once, visible to the right principals, and their features requested in the same transaction."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import BaseModelRow, ImageRow, JobRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobKind, JobState
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound, TooLarge, Unavailable
from paaplus.ids import new_id, sha256_hex
from paaplus.services.images import images, uploads
from paaplus.services.images.images import FeatureState
from paaplus.services.images.uploads import AddedImage
from paaplus.services.operations import erasures
from paaplus.services.users.keys import OPERATOR, Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.support.factories import APPLICATION, make_base_model, make_features, make_image, make_job, make_user


def jpeg(shade: int = 0, size: tuple[int, int] = (32, 32)) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", size, (shade, 100, 100)).save(buffer, "JPEG")
    return buffer.getvalue()


class Store:
    """Uploads into one deployment."""

    def __init__(self, database: Database, settings: Settings, folder: Path) -> None:
        self.database, self.settings = database, settings
        self.blobs = BlobStore(folder.as_uri())

    def add(self, data: bytes, application: str = APPLICATION, **more: object) -> AddedImage:
        return uploads.add(self.database, self.blobs, self.settings, application=application, data=data, **more)

    def user(self, **columns: object) -> UUID:
        with self.database.session() as session:
            return make_user(session, **columns).id

    def base_model(self) -> BaseModelRow:
        with self.database.session() as session:
            return make_base_model(session)

    def jobs(self) -> list[JobRow]:
        with self.database.read_session() as session:
            return list(session.execute(sa.select(JobRow).order_by(JobRow.id)).scalars())

    def num_images(self) -> int:
        with self.database.read_session() as session:
            return session.execute(sa.select(sa.func.count()).select_from(ImageRow)).scalar_one()


@pytest.fixture
def store(database: Database, settings: Settings, tmp_path: Path) -> Store:
    return Store(database, settings, tmp_path / "blobs")


# --- add


def test_uploaded_image_is_stored_clean_under_its_digest(store: Store) -> None:
    upload = jpeg(size=(40, 20))
    added = store.add(upload, name="..\\photos\\beach\u202e.jpg")
    row, stored = added.row, store.blobs.get(added.row.sha256)
    assert added.created
    assert (row.application, row.owner_id, row.name) == (APPLICATION, None, "photos/beach.jpg")
    assert (row.width_px, row.height_px, row.media_type) == (40, 20, "image/jpeg")
    assert (row.sha256, row.upload_sha256, row.size_bytes) == (sha256_hex(stored), sha256_hex(upload), len(stored))


def test_same_file_is_one_image_per_application_and_per_owner(store: Store) -> None:
    ada, bob = store.user(), store.user()
    places = [{}, {"application": "other"}, {"owner_id": ada}, {"owner_id": bob}]
    first = [store.add(jpeg(), **place) for place in places]
    again = [store.add(jpeg(), **place) for place in places]
    assert [added.created for added in first + again] == [True] * 4 + [False] * 4
    assert [a.row.id for a in first] == [a.row.id for a in again]
    assert store.num_images() == 4
    assert len({a.row.sha256 for a in first}) == 1


def test_many_uploads_of_one_file_at_once_are_one_image(store: Store) -> None:
    store.base_model()
    with ThreadPoolExecutor(6) as threads:
        results = list(threads.map(lambda i: store.add(jpeg(100 * (i % 2))), range(18)))
    assert len({r.row.id for r in results}) == 2
    assert sum(r.created for r in results) == 2
    assert len(store.jobs()) == 1


def test_known_file_is_not_decoded_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.add(jpeg())
    monkeypatch.setattr("paaplus.services.images.sanitize.clean", None)
    assert not store.add(jpeg()).created


@pytest.mark.parametrize(
    ("data", "error"), [(b"GIF89a", InvalidInput), (jpeg(size=(8, 8)), InvalidInput), (bytes(30 * 2**20), TooLarge)]
)
def test_refused_file_leaves_nothing_behind(store: Store, tmp_path: Path, data: bytes, error: type[Exception]) -> None:
    store.base_model()
    with pytest.raises(error):
        store.add(data)
    assert (store.num_images(), store.jobs()) == (0, [])
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_image_of_an_unknown_user_is_not_found_and_leaves_nothing_behind(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="user"):
        store.add(jpeg(), owner_id=new_id())
    assert store.num_images() == 0
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("step", ["stage", "adopt"])
def test_image_is_not_recorded_when_its_file_cannot_be_stored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def away(*_: object) -> str:
        raise Unavailable("storage is away")

    monkeypatch.setattr(store.blobs, step, away)
    with pytest.raises(Unavailable):
        store.add(jpeg())
    assert store.num_images() == 0
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


def test_erasing_and_uploading_the_same_picture_at_once_never_loses_its_file(store: Store, tmp_path: Path) -> None:
    """In any order, an image with a row has its file."""
    erasures_url = (tmp_path / "erasures").as_uri()

    def erase(user_id: UUID) -> None:
        with store.database.session() as session:
            erasures.erase(session, store.blobs, user_id, actor="operator", erasures_url=erasures_url)

    for shade in range(8):
        ada, bob = store.user(), store.user()
        store.add(jpeg(30 * shade), owner_id=ada)
        with ThreadPoolExecutor(2) as threads:
            erased, added = threads.submit(erase, ada), threads.submit(store.add, jpeg(30 * shade), owner_id=bob)
            erased.result()
            assert store.blobs.exists(added.result().row.sha256)


# --- features


def test_upload_without_a_base_model_is_pending_and_asks_for_nothing(store: Store) -> None:
    assert store.add(jpeg()).features == FeatureState("pending")
    assert store.jobs() == []


def test_upload_asks_for_features_in_one_job_per_extractor(store: Store) -> None:
    base = store.base_model()
    states = [store.add(jpeg(50 * shade)).features for shade in range(3)]
    job, *others = store.jobs()
    assert others == []
    assert states == [FeatureState("pending", job.id)] * 3
    assert (job.kind, job.lock_key, job.queue, job.user_id) == (
        JobKind.EXTRACT_FEATURES,
        f"features:{base.extractor_digest}",
        "cpu",
        None,
    )
    assert job.payload == {"extractor_digest": base.extractor_digest, "base_model_id": str(base.id)}


def test_upload_beside_a_running_job_asks_again(store: Store) -> None:
    """The running job may have read the images before this upload."""
    base = store.base_model()
    with store.database.session() as session:
        running = make_job(session, lock_key=f"features:{base.extractor_digest}", state=JobState.RUNNING).id
    assert store.add(jpeg()).features.job_id != running


def test_features_are_asked_for_on_the_configured_queue(store: Store) -> None:
    store.base_model()
    store.settings = store.settings.model_copy(update={"features_queue": "gpu"})
    store.add(jpeg())
    assert [job.queue for job in store.jobs()] == ["gpu"]


def test_feature_states_tell_ready_failed_and_pending_apart(store: Store) -> None:
    base = store.base_model()
    with store.database.session() as session:
        ready, failed, pending = (make_image(session).id for _ in range(3))
        make_features(session, image_id=ready, extractor_digest=base.extractor_digest)
        make_features(session, image_id=failed, extractor_digest=base.extractor_digest, data=None, error="broken")
        make_features(session, image_id=pending, extractor_digest="0" * 64)  # of another extractor
    with store.database.read_session() as session:
        states = images.feature_states(session, [ready, failed, pending], store.settings)
    assert states == {
        ready: FeatureState("ready"),
        failed: FeatureState("failed", error="broken"),
        pending: FeatureState("pending"),
    }


def test_features_are_requested_only_for_what_lacks_them(store: Store) -> None:
    base = store.base_model()
    with store.database.session() as session:
        done, failed = make_image(session).id, make_image(session).id
        make_features(session, image_id=done, extractor_digest=base.extractor_digest)
        make_features(session, image_id=failed, extractor_digest=base.extractor_digest, data=None, error="x")
    with store.database.session() as session:
        assert images.request_features(session, [done, failed], store.settings) is None
        assert images.request_features(session, [], store.settings) is None
        assert images.request_features(session, None, store.settings) is None
        lacking = make_image(session).id
        assert images.request_features(session, [done], store.settings) is None
        job_id = images.request_features(session, None, store.settings)
        assert job_id is not None
        assert images.request_features(session, [done, lacking], store.settings) == job_id


# --- visibility


def test_each_principal_sees_what_concerns_them(store: Store) -> None:
    with store.database.session() as session:
        ada, bob = make_user(session), make_user(session)
        shared, foreign = make_image(session).id, make_image(session, application="other").id
        adas, bobs = make_image(session, owner_id=ada.id).id, make_image(session, owner_id=bob.id).id
    views = {
        OPERATOR: {shared, foreign, adas, bobs},
        Principal("app", KeyScope.APPLICATION, application=APPLICATION): {shared, adas, bobs},
        Principal("ada", KeyScope.USER, application=APPLICATION, user_id=ada.id): {shared, adas},
    }
    with store.database.read_session() as session:
        for principal, expected in views.items():
            assert {row.id for row in images.list_images(session, principal)} == expected
            for image_id in (shared, foreign, adas, bobs):
                if image_id in expected:
                    assert images.get(session, principal, image_id).id == image_id
                else:
                    with pytest.raises(NotFound, match=str(image_id)):
                        images.get(session, principal, image_id)


def test_images_are_listed_newest_first_in_pages(store: Store) -> None:
    with store.database.session() as session:
        made = [make_image(session, created_at=utcnow()).id for _ in range(5)]
    with store.database.read_session() as session:
        page = images.list_images(session, OPERATOR, limit=2)
        rest = images.list_images(session, OPERATOR, limit=9, before=page[-1].id)
    assert [row.id for row in page + rest] == made[::-1]
