"""`paaplus api`, `worker` and `scheduler` as an operator starts them: each command becomes the process itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from paaplus.db.engine import Database
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.processes import Service, running, wait_until

pytestmark = pytest.mark.parametrize("database_kind", ["sqlite"])
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
PAAPLUS = [sys.executable, "-m", "paaplus.cli.main"]


@pytest.fixture
def settings(database_url: str, database: Database, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", database_url=database_url, scan_interval_s=0.3)


LAST_LINE = "worker: Warm shutdown (MainProcess)"  # by Celery's signal handler, past all logging


def start(settings: Settings, name: str, *options: str) -> Service:
    return Service(name, [*PAAPLUS, name, *options], settings)


def command_line(process: subprocess.Popen[bytes]) -> list[str]:
    return Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")


def children_of(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@linux
@pytest.mark.parametrize("workers", [1, 2])
def test_api_listens_where_the_options_say_and_ends_at_sigterm(workers: int, settings: Settings) -> None:
    port = free_port()
    api = start(settings, "api", "--host", "127.0.0.1", "--port", str(port), "--workers", str(workers))
    with running(api):
        wait_until("the API is ready", lambda: answers(f"http://127.0.0.1:{port}"))
        assert "paaplus.api" in command_line(api.process), "the command has become the server"
        served_by = [
            pid for pid in children_of(api.process) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        assert len(served_by) == (0 if workers == 1 else 2)
        assert api.stop() in (0, -signal.SIGTERM)
        assert not any(Path(f"/proc/{pid}").exists() for pid in served_by)


@linux
def test_worker_and_scheduler_train_who_is_due(settings: Settings, database: Database) -> None:
    deployment = Deployment(database, settings)
    user = deployment.add_user("anna")
    deployment.rate(user, range(30))
    worker = start(settings, "worker", "-Q", "cpu", "-P", "solo", "-n", "first@%h", "--without-gossip")
    scheduler = start(settings, "scheduler")
    with running(worker, scheduler):
        wait_until("the user is trained", lambda: deployment.active(user) is not None, 100)
        words = command_line(worker.process)
        assert {"celery", "-Q", "cpu", "first@%h", "--without-gossip"} <= set(words)
        assert "celery" in command_line(scheduler.process)
        assert scheduler.stop() == 0
        assert worker.stop() == 0
    for service in (worker, scheduler):
        told = [line for line in service.log().splitlines() if line.strip() not in ("", LAST_LINE)]
        lines = [json.loads(line) for line in told]  # no banner, no plain text
        assert {"message", "level", "timestamp"} <= set(lines[0])


def test_queue_that_does_not_exist_is_refused(settings: Settings) -> None:
    done = subprocess.run(
        [*PAAPLUS, "worker", "-Q", "cpu,tpu"], capture_output=True, text=True, check=False,
        env={**os.environ, "PAAPLUS_HOME": str(settings.home)},
    )  # fmt: skip
    assert done.returncode == 1
    assert "no queue is named 'tpu'" in done.stderr
