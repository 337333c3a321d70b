"""Where tests write: a folder in memory where there is room for one, the system's folder for such things elsewhere.

A cloned PostgreSQL database is some 300 small files; on a disk, making and deleting them takes longer than most tests.
Nothing that a test writes has to survive a power cut.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
NEEDED_BYTES = 6 * 2**30  # free, in the folder and of the machine
MEMINFO = Path("/proc/meminfo")


def use_memory_where_there_is_enough() -> None:
    """Let pytest, the servers and all child processes make their temporary folders in memory; `TMPDIR` overrules it."""
    if "TMPDIR" not in os.environ and _has_room():
        os.environ["TMPDIR"] = str(IN_MEMORY)
        tempfile.tempdir = None  # read the environment again, should somebody have asked before


def _has_room() -> bool:
    try:
        disk, memory = os.statvfs(IN_MEMORY), MEMINFO.read_text()
    except OSError:  # not Linux
        return False
    available = re.search(r"^MemAvailable:\s+(\d+) kB$", memory, re.MULTILINE)
    return (
        os.access(IN_MEMORY, os.W_OK)
        and not disk.f_flag & os.ST_NOEXEC  # some tests run programs that they write
        and disk.f_bavail * disk.f_frsize >= NEEDED_BYTES
        and available is not None
        and int(available.group(1)) * 1024 >= NEEDED_BYTES
    )
