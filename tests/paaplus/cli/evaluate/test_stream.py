"""The command as a user types it, with the real network on small pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paaplus.cli.main import app
from paaplus.errors import InvalidInput
from paaplus.models.base_fit import SmallDataWarning
from tests.support.command_lines import with_options


def invoke(rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, *options: str) -> Result:
    cache = tmp_path_factory.getbasetemp() / "evaluate-stream-cache"
    quick = ["--base-model", "lite", "--ratings", "12", "--increment", "6", "--people", "2", "--seeds", "0"]
    learner = ["--learner", "taste_vector:bayes"]
    command = [
        "evaluate",
        "stream",
        "--data",
        str(rated_folder),
        "--cache",
        str(cache),
        *with_options(quick + learner, options),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, command)


def test_json_is_the_whole_output_when_asked_for(
    rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = invoke(
        rated_folder, tmp_path_factory, "--json", "--out", str(tmp_path / "out"), "--set", '{"buffer_size": 7}'
    )
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["summary"]) == {"steady", "drift"}
    assert document["config"]["base_model"] == "lite"
    assert document["config"]["tuning"] is False
    assert document["config"]["training"]["buffer_size"] == 7
    assert json.loads((tmp_path / "out" / "stream.json").read_text()) == document


def test_tables_are_shown_when_json_is_not_asked_for(
    rated_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = invoke(rated_folder, tmp_path_factory, "--scenario", "drift")
    assert done.exit_code == 0, done.stderr
    assert "taste_vector:bayes" in done.stdout
    assert "steady" not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "one"], "--seeds 'one'"),
        (["--learner", "bottleneck:bayes"], "bottleneck:bayes"),
        (["--scenario", "storm"], "storm"),
        (["--set", "buffer_size=64"], """write --set '{"buffer_size": 64}'"""),
        (["--set", '{"buffer": 64}'], "unknown TrainingConfig field(s) ['buffer']"),
        (["--tuning", "--ratings", "40", "--increment", "10"], "test people with 40 ratings"),
    ],
)
def test_mistake_is_an_error_with_the_value(
    rated_folder: Path, tmp_path_factory: pytest.TempPathFactory, options: list[str], message: str
) -> None:
    done = invoke(rated_folder, tmp_path_factory, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
