"""`paaplus evaluate matching` and `paradigm` as a researcher types them, on simulated people, pixels for features."""

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

QUICK = {
    "matching": ["--pairs", "0,4", "--k", "5", "--experts", "3"],
    "paradigm": ["--answers", "0,4,8"],
}
every_command = pytest.mark.parametrize("what", QUICK)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("matching") / "data", simulate(num_people=16, num_images=80))


@pytest.fixture(autouse=True)
def _pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: PixelExtractor(12))


def invoke(what: str, folder: Path, cache: Path, *options: str) -> Result:
    command = ["evaluate", what, "--data", str(folder), "--cache", str(cache)]
    quick = ["--seeds", "0", "--limit-people", "2", *QUICK[what]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, [*command, *with_options(quick, options)])


@every_command
def test_table_and_files_tell_the_same(what: str, folder: Path, tmp_path: Path) -> None:
    done = invoke(what, folder, tmp_path, "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    document = json.loads((tmp_path / "out" / f"{what}.json").read_text())
    assert document["config"]["num_people"] == 2
    assert document["config"]["tuning"] is False
    for state in document["summary"]:
        assert state["state"] in done.stdout
    assert (tmp_path / "out" / f"{what}.md").is_file()


@every_command
def test_json_is_the_document(what: str, folder: Path, tmp_path: Path) -> None:
    done = invoke(what, folder, tmp_path, "--json")
    assert json.loads(done.stdout)["config"]["seeds"] == [0]


@pytest.mark.parametrize(
    ("what", "options", "message"),
    [
        ("matching", ["--k", "x"], "--k 'x'"),
        ("matching", ["--experts", "1"], "none below 2"),
        ("paradigm", ["--answers", "5,10,20"], "rising numbers, the first of them 0"),
    ],
)
def test_mistake_is_an_error_with_the_value(
    what: str, options: list[str], message: str, folder: Path, tmp_path: Path
) -> None:
    done = invoke(what, folder, tmp_path, *options)
    assert done.exit_code == 1
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
