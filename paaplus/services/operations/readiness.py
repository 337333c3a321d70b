"""Whether the deployment can do its work: the database and the storage answer, and can be written."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, Literal
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from paaplus.db.engine import Database, is_disk_full
from paaplus.db.tables import IdempotencyRow
from paaplus.db.types import utcnow
from paaplus.errors import Unavailable
from paaplus.storage.blobs import BlobStore

NO_BLOB: Final = "0" * 64
PROBE_BYTES: Final = 2**16
FRESH_S: Final = 1.0  # how long an answer is used again: anybody may ask

State = Literal["ok", "away", "full"]

log = structlog.get_logger(__name__)


class Readiness:
    """Checks database and storage, at most once a second in a process."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._lock = threading.Lock()
        self._checked: tuple[float, State, State] | None = None

    def check(self) -> tuple[State, State]:
        """States of the database and of the storage. "full": it can be read, but not written."""
        with self._lock:
            now = time.monotonic()
            if self._checked is None or now - self._checked[0] > FRESH_S:
                self._checked = (now, self._database_state(), self._storage_state())
            return self._checked[1], self._checked[2]

    def _database_state(self) -> State:
        try:
            with self._database.read_session() as session:
                session.execute(sa.select(1))
        except SQLAlchemyError as error:
            log.warning("not_ready", what="database", error=type(error).__name__)
            return "away"
        try:
            self._write_and_take_back()
        except (SQLAlchemyError, OSError) as error:
            if is_disk_full(error):
                log.warning("not_ready", what="database", error="the disk is full")
                return "full"
            log.warning("database_not_probed", error=type(error).__name__)  # e.g. another writer has the lock for long
        return "ok"

    def _write_and_take_back(self) -> None:
        path = self._database.file
        if path is not None:
            _probe(path.parent)
        now = utcnow()
        with self._database.session() as session:
            session.add(
                IdempotencyRow(
                    actor="probe",
                    key=uuid4().hex,
                    request_sha256="",
                    answer=os.urandom(PROBE_BYTES),
                    created_at=now,
                    expires_at=now,
                )
            )
            session.flush()
            session.rollback()

    def _storage_state(self) -> State:
        try:
            self._blobs.exists(NO_BLOB)
            parts = urlsplit(self._blobs.url)
            if parts.scheme == "file":
                _probe(Path(unquote(parts.path)))
        except Unavailable as error:
            log.warning("not_ready", what="storage", error=str(error))
            return "away"
        except OSError as error:
            log.warning("not_ready", what="storage", error=type(error).__name__)
            return "full" if is_disk_full(error) else "away"
        return "ok"


def _probe(folder: Path) -> None:
    """Write a file and delete it.

    Raises:
        OSError: there is no room.
    """
    with NamedTemporaryFile(dir=folder, prefix=".probe-") as file:
        file.write(os.urandom(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
