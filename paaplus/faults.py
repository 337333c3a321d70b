"""Named points at which a process kills or stops itself: what tests and `paaplus chaos` prove survival with.

Nothing happens unless `PAAPLUS_FAULT` names one. Each stands where a crash would hurt most: between two writes that
must both happen or neither, or between a commit and the word of it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from paaplus.settings import get_settings

STOP: Final = ":stop"  # PAAPLUS_FAULT=POINT:stop pauses the process (SIGSTOP) instead of killing it
FROM_FILE: Final = "@"  # PAAPLUS_FAULT=@FILE reads it from a file each time: a running process can be told, once

POINTS: Final = (
    "job_claimed",  # a worker has leased a job and done nothing yet
    "trained",  # a candidate was computed, nothing of it written
    "old_version_retired",  # inside the commit: no version is active
    "version_written",  # inside the commit: the new version is active, its history not written
    "training_uncommitted",  # everything of a training is written, the transaction not committed
    "training_committed",  # committed, and nobody told
    "features_stored",  # one batch of features is committed, its job is not done
    "labels_stored",  # one batch of pseudo labels is committed, its job is not done
    "jobs_enqueued",  # a scan has turned due users into jobs and woken nobody
    "feedback_uncommitted",  # events are appended, the transaction not committed
    "feedback_committed",  # committed, and the caller not answered
    "pointer_moved",  # a rollback, promotion or pin is written, the transaction not committed
    "user_files_deleted",  # an erasure has deleted the files, the transaction is not committed
)


def point(name: str) -> None:
    """End (or pause) this process here if it is told to."""
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
    """What the file says, if it is about this point; the file goes, so that the next life of this process lives on."""
    fault = file.read_text() if file.exists() else ""
    if fault in (name, name + STOP):
        file.unlink()
    return fault
