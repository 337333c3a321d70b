"""Backup and restore of a deployment: all rows and all files, in one folder.

    manifest.json        the schema's revision; for every table its columns, number of rows and digest of its file
    tables/NAME.jsonl    one row per line
    blobs/               the files that rows name, by their SHA-256

All rows are of one moment, and writers do not wait. A folder without the suffix ".unfinished" is complete. Rows are
JSON, so a backup of SQLite can be restored on PostgreSQL: an embedded deployment moves this way.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import InstrumentedAttribute

from paaplus.db import migrate
from paaplus.db.engine import Database, missing_file
from paaplus.db.feedback_types import CompactTime, EventIdType, PayloadType, SourceType
from paaplus.db.tables import Base, BaseModelRow, ImageRow, MatchRow, TastePriorRow
from paaplus.db.types import JSONType, UTCDateTime, utcnow
from paaplus.errors import Conflict, Damaged, InvalidInput, NotFound
from paaplus.services.operations import erasures
from paaplus.storage.blobs import BlobStore
from paaplus.storage.erasure_list import ErasureList

FORMAT: Final = "paaplus-backup-1"
BATCH: Final = 500

# Columns that name files in storage.
BLOB_COLUMNS: tuple[InstrumentedAttribute[Any], ...] = (
    ImageRow.sha256,
    BaseModelRow.artifact_sha256,
    TastePriorRow.artifact_sha256,
    MatchRow.prior_digest,
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How values of one kind of column are converted to JSON and back."""

    column_type: sa.types.TypeEngine[Any]
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


_KINDS: dict[str, _Kind] = {
    "uuid": _Kind(sa.Uuid(), str, UUID),
    "time": _Kind(UTCDateTime(), datetime.isoformat, datetime.fromisoformat),
    "json": _Kind(JSONType, _same, _same),
    "bytes": _Kind(sa.LargeBinary(), lambda value: base64.b64encode(value).decode(), base64.b64decode),
    "text": _Kind(sa.Text(), lambda value: value.value if isinstance(value, Enum) else value, _same),
    "bool": _Kind(sa.Boolean(), _same, _same),
    "int": _Kind(sa.Integer(), _same, _same),
    "bigint": _Kind(sa.BigInteger(), _same, _same),
    "float": _Kind(sa.Float(), _same, _same),
    "compact time": _Kind(CompactTime(), datetime.isoformat, datetime.fromisoformat),
    "payload": _Kind(PayloadType(), _same, _same),
    "event id": _Kind(EventIdType(), _same, _same),
    "source": _Kind(SourceType(), _same, _same),
}
_KIND_OF_TYPE: dict[type[sa.types.TypeEngine[Any]], str] = {  # the first that fits
    CompactTime: "compact time",
    PayloadType: "payload",
    SourceType: "source",
    EventIdType: "event id",
    sa.Uuid: "uuid",
    sa.DateTime: "time",
    sa.JSON: "json",
    sa.LargeBinary: "bytes",
    sa.String: "text",
    sa.Boolean: "bool",
    sa.BigInteger: "bigint",
    sa.Integer: "int",
    sa.Float: "float",
}


# A log of this database; what is restored writes one of its own.
NOT_SAVED: Final = frozenset({"alembic_version", "serving_changes"})


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What was saved.

    `missing_blobs`: files that rows name and storage lacks, e.g. of a user erased meanwhile. `damaged_blobs`: files
    whose bytes have changed; they are left out too, so that one of them does not keep all others from being saved.
    """

    revision: str
    num_rows: int
    num_blobs: int
    missing_blobs: list[str]
    damaged_blobs: list[str]


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored, and which users were erased again."""

    revision: str
    num_rows: int
    num_blobs: int
    num_erasures: int
    erased_again: list[UUID]


def backup(
    database: Database, blobs: BlobStore, folder: Path, *, tables: sa.MetaData = Base.metadata, revision: str = ""
) -> BackupReport:
    """Save the deployment into a new folder.

    Args:
        tables: the tables at `revision`; by default those of this version of the code.

    Raises:
        Conflict: the folder exists already.
        Unavailable: the storage does not answer. As after any error, nothing is left.
    """
    if folder.exists():
        raise Conflict(f"{folder} exists already: a backup needs a new folder")
    unfinished = folder.with_name(folder.name + ".unfinished")
    if unfinished.exists():
        raise Conflict(f"{unfinished} exists: another backup is running, or was cut off; then remove it")
    try:
        report = _save(database, blobs, unfinished, tables, revision or migrate.head())
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return report


