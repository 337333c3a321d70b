"""What the command line says when its surroundings are wrong: one line and exit code 1, never a stack."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from paaplus.cli import main as cli
from paaplus.cli import tree
from paaplus.cli.common import print_record, print_rows, progress_bar
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


@pytest.mark.parametrize("content", [b"no database " * 500, b"SQLite format 3\0" + bytes(4080)])
def test_a_damaged_database_is_told_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "paaplus.db").write_bytes(content)
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path))
    told = refusal(monkeypatch, capsys, "users", "list")
    assert f"{tmp_path}/paaplus.db: file is not a database; restore your last backup into a new home" in told


def test_ctrl_c_before_the_command_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tree.TyperGroup, "make_context", press)
    monkeypatch.setattr(sys, "argv", ["paaplus", "users", "list"])
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    monkeypatch.setattr(cli.logging, "disable", lambda: None)
    with pytest.raises(SystemExit) as ending:
        cli.main()
    assert (ending.value.code, capsys.readouterr().err) == (cli.INTERRUPTED, "interrupted\n")


def test_texts_that_look_like_markup_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """A user may be called `[/b]`; and a webhook's address may be `https://[2001:db8::1]/`."""
    columns = {"a [/i]": lambda row: row}
    print_rows(["[/x]"], columns, as_json=False, title="log of tour/[/b] [red]")
    print_record({"[/k]": "[/v]"}, as_json=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "log of tour/[/b] [red] a [/i]" in told
    assert "[/x]" in told
    assert "[/k] [/v]" in told


PRINT = """
from paaplus.cli import main
main._open_streams()
print("\\udcff \\u00e9 end")
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_what_a_terminal_cannot_show_is_printed_nevertheless(encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-c", PRINT], env=environment, capture_output=True, check=True)
    assert done.stdout.startswith(b"\\udcff ")
    assert done.stdout.endswith(b" end\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_stops_no_command(closed: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PAAPLUS_HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-m", "paaplus.cli.main", "db", "upgrade"], env=environment, check=True)
    line = f'"{sys.executable}" -m paaplus.cli.main users list {closed}'
    done = subprocess.run(["/bin/sh", "-c", line], env=environment, capture_output=True, check=False)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
