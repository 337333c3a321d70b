"""Real worker and scheduler processes for tests, most of them forked: a command imports for seconds each time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paaplus.settings import Settings
from tests.support.forks import ForkedCommand


def environment(settings: Settings) -> dict[str, str]:
    """A child's environment: this deployment, quick schedules."""
    return {
        **os.environ,
        "PAAPLUS_HOME": str(settings.home),
        "PAAPLUS_DATABASE_URL": settings.database_url,
        "PAAPLUS_BROKER_URL": settings.broker_url,
        "PAAPLUS_SCAN_INTERVAL_S": str(settings.scan_interval_s),
        "PAAPLUS_LEASE_S": str(settings.lease_s),
        "PAAPLUS_RETRY_BASE_S": str(settings.retry_base_s),
        "PAAPLUS_DEVICE": settings.device,
        "PAAPLUS_FEATURES_QUEUE": settings.features_queue,
        "PAAPLUS_ADAPTATION_QUEUE": settings.adaptation_queue,
    }


class Service:
    """One process with its log. `forked`: a command `python -m MODULE ...` runs in a fork that has imported it all."""

    process: subprocess.Popen[bytes] | ForkedCommand

    def __init__(self, name: str, command: list[str], settings: Settings, *, forked: bool = False) -> None:
        settings.home.mkdir(parents=True, exist_ok=True)
        self.log_file = Path(settings.home) / f"{name}.log"
        if forked:
            self.process = ForkedCommand(command, environment(settings), self.log_file)
            return
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=environment(settings), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL to the process and everything that it started: nothing gets to clean up."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout_s: float = 20.0) -> int:
        """SIGTERM, then SIGKILL; returns the exit code."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()
        return int(self.process.returncode)

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")[-4000:]


def start_worker(
    settings: Settings, name: str = "worker", *, queues: str = "cpu", prefork: bool = False, forked: bool = True
) -> Service:
    """A worker; with a pool of processes (`prefork`) it is always started by its command, as without `forked`."""
    pool = ["-P", "prefork", "-c", "1"] if prefork else ["-P", "solo"]
    quiet = ["--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    arguments = ["worker", "-Q", queues, "-n", f"{name}@%h", *pool, *quiet]
    return _celery(name, arguments, settings, forked=forked and not prefork)


def start_scheduler(settings: Settings, name: str = "scheduler", *, forked: bool = True) -> Service:
    schedule = str(settings.home / f"{name}-schedule")
    arguments = ["beat", "--pidfile", "", "--schedule", schedule, "--loglevel", "INFO"]
    return _celery(name, arguments, settings, forked=forked)


def _celery(name: str, arguments: list[str], settings: Settings, *, forked: bool) -> Service:
    command = [sys.executable, "-m", "celery", "-A", "paaplus.workers.app", *arguments]
    return Service(name, command, settings, forked=forked)


@contextmanager
def running(*services: Service) -> Iterator[None]:
    """End the services with the block, and show their logs when it fails."""
    try:
        yield
    except BaseException:
        for service in services:
            sys.stderr.write(f"--- {service.log_file}\n{service.log()}\n")
        raise
    finally:
        for service in services:
            service.stop()


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = 120.0) -> None:
    """Poll until the condition holds.

    Raises:
        AssertionError: it did not, in time.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s in vain: {what}")
        time.sleep(0.05)