def _save(database: Database, blobs: BlobStore, unfinished: Path, tables: sa.MetaData, revision: str) -> BackupReport:
    (unfinished / "tables").mkdir(parents=True)
    unfinished.chmod(0o700)  # personal data, and hashes of keys
    manifest: dict[str, Any] = {"format": FORMAT, "revision": revision, "tables": {}}
    manifest["created_at"] = utcnow().isoformat()
    with database.read_session() as session:
        for table in tables.sorted_tables:
            if table.name not in NOT_SAVED:
                manifest["tables"][table.name] = _save_table(session.connection(), table, unfinished)
        wanted = {
            sha256
            for column in BLOB_COLUMNS
            if column.class_.__tablename__ in tables.tables  # an earlier revision may lack some tables
            for sha256 in session.execute(sa.select(column).distinct()).scalars()
            if sha256 is not None
        }
    copies = BlobStore((unfinished / "blobs").absolute().as_uri())
    missing: list[str] = []
    damaged: list[str] = []
    for sha256 in sorted(wanted):
        try:
            copies.put(blobs.get(sha256))
        except NotFound:
            missing.append(sha256)
        except Damaged:
            damaged.append(sha256)
    num_saved = len(wanted) - len(missing) - len(damaged)
    manifest |= {"num_blobs": num_saved, "missing_blobs": missing, "damaged_blobs": damaged}
    (unfinished / "manifest.json").write_text(json.dumps(manifest, indent=1))
    num_rows = sum(table["num_rows"] for table in manifest["tables"].values())
    return BackupReport(revision, num_rows, num_saved, missing, damaged)


def require_restorable(url: str, folder: Path) -> None:
    """Check what can be checked before a storage is opened, which may make its folder.

    Raises: as `restore`.
    """
    _read_manifest(folder)
    _require_empty(url)


def restore(url: str, blobs: BlobStore, folder: Path, *, erasures_url: str, actor: str) -> RestoreReport:
    """Restore a backup into an empty database, upgrade the schema, and repeat the erasures since the backup.

    Nothing may be served from the database before this returns.

    Args:
        url: of a database without rows; tables are created.
        erasures_url: of the list of erased users, see `erasures`.

    Raises:
        InvalidInput: the folder is not a backup.
        Damaged: a file of the backup is damaged; nothing was restored.
        Conflict: the database holds rows, or the backup is of a newer version of the code.
        Unavailable: the storage, or the list of erased users, does not answer.
    """
    manifest = _read_manifest(folder)
    num_erasures = sum(1 for _ in ErasureList(erasures_url))  # before anything is written: it may be unavailable
    _require_empty(url)
    saved = BlobStore((folder / "blobs").absolute().as_uri())
    num_blobs = 0
    for file in sorted((folder / "blobs").glob("??/*")):
        blobs.put(saved.get(file.name))
        num_blobs += 1
    migrate.upgrade(url, manifest["revision"])
    database = Database(url)
    try:
        num_rows = 0
        with database.session() as session:
            for name, table in manifest["tables"].items():
                num_rows += _restore_table(session.connection(), name, table, folder)
        migrate.upgrade(url)
        erased = erasures.replay(database, blobs, erasures_url, actor=actor)
    finally:
        database.dispose()
    return RestoreReport(manifest["revision"], num_rows, num_blobs, num_erasures, erased)


def _save_table(connection: sa.Connection, table: sa.Table, folder: Path) -> dict[str, Any]:
    kinds = {column.name: _kind_of(column) for column in table.columns}
    digest, num_rows = hashlib.sha256(), 0
    # In order of key, which grows with time: so a row comes after the rows of its own table that it refers to.
    rows = connection.execute(sa.select(table).order_by(*table.primary_key), execution_options={"yield_per": BATCH})
    with (folder / "tables" / f"{table.name}.jsonl").open("wb") as file:
        for row in rows:
            values = [
                None if value is None else _KINDS[kind].to_json(value)
                for value, kind in zip(row, kinds.values(), strict=True)
            ]
            line = json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
            file.write(line)
            digest.update(line)
            num_rows += 1
    return {"columns": kinds, "num_rows": num_rows, "sha256": digest.hexdigest()}


