"""The command as a user types it, with the real network on small pictures."""

from __future__ import annotations

import json
import warnings

import pytest
from typer.testing import CliRunner

from paaplus.cli.evaluate.commands import app
from paaplus.errors import InvalidInput
from paaplus.models.base_fit import SmallDataWarning


def invoke(rated_folder, tmp_path_factory, *options):
    cache = tmp_path_factory.getbasetemp() / "evaluate-cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, ["kshot", "--data", str(rated_folder), "--cache", str(cache), *options])


def test_json_is_the_whole_output_when_asked_for(rated_folder, tmp_path_factory, tmp_path):
    options = ["--k", "0,8", "--seeds", "3", "--also", "taste_vector:naive", "--limit-people", "3", "--json"]
    files = ["--split", str(rated_folder / "split.py"), "--out", str(tmp_path / "out")]
    done = invoke(rated_folder, tmp_path_factory, *options, *files)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    rows = [(row["k"], row["seed"], row["num_people"] + row["num_dropped"]) for row in document["rows"]]
    assert rows == [(0, 3, 3), (8, 3, 3)]
    assert "taste_vector:naive" in document["rows"][0]
    assert document["config"]["base_model"] == "lite2"
    assert document["config"]["split"].endswith("split.py")
    assert json.loads((tmp_path / "out" / "kshot.json").read_text()) == document


def test_table_is_shown_when_json_is_not_asked_for(rated_folder, tmp_path_factory):
    done = invoke(rated_folder, tmp_path_factory, "--k", "4", "--seeds", "0", "--scale", "1,5")
    assert done.exit_code == 0, done.stderr
    assert "taste_vector:bayes" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--k", "ten"], "--k 'ten'"),
        (["--seeds", ""], "--seeds ''"),
        (["--strategy", "magic"], "taste_vector:magic"),
        (["--also", "bottleneck:bayes"], "bottleneck:bayes"),
        (["--scale", "1,3"], "outside the scale"),
    ],
)
def test_mistake_is_an_error_with_the_value(rated_folder, tmp_path_factory, options, message):
    done = invoke(rated_folder, tmp_path_factory, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)


def test_folder_that_cannot_be_written_is_told_before_anything_is_measured(rated_folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr("paaplus.evaluation.kshot.run.run_kshot", lambda *_args, **_options: pytest.fail("measured"))
    out, cache = tmp_path / "file" / "out", tmp_path / "cache"
    done = CliRunner().invoke(app, ["kshot", "--data", str(rated_folder), "--out", str(out), "--cache", str(cache)])
    assert isinstance(done.exception, NotADirectoryError)
