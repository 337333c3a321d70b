"""`paaplus evaluate piaa` as a user types it, on a synthetic miniature, with pixels as features."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from paaplus.cli.evaluate.commands import app
from paaplus.errors import InvalidInput
from paaplus.models import base_models
from paaplus.models.base_fit import SmallDataWarning
from tests.support.taste_data import PixelExtractor

Invoke = Callable[..., Result]


@pytest.fixture
def invoke(rated_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: PixelExtractor(12))

    def call(dataset: str, *options: str) -> Result:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallDataWarning)
            cache = str(tmp_path / "cache")
            return CliRunner().invoke(app, ["piaa", dataset, str(rated_folder), "--cache", cache, *options])

    return call


def test_row_of_ours_beside_the_published_ones(invoke: Invoke, tmp_path: Path) -> None:
    few = ["--people", "3", "--shots", "6", "--draws", "2"]
    options = ["--protocol", "flickr-aes", "--scale", "1,5", *few, "--out", str(tmp_path / "out"), "--json"]
    done = invoke("miniature", *options)
    assert done.exit_code == 0, done.exception
    document = json.loads(done.stdout)
    [ours] = document["ours"]
    assert (ours["k"], ours["num_people"]) == (6, 3)
    assert ours["srcc"] > ours["generic"]  # these people like red, or blue
    assert document["config"]["protocol"]["name"] == "flickr-aes, on other data (changed)"
    assert json.loads((tmp_path / "out" / "piaa.json").read_text()) == document
    generic = invoke("ava", "--scale", "1,5")  # under the name of a data set: its protocol, and its published rows
    assert generic.exit_code == 0, generic.exception
    assert "number: AGREE, ICML 2026" in " ".join(generic.stdout.split())
    assert "ours, lite2" in generic.stdout
    assert "SRCC with mean ratings" in generic.stdout
    assert "PLCC of ours" in generic.stdout


def test_mistakes_are_told(invoke: Invoke) -> None:
    for dataset, options, message in (
        ("miniature", [], "protocol 'miniature' is not known"),
        ("real-cur", [], "--train DIR"),
        ("miniature", ["--protocol", "flickr-aes", "--shots", "ten"], "--shots 'ten'"),
    ):
        error = invoke(dataset, *options).exception
        assert isinstance(error, InvalidInput)
        assert message in str(error)
