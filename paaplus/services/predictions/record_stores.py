"""Where records of users lie: in memory, or in a file that has no name.

The file is a process's own: nobody else can open it, and it is gone with the process. What was read lately is in the
memory that the system has to spare, so a look-up there costs what one in the process's own memory costs. Its disk
space is taken before it is needed, and it is written by calls, so a full disk is an error that this module knows.
What is dropped is overwritten, so the file has nothing of a user who was erased.

Shape letters: M = records that are written, P = that are read, S = all.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, Protocol

import numpy as np
import structlog

STEP_BYTES: Final = 4 * 2**20  # of disk space, taken at once
KEPT_FREE_BYTES: Final = 2**30  # of the disk, for what must not be lost

log = structlog.get_logger(__name__)


class RecordStore(Protocol):
    """Records by number."""

    @property
    def num_records(self) -> int:
        """How many there may be."""

    def is_ready(self, number: int) -> bool:
        """Whether this record has room, as all before it."""

    def read(self, number_P: np.ndarray) -> np.ndarray:
        """Copies of records, one dimension of raw bytes."""

    def write(self, number_M: Sequence[int], record_M: np.ndarray) -> bool:
        """Write records; returns False if nothing can be read any more."""

    def erase(self, number: int) -> None:
        """Leave nothing of a record on a disk."""

    def empty(self) -> RecordStore:
        """Another store of this kind, without records; this one is not used any more."""


class MemoryStore:
    """Records in memory, which is taken when they are written."""

    def __init__(self, num_records: int, record_bytes: int) -> None:
        self.num_records = num_records
        self._record_S = np.empty(num_records, f"V{record_bytes}")

    def is_ready(self, number: int) -> bool:
        return number < self.num_records

    def read(self, number_P: np.ndarray) -> np.ndarray:
        # `clip` needs no buffer; numbers of another store give a record that the caller replaces.
        return self._record_S.take(number_P, 0, mode="clip")

    def write(self, number_M: Sequence[int], record_M: np.ndarray) -> bool:
        self._record_S[number_M] = record_M
        return True

    def erase(self, number: int) -> None:
        pass

    def empty(self) -> MemoryStore:
        return self


class FileStore:
    """Records in a file without a name, which is made when the first one is needed.

    If it cannot be made or does not get more space, there are as many records as it has.

    Args:
        folder: of the file; it should be on a disk, not in memory.
        num_records, record_bytes: the file is no longer than all of them.
    """

    def __init__(self, folder: Path, num_records: int, record_bytes: int) -> None:
        self._folder, self._most, self._record_bytes = folder, num_records, record_bytes
        self.num_records = num_records
        self._num_ready = 0
        self._file: IO[bytes] | None = None
        self._record_S = np.empty(0, f"V{record_bytes}")

    def is_ready(self, number: int) -> bool:
        while self._num_ready <= number < self.num_records:
            try:
                self._grow()
            except OSError as error:
                self.num_records = self._num_ready
                log.warning("adapters_file_stopped", folder=str(self._folder), users=self._num_ready, error=str(error))
        return number < self._num_ready

    def _grow(self) -> None:
        """Take disk space for some more records."""
        start = self._num_ready * self._record_bytes
        size = min(STEP_BYTES, self.num_records * self._record_bytes - start)
        self._folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self._folder).free < KEPT_FREE_BYTES + size:
            raise OSError(f"less than {KEPT_FREE_BYTES / 2**30:.0f} GiB of the disk would stay free")
        if self._file is None:
            self._open()
        assert self._file is not None, "it is open"
        if not hasattr(os, "posix_fallocate"):
            raise OSError("this system takes no disk space ahead")
        os.posix_fallocate(self._file.fileno(), start, size)
        if not start:
            self._check()
        self._num_ready = (start + size) // self._record_bytes

    def _open(self) -> None:
        self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115  # as long as the store
        weakref.finalize(self, self._file.close)
        size = self.num_records * self._record_bytes
        self._file.truncate(size)  # takes no space
        mapped = mmap.mmap(self._file.fileno(), size, prot=mmap.PROT_READ)
        self._record_S = np.frombuffer(mapped, self._record_S.dtype)

    def _check(self) -> None:
        """Some network file systems do not show in memory what was written."""
        for byte in (b"\1", b"\2"):
            self._write(0, byte * self._record_bytes)
            if self._record_S[0].tobytes() != byte * self._record_bytes:
                raise OSError("what is written is not what is read")

    def read(self, number_P: np.ndarray) -> np.ndarray:
        return self._record_S.take(number_P, 0, mode="clip")

    def write(self, number_M: Sequence[int], record_M: np.ndarray) -> bool:
        ends = (np.flatnonzero(np.diff(number_M) != 1) + 1).tolist()  # of runs of records that lie together
        try:
            for start, end in zip([0, *ends], [*ends, len(number_M)], strict=True):
                self._write(number_M[start], record_M[start:end].tobytes())
        except OSError as error:
            log.error("adapters_file_failed", folder=str(self._folder), error=str(error))
            self.num_records = self._num_ready = 0
            return False
        return True

    def _write(self, number: int, data: bytes) -> None:
        assert self._file is not None, "records have room"
        if os.pwrite(self._file.fileno(), data, number * self._record_bytes) < len(data):
            raise OSError("not all was written")

    def erase(self, number: int) -> None:
        if not self.num_records:  # given up, so it goes
            return
        try:
            self._write(number, bytes(self._record_bytes))
        except OSError as error:  # nobody reads it, and the file goes with the process
            log.error("adapters_file_failed", folder=str(self._folder), error=str(error))

    def empty(self) -> FileStore:
        return FileStore(self._folder, self._most, self._record_bytes)
