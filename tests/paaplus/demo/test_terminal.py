from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

from rich.console import Console

from paaplus.demo.report.build import build_report
from paaplus.demo.terminal import Steps, commands_to_try, results_table


def test_steps_tell_their_time_once_done_also_without_a_terminal():
    out = io.StringIO()
    steps = Steps(Console(file=out, width=80))
    with steps.step("data"):
        pass
    with steps.counter("upload", 2) as advance:
        advance()
        advance()
    assert list(steps.seconds) == ["data", "upload"]
    lines = out.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["data", "upload"]


def test_the_table_fits_eighty_columns_and_has_everybody(canned_run):
    out = io.StringIO()
    report = build_report(canned_run)
    Console(file=out, width=80).print(results_table(report))
    text = out.getvalue()
    assert max(len(line) for line in text.splitlines()) <= 80
    for person in report["people"]:
        assert person["id"] in text
        assert f"{person['gain']:+.3f}" in text
    assert "replay_ewc" in text


def test_commands_are_shell_lines_about_the_demos_own_platform():
    commands = commands_to_try(Path("/somewhere/home"), "demo", "o016", "0199-image")
    lines = [line for _, line in commands]
    assert "export PAAPLUS_HOME=/somewhere/home" in lines
    assert "paaplus adapters history demo/o016" in lines
    (curl,) = [shlex.split(line) for line in lines if line.startswith("curl")]
    assert curl[-1] == '{"users": ["o016"], "images": ["0199-image"]}'


def test_commands_are_words_for_the_shell_when_names_have_spaces_and_quotes():
    home = Path("/some where/it's/home")
    lines = [line for _, line in commands_to_try(home, "demo", "Zoë O'Hara", "0199-image")]
    assert ["export", f"PAAPLUS_HOME={home}"] in [shlex.split(line) for line in lines]
    assert ["paaplus", "adapters", "list", "demo/Zoë O'Hara"] in [shlex.split(line) for line in lines]
    (curl,) = [shlex.split(line) for line in lines if line.startswith("curl")]
    assert json.loads(curl[-1])["users"] == ["Zoë O'Hara"]
