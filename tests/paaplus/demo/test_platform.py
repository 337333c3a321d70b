from __future__ import annotations

import subprocess
import sys

import pytest

from paaplus.demo import platform as platform_module
from paaplus.demo.failure import DemoFailed
from paaplus.demo.platform import Platform


def stand_in(monkeypatch, script: str) -> list[dict]:
    """Runs `script` instead of the command line; returns the calls it got."""
    calls: list[dict] = []
    real_run, real_popen = subprocess.run, subprocess.Popen

    def run(line, **arguments):
        calls.append({"line": line, **arguments})
        return real_run([sys.executable, "-c", script, *line[3:]], **arguments)

    def popen(line, **arguments):
        calls.append({"line": line, **arguments})
        return real_popen([sys.executable, "-c", script, *line[3:]], **arguments)

    monkeypatch.setattr(platform_module.subprocess, "run", run)
    monkeypatch.setattr(platform_module.subprocess, "Popen", popen)
    return calls


def test_wiping_keeps_cached_features_only(tmp_path):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "features").write_text("kept")
    (tmp_path / "blobs").mkdir()
    (tmp_path / "paaplus.db").write_text("gone")
    Platform(tmp_path).wipe()
    assert [entry.name for entry in tmp_path.iterdir()] == ["cache"]
    assert (tmp_path / "cache" / "features").read_text() == "kept"


def test_a_command_is_run_in_the_platforms_home_and_read_as_json(tmp_path, monkeypatch):
    calls = stand_in(monkeypatch, "import json, sys; print(json.dumps(sys.argv[1:]))")
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", "postgresql://production/db")
    assert Platform(tmp_path / "home").command("keys", "create") == ["keys", "create", "--json"]
    environment = calls[0]["env"]
    assert environment["PAAPLUS_HOME"] == str(tmp_path / "home")
    assert "PAAPLUS_DATABASE_URL" not in environment, "a demo must not touch somebody's deployment"


def test_a_command_that_fails_tells_what_it_said(tmp_path, monkeypatch):
    stand_in(monkeypatch, "import sys; sys.exit('no such user')")
    with pytest.raises(DemoFailed, match=r"(?s)paaplus users show ada: exit code 1\nno such user"):
        Platform(tmp_path).command("users", "show", "ada")


def test_a_command_that_hangs_is_a_failure(tmp_path, monkeypatch):
    stand_in(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(platform_module, "COMMAND_TIMEOUT_S", 0.3)
    with pytest.raises(DemoFailed, match="paaplus db upgrade: not done within 0 s"):
        Platform(tmp_path).command("db", "upgrade")


def test_a_platform_that_ends_at_once_is_a_failure(tmp_path, monkeypatch):
    stand_in(monkeypatch, "raise SystemExit(3)")
    platform = Platform(tmp_path)
    with pytest.raises(DemoFailed, match="ended with exit code 3"):
        platform.start()


def test_leaving_ends_a_platform_that_does_not_listen(tmp_path, monkeypatch):
    deaf = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True)\n"
    stand_in(monkeypatch, deaf + "time.sleep(60)")
    monkeypatch.setattr(platform_module, "STOP_TIMEOUT_S", 0.3)
    monkeypatch.setattr(Platform, "_is_ready", lambda self: "up" in (self.home / "logs" / "up.log").read_text())
    with Platform(tmp_path) as platform:
        platform.start()
        process = platform._process
        assert process is not None
        platform.check_alive()
    assert process.poll() is not None
    platform.stop()  # twice does no harm


def test_log_tails_are_the_last_lines_of_every_log(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "api.log").write_text("\n".join(f"line {n}" for n in range(50)))
    (tmp_path / "logs" / "empty.log").write_text("")
    tails = Platform(tmp_path).log_tails(num_lines=2)
    assert tails == f"--- {tmp_path / 'logs' / 'api.log'}\nline 48\nline 49"
