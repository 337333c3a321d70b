"""The command as a user types it, with the real network on small pictures."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from paaplus.cli.main import app
from paaplus.errors import InvalidInput
from paaplus.models.base_fit import SmallDataWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve people who like red or blue pictures."""
    path = tmp_path_factory.mktemp("data")
    (path / "images").mkdir()
    rng = np.random.default_rng(0)
    lines = ["user_id,image,rating"]
    for i in range(24):
        colour = rng.integers(0, 256, 3)
        noise = rng.integers(-20, 20, (32, 32, 3))
        Image.fromarray(np.clip(colour + noise, 0, 255).astype(np.uint8)).save(path / "images" / f"{i:02d}.png")
        for person in range(12):
            liking = (colour[0] - colour[2]) / 255 * (1 if person % 2 else -1) + rng.normal(0, 0.2)
            lines.append(f"p{person},{i:02d}.png,{round(3 + 2 * np.clip(liking, -1, 1))}")
    (path / "ratings.csv").write_text("\n".join(lines) + "\n")
    return path


def invoke(folder: Path, tmp_path_factory: pytest.TempPathFactory, *options: str) -> Result:
    cache = tmp_path_factory.getbasetemp() / "evaluate-stream-cache"
    quick = ["--base-model", "lite", "--ratings", "12", "--increment", "6", "--people", "2", "--seeds", "0"]
    learner = ["--learner", "taste_vector:bayes"]
    command = ["evaluate", "stream", "--data", str(folder), "--cache", str(cache), *quick, *learner, *options]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, command)


def test_json_is_the_whole_output_when_asked_for(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    done = invoke(folder, tmp_path_factory, "--json", "--out", str(tmp_path / "out"))
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert set(document["summary"]) == {"steady", "drift"}
    assert document["config"]["base_model"] == "lite"
    assert document["config"]["tuning"] is False
    assert json.loads((tmp_path / "out" / "stream.json").read_text()) == document


def test_tables_are_shown_when_json_is_not_asked_for(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    done = invoke(folder, tmp_path_factory, "--scenario", "drift")
    assert done.exit_code == 0, done.stderr
    assert "taste_vector:bayes" in done.stdout
    assert "steady" not in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "one"], "--seeds 'one'"),
        (["--learner", "bottleneck:bayes"], "bottleneck:bayes"),
        (["--scenario", "storm"], "storm"),
        (["--tuning", "--ratings", "40", "--increment", "10"], "test people with 40 ratings"),
    ],
)
def test_mistake_is_an_error_with_the_value(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, options: list[str], message: str
) -> None:
    done = invoke(folder, tmp_path_factory, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
