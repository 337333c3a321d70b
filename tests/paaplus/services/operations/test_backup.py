"""Backup and restore: scores return bit for bit, and erased users do not return."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables import Base, FeedbackRow, UserRow
from paaplus.db.types import utcnow
from paaplus.errors import Conflict, Damaged, InvalidInput
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.operations import backup, erasures
from paaplus.services.predictions.predict import Predictor
from paaplus.services.users import keys
from paaplus.services.users.keys import KeyScope
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore
from tests.migrations.rows import all_rows, insert_one_row_everywhere, reflect
from tests.migrations.test_history import REVISIONS
from tests.support.deployment import Deployment
from tests.support.factories import make_feedback, make_image, make_user
from tests.support.servers import new_postgres_database


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    """Two users with versions, features, receipts, a key, jobs and files: rows of every kind."""
    deployment = Deployment(database, settings, num_images=60)
    for seed, name in enumerate(("anna", "ben")):
        user = deployment.add_user(name)
        deployment.rate(user, range(40), seed=seed)
    deployment.work()
    with database.session() as session:
        keys.create(session, name="k", scope=KeyScope.USER, user_id=user, actor="test")
        for image in deployment.images:
            row = deployment.image_row(image)
            row.sha256 = deployment.blobs.put(f"file of {image}".encode())
            session.merge(row)
    scores(settings, database)
    return deployment


def scores(settings: Settings, database: Database) -> dict[tuple[str, str], Any]:
    """All users' scores of all images, computed from the stored bytes."""
    predictor = Predictor(database, BlobStore(settings.resolved_storage_url), settings)
    with database.read_session() as session:
        images = list(session.execute(sa.text("select id from images order by id")).scalars())
        users = [f"test-app/{name}" for name in session.execute(sa.text("select external_id from users")).scalars()]
    wanted = [(user, image if isinstance(image, UUID) else UUID(image)) for user in users for image in images]
    answer = predictor.answer(predictor.resolve(keys.OPERATOR, wanted))
    return {
        (ref, str(image)): (item.scores, item.generic, item.adapter.digest if item.adapter else None)
        for (ref, image), item in zip(wanted, answer.items, strict=True)
    }