def _kind_of(column: sa.Column[Any]) -> str:
    plain = column.type.impl_instance if isinstance(column.type, sa.types.TypeDecorator) else column.type
    for type_, kind in _KIND_OF_TYPE.items():
        if isinstance(column.type, type_) or isinstance(plain, type_):
            return kind
    raise AssertionError(f"column {column} is of type {column.type!r}, which a backup cannot save")


def _restore_table(connection: sa.Connection, name: str, entry: dict[str, Any], folder: Path) -> int:
    kinds = {column: _KINDS[kind] for column, kind in entry["columns"].items()}
    table = sa.Table(name, sa.MetaData(), *(sa.Column(column, kind.column_type) for column, kind in kinds.items()))
    num_rows = 0
    with (folder / "tables" / f"{name}.jsonl").open("rb") as lines:
        while batch := list(islice(_rows(lines, kinds), BATCH)):
            connection.execute(table.insert(), batch)
            num_rows += len(batch)
    _count_on(connection, name)
    return num_rows


def _count_on(connection: sa.Connection, name: str) -> None:
    """Let the numbers that the database gives to new rows of a table go on after those of the restored rows."""
    if connection.dialect.name == "sqlite":
        return  # it looks at the rows
    for column in sa.inspect(connection).get_columns(name):
        if column.get("autoincrement"):
            number: sa.ColumnElement[int] = sa.column(column["name"])
            last = sa.select(sa.func.max(number)).select_from(sa.table(name)).scalar_subquery()
            numbers = sa.func.pg_get_serial_sequence(name, column["name"])
            connection.execute(sa.select(sa.func.setval(numbers, last)).where(last.is_not(None)))


def _rows(lines: Iterator[bytes], kinds: dict[str, _Kind]) -> Iterator[dict[str, Any]]:
    for line in lines:
        values = json.loads(line)
        yield {
            column: None if value is None else kind.from_json(value)
            for (column, kind), value in zip(kinds.items(), values, strict=True)
        }


def _read_manifest(folder: Path) -> dict[str, Any]:
    """Read the manifest, and check every file that it names.

    Raises:
        InvalidInput, Damaged: see `restore`.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise InvalidInput(
            f"{folder} is no backup, for its manifest.json cannot be read ({error}): give the folder that "
            f"`paaplus backup FOLDER` wrote{_backups_in(folder)}"
        ) from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise InvalidInput(f"{folder} is no backup that this version can read: format {FORMAT} is needed")
    for name, table in manifest["tables"].items():
        file = folder / "tables" / f"{name}.jsonl"
        try:
            with file.open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
        except OSError as error:
            raise Damaged(f"{file} of the backup cannot be read: {error}") from error
        if found != table["sha256"]:
            raise Damaged(f"{file} of the backup is damaged: its digest is {found}, saved was {table['sha256']}")
    num_blobs = sum(1 for _ in (folder / "blobs").glob("??/*"))
    if num_blobs != manifest["num_blobs"]:
        raise Damaged(f"{folder / 'blobs'} holds {num_blobs} files; saved were {manifest['num_blobs']}")
    return manifest


def _backups_in(folder: Path) -> str:
    """A hint if backups lie inside the folder that was named instead of them."""
    found = sorted(file.parent.name for file in folder.glob("*/manifest.json"))
    return f"; inside of it are {', '.join(found[:5])}" if found else ""


def _require_empty(url: str) -> None:
    if missing_file(url) is not None:
        return
    database = Database(url)
    try:
        with database.read_session() as session:
            names = sa.inspect(session.connection()).get_table_names()
            for name in names:
                if (
                    name != "alembic_version"
                    and session.execute(sa.select(sa.text("1")).select_from(sa.table(name))).first()
                ):
                    place = database.engine.url.render_as_string()
                    raise Conflict(
                        f"the database at {place} holds rows already, in {name}: restore "
                        "into an empty one, for example with PAAPLUS_HOME=NEW_FOLDER"
                    )
    finally:
        database.dispose()
