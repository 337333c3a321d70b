"""`paaplus evaluate gate` and `drift` as a user types them, with the real network on small pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paaplus.cli.main import app
from paaplus.errors import InvalidInput
from paaplus.models.base_fit import SmallDataWarning


def invoke(rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, what: str, *options: str) -> Result:
    cache = tmp_path_factory.getbasetemp() / "evaluate-gate-cache"
    command = ["evaluate", what, "--data", str(rated_folder), "--cache", str(cache), "--base-model", "lite"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, [*command, *options])


def test_gate_says_of_every_life_what_is_served(
    rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    split = ["--split", str(rated_folder / "split.py"), "--seeds", "0"]
    lives = ["--life", "honest", "--life", "comparisons: coin", "--answers", "12", "--increments", "6,12"]
    done = invoke(rated_folder, tmp_path_factory, "gate", *lives, *split, "--json", "--out", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert {(row["life"], row["increment"]) for row in document["summary"]} == {
        (life, increment) for life in ("honest", "comparisons: coin") for increment in (6, 12)
    }
    assert json.loads((tmp_path / "gate.json").read_text()) == document
    assert "| taste_vector:bayes | 6 | honest |" in (tmp_path / "gate.md").read_text()


def test_gate_shows_a_table(rated_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    split = ["--split", str(rated_folder / "split.py"), "--seeds", "0", "--limit-people", "1"]
    done = invoke(rated_folder, tmp_path_factory, "gate", "--life", "shuffled", "--answers", "10", *split)
    assert done.exit_code == 0, done.stderr
    assert "what is served, seeds [0]" in done.stdout
    assert "shuffled" in done.stdout


def test_drift_counts_alarms(rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    options = ["--split", str(rated_folder / "split.py"), "--seeds", "0", "--ratings", "12", "--increment", "4"]
    done = invoke(rated_folder, tmp_path_factory, "drift", *options, "--json", "--out", str(tmp_path))
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "drift.json").read_text()) == document
    assert (tmp_path / "drift.md").read_text().startswith("# Drift study")
    shown = invoke(rated_folder, tmp_path_factory, "drift", *options)
    assert "drift test, seeds [0]" in shown.stdout


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("gate", ["--answers", "2"], "2 answers: 10 or more"),
        ("gate", ["--life", "sleepy"], "sleepy"),
        ("gate", ["--learner", "bottleneck:bayes"], "bottleneck:bayes"),
        ("drift", ["--seeds", "x"], "--seeds 'x'"),
        ("drift", ["--ratings", "400", "--increment", "10"], "400"),
    ],
)
def test_mistake_is_an_error_with_the_value(
    rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, what: str, options: list[str], message: str
) -> None:
    done = invoke(rated_folder, tmp_path_factory, what, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
