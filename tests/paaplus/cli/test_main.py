"""What the command line says when its surroundings are wrong: one line and exit code 1, never a stack."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

from paaplus.cli import main as cli
from paaplus.cli.common import progress_bar
from paaplus.settings import get_settings


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command that fails prints on standard error."""
    get_settings.cache_clear()
    monkeypatch.setattr(sys, "argv", ["paaplus", *arguments])
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert ending.value.code == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    return printed.err


def test_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PAAPLUS_API_PORT", "eighty")
    assert "(invalid_input): PAAPLUS_API_PORT" in refusal(monkeypatch, capsys, "users", "list")


def test_home_that_is_a_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "file"))
    assert str(tmp_path / "file") in refusal(monkeypatch, capsys, "db", "upgrade")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://anna:canary@127.0.0.1:1/none", "anna:***@127.0.0.1:1/none: connection failed"),
        ("sqlite:////proc", "(unavailable): database sqlite:////proc: unable to open"),
        ("canary", "(invalid_input): PAAPLUS_DATABASE_URL: is no URL of a database"),
    ],
)
def test_database_that_is_away_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, message: str
) -> None:
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", url)
    told = refusal(monkeypatch, capsys, "users", "list")
    assert message in told
    assert "canary" not in told


def test_warnings_are_one_line_without_whose_code_gave_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    monkeypatch.setattr(sys, "argv", ["paaplus", "--version"])
    with pytest.raises(SystemExit):
        cli.main()
    assert warnings.formatwarning("few people", UserWarning, "/some/file.py", 7) == "warning: few people\n"


def test_bars_are_drawn_on_terminals_only(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as bar:
        bar.add_task("features", total=1)
    assert capsys.readouterr() == ("", "")
