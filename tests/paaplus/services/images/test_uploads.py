"""Uploads: what is staged before the transaction, and what is left of it when a process is killed or a user erased."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.tables import ImageRow
from paaplus.db.types import utcnow
from paaplus.errors import NotFound, Unavailable
from paaplus.ids import sha256_hex
from paaplus.services.images import deletions, sanitize, uploads
from paaplus.services.operations import erasures
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore, Staged
from tests.support.factories import APPLICATION, make_user

KILLED_AFTER = """
import os, signal, sys
from pathlib import Path
from uuid import UUID
from paaplus.db.engine import Database
from paaplus.services.images import uploads
from paaplus.settings import get_settings
from paaplus.storage.blobs import BlobStore

url, folder, step, owner, file = sys.argv[1:]
method = getattr(BlobStore, step)

def last(*arguments):
    method(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(BlobStore, step, last)
data = Path(file).read_bytes()
owner_id = UUID(owner) if owner else None
uploads.add(Database(url), BlobStore(folder), get_settings(), application="app", data=data, owner_id=owner_id)
"""


def png(shade: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (40, 40), (shade, 100, 100)).save(buffer, "PNG")
    return buffer.getvalue()


class Store:
    """Uploads into one deployment, whose files are in `folder`."""

    def __init__(self, database: Database, settings: Settings, folder: Path) -> None:
        self.database, self.settings, self.folder = database, settings, folder
        self.blobs = BlobStore(folder.as_uri())
        self.erasures_url = (folder.parent / "erasures").as_uri()

    def add(self, data: bytes, owner_id: UUID | None = None) -> ImageRow:
        return uploads.add(
            self.database, self.blobs, self.settings, application=APPLICATION, data=data, owner_id=owner_id
        ).row

    def add_killed(self, step: str, data: bytes, owner_id: UUID | None = None) -> None:
        """Upload in a process that dies right after a step."""
        file = self.folder.parent / "upload.png"
        file.write_bytes(data)
        url = self.database.engine.url.render_as_string(hide_password=False)
        arguments = [url, self.folder.as_uri(), step, str(owner_id or ""), str(file)]
        process = subprocess.run([sys.executable, "-c", KILLED_AFTER, *arguments], timeout=120, capture_output=True)
        assert process.returncode == -signal.SIGKILL, process.stderr.decode()

    def user(self) -> UUID:
        with self.database.session() as session:
            return make_user(session).id

    def erase(self, user_id: UUID) -> None:
        with self.database.session() as session:
            erasures.erase(session, self.blobs, user_id, actor="test", erasures_url=self.erasures_url)

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def num_images(self) -> int:
        with self.database.read_session() as session:
            return session.execute(sa.select(sa.func.count()).select_from(ImageRow)).scalar_one()

    def make_old(self) -> None:
        """What is staged now has been so for longer than an upload takes."""
        then = (utcnow() - uploads.STAGED_FOR - timedelta(minutes=1)).timestamp()
        for file in (self.folder / "staging").iterdir():
            os.utime(file, (then, then))


@pytest.fixture
def store(database: Database, settings: Settings, tmp_path: Path) -> Store:
    return Store(database, settings, tmp_path / "blobs")


def clean(data: bytes) -> bytes:
    return sanitize.clean(data, max_bytes=10**6, max_pixels=10**6, min_side_px=8).data


def test_nothing_stays_staged_after_an_upload_and_the_bytes_are_written_before_the_lock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = store.blobs.stage

    def stage_beside_a_writer(data: bytes, owner_id: UUID | None) -> Staged:
        with ThreadPoolExecutor(1) as thread:  # on SQLite it would wait for ever for a lock that this upload holds
            thread.submit(store.user).result(timeout=60)
        return stage(data, owner_id)

    monkeypatch.setattr(store.blobs, "stage", stage_beside_a_writer)
    row = store.add(png(1), store.user())
    assert store.files() == [f"{row.sha256[:2]}/{row.sha256}"]
    assert store.blobs.get(row.sha256) == clean(png(1))


@pytest.mark.parametrize("step", ["stage", "adopt"])
def test_erasure_takes_what_a_killed_upload_of_the_user_left(store: Store, step: str) -> None:
    anna, ben = store.user(), store.user()
    kept = store.add(png(9), ben)
    store.add_killed(step, png(2), anna)
    store.add_killed(step, png(9), anna)  # a picture that another user has too
    assert store.num_images() == 1
    assert len([file for file in store.files() if file.startswith("staging/")]) == 2
    store.erase(anna)
    assert store.files() == [f"{kept.sha256[:2]}/{kept.sha256}"]


@pytest.mark.parametrize("step", ["stage", "adopt"])
def test_what_a_killed_upload_left_is_swept_when_it_is_old(store: Store, step: str) -> None:
    store.add_killed(step, png(2))
    left = store.files()
    assert (uploads.sweep(store.database, store.blobs), store.files()) == (0, left), "it could still be going on"
    store.make_old()
    assert (uploads.sweep(store.database, store.blobs), store.files()) == (1, [])


def test_sweeping_keeps_the_pictures_that_images_have(store: Store) -> None:
    row = store.add(png(2))
    store.add_killed("adopt", png(2), store.user())
    store.make_old()
    assert uploads.sweep(store.database, store.blobs) == 1
    assert store.files() == [f"{row.sha256[:2]}/{row.sha256}"]
    assert store.blobs.is_intact(row.sha256)


def test_user_who_is_erased_between_the_steps_of_an_upload_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = store.user()
    stage = store.blobs.stage

    def stage_then_erase(data: bytes, owner_id: UUID | None) -> Staged:
        staged = stage(data, owner_id)
        store.erase(anna)
        return staged

    monkeypatch.setattr(store.blobs, "stage", stage_then_erase)
    with pytest.raises(NotFound, match=str(anna)):
        store.add(png(3), anna)
    assert (store.files(), store.num_images()) == ([], 0)


def test_uploads_and_erasures_at_once_leave_no_file_of_the_erased(store: Store) -> None:
    for number in range(6):
        anna = store.user()
        begin = threading.Barrier(3)

        def upload(shade: int, owner: UUID = anna, begin: threading.Barrier = begin) -> None:
            begin.wait(60)
            try:
                store.add(png(shade), owner)
            except NotFound:
                return

        with ThreadPoolExecutor(3) as threads:
            added = [threads.submit(upload, 2 * number + shade) for shade in range(2)]
            begin.wait(60)
            erased = threads.submit(store.erase, anna)
            for each in (*added, erased):
                each.result()
        assert (store.files(), store.num_images()) == ([], 0)


def test_deleting_and_uploading_one_picture_of_one_user_never_wait_for_each_other(store: Store) -> None:
    """Row and blob are locked in one order: otherwise PostgreSQL ends one of the two as a deadlock."""
    anna = store.user()
    for _ in range(10):
        first = store.add(png(5), anna)

        def remove(image_id: UUID = first.id) -> None:
            with store.database.session() as session:
                deletions.delete(session, store.blobs, OPERATOR, image_id, with_feedback=False, actor="test")

        def upload() -> None:
            uploads.add_picture(
                store.database,
                store.blobs,
                store.settings,
                application=APPLICATION,
                picture=sanitize.clean(png(5), max_bytes=10**6, max_pixels=10**6, min_side_px=8),
                owner_id=anna,
            )

        with ThreadPoolExecutor(2) as threads:
            for each in (threads.submit(remove), threads.submit(upload)):
                try:
                    each.result()
                except NotFound:  # it was deleted before the upload had told of it
                    continue
        with store.database.read_session() as session:
            digests = set(session.execute(sa.select(ImageRow.sha256)).scalars())
        assert store.files() == [f"{digest[:2]}/{digest}" for digest in digests]
        for row_id in _ids(store):
            remove(row_id)


def _ids(store: Store) -> list[UUID]:
    with store.database.read_session() as session:
        return list(session.execute(sa.select(ImageRow.id)).scalars())


def test_the_same_file_encoded_in_other_bytes_leaves_no_blob_that_no_image_names(store: Store) -> None:
    """Another version of the library encodes a picture in other bytes: they are stored only in place of lost ones."""
    row = store.add(png(6))
    other = sanitize.clean(png(6), max_bytes=10**6, max_pixels=10**6, min_side_px=8)
    other = sanitize.Picture(
        data=other.data + b"\0",
        upload_sha256=sha256_hex(png(6)),
        width_px=other.width_px,
        height_px=other.height_px,
        media_type=other.media_type,
    )

    def again() -> str:
        picture = uploads.add_picture(
            store.database, store.blobs, store.settings, application=APPLICATION, picture=other, name="n.png"
        )
        return picture.row.sha256

    assert again() == row.sha256
    assert store.files() == [f"{row.sha256[:2]}/{row.sha256}"]
    store.blobs.delete(row.sha256)
    assert again() == sha256_hex(other.data)
    assert store.blobs.get(sha256_hex(other.data)) == other.data


def test_upload_whose_staged_bytes_were_swept_is_refused_and_can_be_sent_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = store.blobs.stage

    def stage_for_long(data: bytes, owner_id: UUID | None) -> Staged:
        staged = stage(data, owner_id)
        store.make_old()
        assert uploads.sweep(store.database, store.blobs) == 1
        return staged

    monkeypatch.setattr(store.blobs, "stage", stage_for_long)
    with pytest.raises(Unavailable):
        store.add(png(7))
    assert (store.files(), store.num_images()) == ([], 0)
    monkeypatch.undo()
    assert store.blobs.is_intact(store.add(png(7)).sha256)
