"""`paaplus api`, `paaplus worker`, `paaplus scheduler`: the processes of a production deployment.

Each command replaces itself by the process: signals, memory and exit code are those of the process itself.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from paaplus import extras, processes
from paaplus.cli.common import open_database
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

QUEUES = ("cpu", "gpu")


class Pool(StrEnum):
    PREFORK = "prefork"
    SOLO = "solo"


def api(
    host: Annotated[str | None, typer.Option(help="Address to listen on. Default: PAAPLUS_API_HOST.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on. Default: PAAPLUS_API_PORT.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes that share the port.")] = 1,
    root_path: Annotated[
        str | None, typer.Option(help="Path prefix of a reverse proxy, e.g. /paaplus. Default: PAAPLUS_ROOT_PATH.")
    ] = None,
) -> None:
    """Start the HTTP API and serve until stopped."""
    given = {"PAAPLUS_API_HOST": host, "PAAPLUS_API_PORT": port, "PAAPLUS_ROOT_PATH": root_path}
    os.environ.update({name: str(value) for name, value in given.items() if value is not None})
    get_settings.cache_clear()
    settings = get_settings()  # with the options: a wrong one is told here
    _require_database()
    processes.usable_port(settings.api_host, settings.api_port)
    _become(processes.api_command(workers))


def worker(
    context: typer.Context,
    queues: Annotated[str, typer.Option("--queues", "-Q", help="cpu, gpu, or cpu,gpu.")] = "cpu",
    concurrency: Annotated[int, typer.Option("--concurrency", "-c", min=1, help="Processes that train.")] = 1,
    pool: Annotated[
        Pool, typer.Option("--pool", "-P", help="prefork: child processes; solo: this process, one job at a time.")
    ] = Pool.PREFORK,
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="Name of this worker, e.g. gpu0@%h. Default: celery@HOST.")
    ] = None,
) -> None:
    """Start a worker that trains, extracts features and labels images. Further options go to `celery worker`."""
    wanted = [queue.strip() for queue in queues.split(",")]
    if unknown := sorted(set(wanted) - set(QUEUES)):
        raise InvalidInput(f"--queues {queues!r}: no queue is named {', '.join(map(repr, unknown))}; cpu or gpu")
    extras.require("celery", "torch")
    _require_database(may_be_down=True)
    _become(processes.worker_command(wanted, pool=pool.value, concurrency=concurrency, name=name, more=context.args))


def scheduler(
    context: typer.Context,
    schedule: Annotated[
        Path | None,
        typer.Option("--schedule", "-s", help="File that keeps the time of the last scan. Default: in PAAPLUS_HOME."),
    ] = None,
) -> None:
    """Start the scheduler, which asks for a scan at regular intervals. Further options go to `celery beat`."""
    extras.require("celery")
    _require_database(may_be_down=True)
    if schedule is None:
        schedule = get_settings().broker_folder / "beat-schedule"
    _become(processes.scheduler_command(["--schedule", str(schedule), *context.args]))


def _require_database(*, may_be_down: bool = False) -> None:
    """Check the database before a process makes files, or fails again and again.

    Args:
        may_be_down: a server that does not answer now is waited for by the process.

    Raises:
        Unavailable: there is no database, or its schema is not this version's.
    """
    from sqlalchemy.exc import OperationalError

    try:
        with open_database():
            return
    except OperationalError:
        if not may_be_down:
            raise


def _become(command: list[str]) -> None:
    sys.stdout.flush()
    os.execv(command[0], command)
