"""A worker starts on the schema it was made for, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from paaplus.db import migrate
from paaplus.settings import Settings
from tests.support.processes import running, start_worker


@pytest.mark.parametrize("database_kind", ["sqlite"])
@pytest.mark.parametrize("prefork", [False, True])
def test_worker_does_not_start_on_another_schema(prefork: bool, empty_database_url: str, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=empty_database_url)
    worker = start_worker(settings, prefork=prefork, forked=False)
    with running(worker):
        assert worker.process.wait(100) == 1
    assert "`paaplus db upgrade`" in worker.log()


def test_wrong_option_of_a_worker_makes_no_folder(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    migrate.upgrade(settings.resolved_database_url)
    before = sorted(tmp_path.rglob("*"))
    environment = os.environ | {"PAAPLUS_HOME": str(settings.home)}
    for name in ("worker", "scheduler"):
        command = [sys.executable, "-c", "from paaplus.cli.main import main; main()", name, "--no-such-option"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 2, done.stderr
        assert "no-such-option" in done.stderr
    assert [path for path in sorted(tmp_path.rglob("*")) if path not in before] == []


def test_worker_and_scheduler_at_rest_have_loaded_nothing_that_learns() -> None:
    """Torch is a quarter of a gigabyte for each of them, and a second of the processor."""
    program = """
import sys
import paaplus.workers.bell, paaplus.workers.broker, paaplus.workers.scan, paaplus.workers.tasks
import paaplus.pipelines.context
print(sorted({"avalanche", "matplotlib", "scipy", "timm", "torch"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
