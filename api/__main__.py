"""`paaplus api`: serve on the host and port of the settings, with uvloop and httptools."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import uvicorn
from fastapi import FastAPI

from paaplus import logs
from paaplus.api.app import create_app
from paaplus.api.metrics import MULTIPROC_DIR
from paaplus.settings import Settings, get_settings

SHUTDOWN_S = 10
SWITCH_S = 0.0001  # Python's own is .005


def make_served_app() -> FastAPI:
    """The application in a process that only serves."""
    settings = get_settings()
    logs.configure(settings.log_level)
    logging.captureWarnings(True)
    app = create_app(settings)
    # A thread that works gives way to one that waits after this time. A request waits for it at each of its statements.
    sys.setswitchinterval(SWITCH_S)
    return app


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m paaplus.api", description="Serve the HTTP API until stopped.")
    parser.add_argument("--workers", type=int, default=1, help="number of processes that share the port")
    parser.add_argument("--wait", action="store_true", help="serve when a line comes on standard input")
    options = parser.parse_args()
    settings = get_settings()
    logs.configure(settings.log_level)  # before the server writes its first line
    if options.wait and not sys.stdin.buffer.readline():
        return  # who would have told has ended
    with _shared_metrics(options.workers):
        _serve(settings, options.workers)


@contextmanager
def _shared_metrics(num_processes: int) -> Iterator[None]:
    """A folder in which several processes count together. The variable must be set before they start."""
    if num_processes == 1 or MULTIPROC_DIR in os.environ:
        yield
        return
    with TemporaryDirectory(prefix="paaplus-metrics-") as folder:
        os.environ[MULTIPROC_DIR] = folder
        yield


def _serve(settings: Settings, num_processes: int) -> None:
    uvicorn.run(
        "paaplus.api.__main__:make_served_app",  # by name: each of several processes makes its own
        factory=True,
        workers=num_processes,
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_S,  # event streams would keep the process for minutes
    )


if __name__ == "__main__":
    main()
