"""Erasure: no row, file or trace is left; and erased users do not return with an older backup."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AuditRow, Base, ImageRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import Damaged, InvalidInput, NotFound, Unavailable
from paaplus.ids import new_id
from paaplus.services.operations import erasures
from paaplus.storage.blobs import BlobStore
from paaplus.storage.erasure_list import ErasureList
from tests.support.factories import (
    make_adapter,
    make_base_model,
    make_features,
    make_feedback,
    make_image,
    make_job,
    make_receipt,
    make_run,
    make_user,
)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


@pytest.fixture
def erasures_url(tmp_path: Path) -> str:
    return (tmp_path / "erasures").as_uri()


def listed(url: str) -> set[UUID]:
    return {entry.user_id for entry in ErasureList(url)}


def test_erased_user_leaves_no_row_behind(database: Database, blobs: BlobStore, erasures_url: str) -> None:
    with database.session() as session:
        base = make_base_model(session)
        kept, erased = (make_user(session, external_id=name, next_due_at=utcnow()) for name in ("kept", "erased"))
        shared = make_image(session)
        for user in (kept, erased):
            own = make_image(session, owner_id=user.id)
            make_features(session, image_id=own.id, extractor_digest=base.extractor_digest)
            make_feedback(session, user, image_id=own.id)
            make_feedback(session, user, image_id=shared.id)
            adapter = make_adapter(session, user, base_model_id=base.id)
            make_run(session, user_id=user.id, base_model_id=base.id)
            make_job(session, user_id=user.id)
            make_receipt(session, user_id=user.id, image_id=own.id, base_model_id=base.id, adapter_id=adapter.id)
    before = _count_rows(database)
    with database.session() as session:
        erasures.erase(session, blobs, erased.id, actor="key:x", erasures_url=erasures_url)
    after = _count_rows(database)
    per_user = {"users": 1, "due_times": 1, "images": 1, "features": 1, "feedback": 2, "adapters": 1, "runs": 1,
                "jobs": 1, "prediction_receipts": 1}  # fmt: skip
    assert {table: before[table] - after[table] for table in before if before[table] != after[table]} == {
        **per_user,
        "audit": -1,
        "audit_head": -1,  # the first act makes the head of the chain
        "serving_changes": -2,  # ids that other processes must not serve any more: the user's, and of a version
    }
    with database.read_session() as session:
        entry = session.execute(sa.select(AuditRow)).scalar_one()
    assert (entry.actor, entry.action, entry.subject_id, entry.details) == ("key:x", "user_erased", erased.id, {})


def _count_rows(database: Database) -> dict[str, int]:
    with database.read_session() as session:
        return {
            table.name: session.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in Base.metadata.sorted_tables
        }


def test_files_that_only_the_user_owned_are_deleted_and_shared_ones_kept(
    database: Database, blobs: BlobStore, erasures_url: str
) -> None:
    private, shared = blobs.put(b"private"), blobs.put(b"shared")
    with database.session() as session:
        user = make_user(session)
        make_image(session, owner_id=user.id, sha256=private)
        make_image(session, owner_id=user.id, sha256=shared)
        make_image(session, sha256=shared)
    with database.session() as session:
        erasures.erase(session, blobs, user.id, actor="operator", erasures_url=erasures_url)
    assert (blobs.exists(private), blobs.exists(shared)) == (False, True)


def test_user_is_still_there_when_a_file_cannot_be_deleted(
    database: Database, blobs: BlobStore, erasures_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sha256 = blobs.put(b"private")
    with database.session() as session:
        user = make_user(session)
        make_image(session, owner_id=user.id, sha256=sha256)

    def away(_sha256: str) -> None:
        raise Unavailable("storage is away")

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "delete", away)
        with pytest.raises(Unavailable), database.session() as session:
            erasures.erase(session, blobs, user.id, actor="operator", erasures_url=erasures_url)
    with database.session() as session:
        assert session.get(UserRow, user.id) is not None
        erasures.erase(session, blobs, user.id, actor="operator", erasures_url=erasures_url)  # again, and it is done
    with database.read_session() as session:
        assert session.execute(sa.select(ImageRow)).first() is None
    assert not blobs.exists(sha256)


def test_erasing_nobody_is_not_found(database: Database, blobs: BlobStore, erasures_url: str) -> None:
    with database.session() as session, pytest.raises(NotFound):
        erasures.erase(session, blobs, new_id(), actor="operator", erasures_url=erasures_url)


def test_erased_name_is_in_no_file_of_an_embedded_database(
    tmp_path: Path, sqlite_template: Path, erasures_url: str
) -> None:
    """A canary in name, feedback and policy is found nowhere afterwards: not in free pages, not in the log."""
    canary = "canary-7f3a1c"
    path = tmp_path / "canary.db"
    path.write_bytes(sqlite_template.read_bytes())
    database, blobs = Database(f"sqlite:///{path}"), BlobStore((tmp_path / "blobs").as_uri())
    with database.session() as session:
        user = make_user(session, external_id=canary)
        image = make_image(session, owner_id=user.id, name=f"{canary}.jpg", sha256=blobs.put(canary.encode()))
        for i in range(50):
            make_feedback(session, user, image_id=image.id, event_id=f"{canary}-{i}")
    assert any(canary.encode() in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    with database.session() as session:
        erasures.erase(session, blobs, user.id, actor="operator", erasures_url=erasures_url)
    database.scrub()
    found = [file.name for file in tmp_path.rglob("*") if file.is_file() and canary.encode() in file.read_bytes()]
    assert found == []
    database.dispose()


# --- the list, and a restore


def test_list_names_who_was_erased_by_internal_id_only(database: Database, blobs: BlobStore, erasures_url: str) -> None:
    with database.session() as session:
        user = make_user(session, external_id="canary-name")
    with database.session() as session:
        erasures.erase(session, blobs, user.id, actor="operator", erasures_url=erasures_url)
    assert listed(erasures_url) == {user.id}
    folder = Path(erasures_url.removeprefix("file://"))
    assert "canary" not in "".join(file.name + file.read_text() for file in folder.iterdir())


def test_user_of_an_older_backup_is_erased_again_and_the_others_stay(
    database: Database, blobs: BlobStore, erasures_url: str
) -> None:
    with database.session() as session:  # what the restore brought back
        gone, stays = make_user(session), make_user(session)
        private = blobs.put(b"private")
        make_image(session, owner_id=gone.id, sha256=private)
        make_feedback(session, gone, image_id=None)
    erasures.record(erasures_url, gone.id)
    erasures.record(erasures_url, gone.id)
    erasures.record(erasures_url, new_id())  # erased before that backup was made
    assert erasures.replay(database, blobs, erasures_url, actor="restore") == [gone.id]
    assert erasures.replay(database, blobs, erasures_url, actor="restore") == []
    with database.read_session() as session:
        assert list(session.execute(sa.select(UserRow.id)).scalars()) == [stays.id]
        assert session.execute(sa.select(ImageRow)).first() is None
    assert not blobs.exists(private)


def test_nobody_is_erased_when_the_list_cannot_be_written(database: Database, blobs: BlobStore, tmp_path: Path) -> None:
    folder = tmp_path / "erasures"
    folder.mkdir()
    with database.session() as session:
        user = make_user(session)
    (folder / f"{user.id}.json").mkdir()  # where the entry would go
    with pytest.raises(Unavailable, match="cannot be written"), database.session() as session:
        erasures.erase(session, blobs, user.id, actor="operator", erasures_url=folder.as_uri())
    with database.read_session() as session:
        assert session.get(UserRow, user.id) is not None


@pytest.mark.parametrize("document", ["", "[]", "{}", '{"user_id": "x", "erased_at": "2026-01-01"}'])
def test_replay_stops_at_an_entry_that_cannot_be_read(
    database: Database, blobs: BlobStore, erasures_url: str, document: str
) -> None:
    erasures.record(erasures_url, new_id())
    (Path(erasures_url.removeprefix("file://")) / "broken.json").write_text(document)
    with pytest.raises(Damaged, match=r"broken\.json"):
        erasures.replay(database, blobs, erasures_url, actor="restore")


def test_list_of_no_such_kind_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nowhere"):
        ErasureList("nowhere://at/all")
