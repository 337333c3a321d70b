"""Fault points: named places in the code where a process can kill or stop itself, for tests and `paaplus chaos`.

Nothing happens unless `PAAPLUS_FAULT` names a point. The points are where a crash is most dangerous: between two writes
of one transaction, or between a commit and the answer to the caller.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Final

from paaplus import setting_values
from paaplus.settings import get_settings

STOP: Final = setting_values.FAULT_STOP
FROM_FILE: Final = setting_values.FAULT_FROM_FILE
POINTS: Final = setting_values.FAULT_POINTS


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
