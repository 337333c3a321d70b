"""Forked commands are as the commands themselves: own environment, session, log, exit code; and they can be killed."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from paaplus import __version__
from paaplus.settings import Settings
from tests.support.processes import Service


def test_a_forked_command_is_as_the_command_itself(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", database_url=f"sqlite:///{tmp_path / 'none.db'}")
    paaplus = [sys.executable, "-m", "paaplus.cli.main"]
    told = Service("version", [*paaplus, "--version"], settings, forked=True)
    refused = Service("users", [*paaplus, "users", "list"], settings, forked=True)
    assert told.process.wait(100) == told.process.returncode == 0
    assert told.log().strip().endswith(__version__)
    assert refused.process.wait(100) == 1
    assert str(tmp_path / "none.db") in refused.log(), "the environment of this deployment"
    endless = Service("files", [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "0"], settings, forked=True)
    assert endless.process.poll() is None
    assert os.getsid(endless.process.pid) == endless.process.pid != os.getsid(0)
    endless.kill()
    assert endless.process.poll() == -signal.SIGKILL
