"""Temporary folders lie in memory where there is room, and where somebody wants them otherwise."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tests.support import scratch


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A stand-in for the folder in memory, on a machine with eight gigabytes free and no `TMPDIR`."""
    (tmp_path / "meminfo").write_text("MemTotal: 16000000 kB\nMemAvailable:    8388608 kB\n")
    monkeypatch.setattr(scratch, "IN_MEMORY", tmp_path)
    monkeypatch.setattr(scratch, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(scratch, "NEEDED_BYTES", 4096)
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("TMPDIR", raising=False)
    return tmp_path


def chosen() -> str | None:
    scratch.use_memory_where_there_is_enough()
    return os.environ.get("TMPDIR")


def test_memory_is_used_where_there_is_enough(machine: Path) -> None:
    assert chosen() == str(machine)
    assert tempfile.gettempdir() == str(machine)


def test_tmpdir_overrules(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    assert chosen() == "/elsewhere"


@pytest.mark.parametrize("needed", [9 * 2**30, 2**60])
def test_memory_is_left_alone_where_there_is_too_little(
    needed: int, machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "NEEDED_BYTES", needed)
    assert chosen() is None


@pytest.mark.parametrize("name", ["IN_MEMORY", "MEMINFO"])
def test_other_systems_go_on_as_before(name: str, machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, name, machine / "missing")
    assert chosen() is None
