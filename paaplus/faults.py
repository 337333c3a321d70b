"""Fault points: named places in the code where a process can kill or stop itself, for tests and `paaplus chaos`.

Nothing happens unless `PAAPLUS_FAULT` names a point. The points are where a crash is most dangerous: between two writes
of one transaction, or between a commit and the answer to the caller.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from paaplus.settings import get_settings

STOP: Final = ":stop"  # PAAPLUS_FAULT=POINT:stop pauses the process (SIGSTOP) instead of killing it
FROM_FILE: Final = "@"  # PAAPLUS_FAULT=@FILE: the file names the point; it can be written while the process runs

POINTS: Final = (
    "job_claimed",  # a worker has claimed a job, and done nothing else
    "trained",  # a candidate was computed; nothing of it, nor of those committed with it, is written
    "old_version_retired",  # in the transaction that moves pointers: no version is active
    "version_written",  # in the transaction of trainings: their versions are written, the history is not
    "training_uncommitted",  # everything of trainings is written, but not committed
    "training_committed",  # trainings are committed; the worker has not logged them
    "features_stored",  # one batch of features is committed; its job is not complete
    "labels_stored",  # one batch of pseudo labels is committed; its job is not complete
    "jobs_enqueued",  # a scan has enqueued due users; no worker was woken up
    "feedback_uncommitted",  # events are appended, but not committed
    "feedback_committed",  # events are committed; the caller has no answer
    "pointer_moved",  # a rollback, promotion or pin is written, but not committed
    "user_files_deleted",  # an erasure has deleted the files, but is not committed
)


def point(name: str) -> None:
    """Kill or stop this process here, if `PAAPLUS_FAULT` names this point."""
    assert name in POINTS, name
    fault = get_settings().fault
    if not fault:
        return
    if fault.startswith(FROM_FILE):
        fault = _take(Path(fault.removeprefix(FROM_FILE)), name)
    if fault == name:
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == name + STOP:
        os.kill(os.getpid(), signal.SIGSTOP)


def _take(file: Path, name: str) -> str:
    """The fault in the file; a fault for this point deletes the file, so that it happens once."""
    fault = file.read_text() if file.exists() else ""
    if fault in (name, name + STOP):
        file.unlink()
    return fault