@pytest.fixture(params=["same", "other"])
def empty_place(request: pytest.FixtureRequest, database_kind: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a new deployment: on the same kind of database, and on the other one."""
    kind = database_kind if request.param == "same" else {"sqlite": "postgresql"}.get(database_kind, "sqlite")
    home = tmp_path / "new-home"
    if kind == "sqlite":
        yield Settings(home=home, database_url=f"sqlite:///{tmp_path / 'new.db'}")
    else:
        with new_postgres_database(request.getfixturevalue("postgres_server").url) as url:
            yield Settings(home=home, database_url=url)


def restore(settings: Settings, folder: Path, erasures_url: str | None = None) -> backup.RestoreReport:
    return backup.restore(
        settings.resolved_database_url,
        BlobStore(settings.resolved_storage_url),
        folder,
        erasures_url=erasures_url or settings.resolved_erasures_url,
        actor="operator",
    )


def rows_of(database: Database) -> dict[str, list[Any]]:
    with database.read_session() as session:
        return {
            table.name: [tuple(row) for row in session.execute(sa.select(table).order_by(*table.primary_key))]
            for table in Base.metadata.sorted_tables
            if table.name not in backup.NOT_SAVED
        }


@pytest.mark.slow
def test_restored_deployment_has_every_row_and_serves_the_same_bits(
    deployment: Deployment, empty_place: Settings, tmp_path: Path
) -> None:
    before, rows = scores(deployment.settings, deployment.database), rows_of(deployment.database)
    assert any(len(rows[name]) == 0 for name in rows), "an empty table is restored too"
    assert len({str(value) for value in before.values()}) > 60, "users must have different scores"
    report = backup.backup(deployment.database, deployment.blobs, tmp_path / "backup")
    rows = rows_of(deployment.database)
    assert (report.num_rows, report.missing_blobs) == (sum(map(len, rows.values())), [])

    restored = restore(empty_place, tmp_path / "backup")

    assert (restored.num_rows, restored.num_blobs) == (report.num_rows, report.num_blobs)
    database = Database(empty_place.resolved_database_url)
    assert rows_of(database) == rows
    assert scores(empty_place, database) == before
    with database.read_session() as session:
        assert audit.verify(session).is_intact
    database.dispose()


_STORED_TEXTS = sa.text("SELECT source, event_id FROM feedback ORDER BY id")


def first_user(deployment: Deployment) -> Any:
    with deployment.database.read_session() as session:
        return session.execute(sa.select(FeedbackRow.user_id).order_by(FeedbackRow.id).limit(1)).scalar_one()


def test_new_events_are_numbered_after_those_that_were_restored(
    database: Database, empty_place: Settings, tmp_path: Path
) -> None:
    with database.session() as session:
        user, image_id = make_user(session), make_image(session).id
        events = [
            make_feedback(
                session, user, image_id=image_id, occurred_at=utcnow(), source=f"key:{new_id()}", event_id=str(new_id())
            )
            for _ in range(3)
        ]
        shown = [event.shown_id for event in events]
        short = session.execute(_STORED_TEXTS).all()
        assert {len(text) for row in short for text in row} == {23}
    backup.backup(database, BlobStore((tmp_path / "blobs").as_uri()), tmp_path / "backup")

    restore(empty_place, tmp_path / "backup")

    restored = Database(empty_place.resolved_database_url)
    with restored.session() as session:
        make_feedback(session, session.get_one(UserRow, user.id), image_id=image_id)
        found = session.execute(sa.select(FeedbackRow).order_by(FeedbackRow.id)).scalars().all()
        assert [event.sequence for event in found] == [1, 2, 3, 4]
        assert [event.shown_id for event in found[:3]] == shown
        times = [(event.received_at, event.occurred_at, event.event_key, event.payload) for event in events]
        assert [(event.received_at, event.occurred_at, event.event_key, event.payload) for event in found[:3]] == times
        stored = session.execute(sa.text("SELECT DISTINCT CAST(payload AS TEXT) FROM feedback")).scalars().all()
        assert all(text.startswith("[") for text in stored), "packed, as it was"
        assert session.execute(_STORED_TEXTS).all()[:3] == short
    restored.dispose()


@pytest.mark.slow
def test_who_was_erased_after_the_backup_stays_erased(
    deployment: Deployment, empty_place: Settings, tmp_path: Path
) -> None:
    anna = first_user(deployment)
    backup.backup(deployment.database, deployment.blobs, tmp_path / "backup")
    kept = (tmp_path / "erasures").as_uri()
    with deployment.database.session() as session:
        erasures.erase(session, deployment.blobs, anna, actor="operator", erasures_url=kept)
    after = scores(deployment.settings, deployment.database)

    restored = restore(empty_place, tmp_path / "backup", kept)

    assert (restored.num_erasures, restored.erased_again) == (1, [anna])
    database = Database(empty_place.resolved_database_url)
    assert {user for user, _ in scores(empty_place, database)} == {"test-app/ben"}
    assert scores(empty_place, database) == after
    with database.read_session() as session:
        assert audit.verify(session).is_intact
    database.dispose()


def test_backup_is_of_one_moment_while_others_write(deployment: Deployment, tmp_path: Path, monkeypatch: Any) -> None:
    """Feedback that comes while tables are read is in all of them or in none."""
    anna, save = first_user(deployment), backup._save_table

    def save_and_write(connection: sa.Connection, table: sa.Table, folder: Path) -> Any:
        saved = save(connection, table, folder)
        if table.name == "users":
            deployment.rate(anna, range(40, 50))
        return saved

    monkeypatch.setattr(backup, "_save_table", save_and_write)
    backup.backup(deployment.database, deployment.blobs, tmp_path / "backup")
    manifest = json.loads((tmp_path / "backup" / "manifest.json").read_text())
    assert manifest["tables"]["feedback"]["num_rows"] == 80
    assert deployment.user(anna).feedback_sequence == 50


def test_database_with_rows_is_not_overwritten(deployment: Deployment, tmp_path: Path) -> None:
    backup.backup(deployment.database, deployment.blobs, tmp_path / "backup")
    before = rows_of(deployment.database)
    with pytest.raises(Conflict, match="holds rows already"):
        restore(deployment.settings, tmp_path / "backup")
    assert rows_of(deployment.database) == before


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_damaged_backup_is_refused_before_anything_is_restored(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    backup.backup(deployment.database, deployment.blobs, folder)
    place = Settings(home=tmp_path / "new", database_url=f"sqlite:///{tmp_path / 'new.db'}")

    def refused(error: type[Exception], match: str) -> None:
        with pytest.raises(error, match=match):
            restore(place, folder)
        database = Database(place.resolved_database_url)
        assert sa.inspect(database.engine).get_table_names() == []
        database.dispose()

    table = folder / "tables" / "feedback.jsonl"
    content = table.read_bytes()
    table.write_bytes(content.replace(b"r1", b"r9", 1))
    refused(Damaged, "feedback.jsonl of the backup is damaged")
    table.unlink()
    refused(Damaged, "cannot be read")
    table.write_bytes(content)
    blob = next((folder / "blobs").glob("??/*"))
    data = blob.read_bytes()
    blob.unlink()
    refused(Damaged, "holds 60 files; saved were 61")
    blob.write_bytes(data + b"!")
    refused(Damaged, "is damaged")
    blob.write_bytes(data)
    for text in ("", "[]", "{}", '{"format": "other"}'):
        (folder / "manifest.json").write_text(text)
        refused(InvalidInput, "is no backup")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_backup_that_was_cut_off_is_not_taken_for_one(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"

    def broken(*_: Any) -> Any:
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(deployment.blobs, "get", broken)
        with pytest.raises(OSError, match="no space"):
            backup.backup(deployment.database, deployment.blobs, folder)
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("backup")] == [], "a full disk is freed"
    (tmp_path / "backup.unfinished").mkdir()  # of a process that was killed
    with pytest.raises(Conflict, match="cut off"):
        backup.backup(deployment.database, deployment.blobs, folder)
    (tmp_path / "backup.unfinished").rmdir()
    gone, changed, *_ = deployment.images
    deployment.blobs.delete(deployment.image_row(gone).sha256)
    get, changed_sha256 = deployment.blobs.get, deployment.image_row(changed).sha256

    def get_some(sha256: str) -> bytes:
        if sha256 == changed_sha256:
            raise Damaged("its bytes have changed")
        return get(sha256)

    monkeypatch.setattr(deployment.blobs, "get", get_some)
    report = backup.backup(deployment.database, deployment.blobs, folder)
    assert report.missing_blobs == [deployment.image_row(gone).sha256]
    assert report.damaged_blobs == [changed_sha256], "and all others are saved"
    assert folder.stat().st_mode & 0o077 == 0
    with pytest.raises(Conflict, match="exists already"):
        backup.backup(deployment.database, deployment.blobs, folder)


def test_every_column_that_names_a_file_is_saved_with_its_file() -> None:
    names = {
        str(column)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if column.name in ("sha256", "prior_digest") or column.name.endswith("artifact_sha256")
    } - {"features.sha256"}  # of the row itself
    assert {f"{column.class_.__tablename__}.{column.key}" for column in backup.BLOB_COLUMNS} == names


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)  # whose types say what columns are
@pytest.mark.parametrize("revision", REVISIONS)
def test_backup_of_every_earlier_version_is_restored_into_this_one(
    empty_database_url: str, tmp_path: Path, revision: str
) -> None:
    migrate.upgrade(empty_database_url, revision)
    database = Database(empty_database_url)
    with database.session() as session:
        insert_one_row_everywhere(session.connection())
        tables, before = reflect(session.connection()), all_rows(session.connection())
    blobs = BlobStore((tmp_path / "blobs").as_uri())
    backup.backup(database, blobs, tmp_path / "backup", tables=tables, revision=revision)
    database.dispose()

    place = Settings(home=tmp_path / "new", database_url=f"sqlite:///{tmp_path / 'new.db'}")
    restore(place, tmp_path / "backup")

    migrate.check(place.resolved_database_url)
    database = Database(place.resolved_database_url)
    found = {name: len(rows) for name, rows in rows_of(database).items() if name in before}
    assert found == dict.fromkeys(before.keys() - backup.NOT_SAVED, 1)
    database.dispose()
