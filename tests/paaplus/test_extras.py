"""A module that is missing is told with the extra that has it; a mistake of our own stays one."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from paaplus import extras
from paaplus.cli import main as cli
from paaplus.errors import Unavailable


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    real = extras.find_spec
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else real(name))


def test_module_of_an_extra_is_told_with_it() -> None:
    told = extras.missing(ModuleNotFoundError("No module named 'torch.nn'", name="torch.nn"))
    assert "torch, which is not installed: pip install 'paaplus[worker]'" in str(told)
    with pytest.raises(Unavailable, match=r"paaplus\[worker\]"):
        extras.require("numpy", "torch")
    extras.require("numpy")


def test_other_missing_module_is_our_own_mistake() -> None:
    assert extras.missing(ModuleNotFoundError("No module named 'x'", name="x")) is None
    assert extras.missing(ModuleNotFoundError("No module named 'skimage.x'", name="skimage.x")) is None, (
        "skimage is here"
    )
    assert extras.missing(ModuleNotFoundError("nameless")) is None


def test_command_fails_with_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(cli, "_command", lambda: command)
    monkeypatch.setattr(sys, "argv", ["paaplus", "score", "x"])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert (ending.value.code, capsys.readouterr().err.count("\n")) == (1, 1)
