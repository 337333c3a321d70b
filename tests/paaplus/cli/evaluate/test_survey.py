"""`paaplus evaluate survey` as a researcher types it, on simulated people and pixels for features."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paaplus.cli.main import app
from paaplus.errors import InvalidInput
from paaplus.models import base_models
from paaplus.models.base_fit import SmallDataWarning
from tests.support.command_lines import with_options
from tests.support.taste_data import PixelExtractor, simulate, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("survey") / "data", simulate(num_people=76, num_images=80))


@pytest.fixture(autouse=True)
def _pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: PixelExtractor(12))


def invoke(folder: Path, cache: Path, *options: str) -> Result:
    quick = ["--seeds", "0", "--k", "0", "--pairs", "2", "--limit-people", "2"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        command = ["evaluate", "survey", "--data", str(folder), "--cache", str(cache), *with_options(quick, options)]
        return CliRunner().invoke(app, command)


def test_table_and_files_tell_the_same(folder: Path, tmp_path: Path) -> None:
    done = invoke(folder, tmp_path, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    assert "pairs_compared" in done.stdout
    document = json.loads((tmp_path / "out" / "survey.json").read_text())
    assert document["config"]["num_pairs"] == 2
    assert document["config"]["tuning"] is False
    assert {entry["survey"] for entry in document["summary"]} == {"pairs", "pairs_shuffled", "pairs_compared"}


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--k", "x"], "--k 'x'"), (["--seeds", "0,0"], "none below 0"), (["--tuning"], "people rated 'beauty'")],
)
def test_mistake_is_an_error_with_the_value(folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = invoke(folder, tmp_path, *options)
    assert done.exit_code == 1
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
