"""The command lines of the platform's processes: API, worker, scheduler."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_PYTHON = [sys.executable, "-m"]
_CELERY = [*_PYTHON, "celery", "-A", "paaplus.workers.app"]
QUIET = ["--loglevel", "WARNING"]


def api_command(num_processes: int = 1) -> list[str]:
    """The API; host and port come from the settings of its environment."""
    return [*_PYTHON, "paaplus.api", "--workers", str(num_processes)]


def worker_command(
    queues: Sequence[str], *, pool: str, concurrency: int = 1, name: str | None = None, more: Sequence[str] = ()
) -> list[str]:
    """A Celery worker.

    Args:
        queues: `cpu`, `gpu` or both.
        pool: `prefork` trains in child processes; `solo` trains in the worker process itself.
        concurrency: child processes of a prefork pool; a solo pool has none.
        name: the node's name, unique in a deployment; None: `celery@HOST`.
        more: further options of `celery worker`.
    """
    command = [*_CELERY, "worker", "-Q", ",".join(queues), "-P", pool, "-c", str(concurrency)]
    return [*command, *(("-n", name) if name else ()), *more]


def scheduler_command(more: Sequence[str] = ()) -> list[str]:
    """Celery beat, which asks for the scan. It writes no PID file: several may run on one machine.

    Args:
        more: further options of `celery beat`.
    """
    return [*_CELERY, "beat", "--pidfile", "", *more]
