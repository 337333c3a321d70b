"""The command as a user types it, with the real network on small pictures."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from paaplus.cli.evaluate import app
from paaplus.errors import InvalidInput
from paaplus.models.base_fit import SmallDataWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve people who like red or blue pictures, and a split file."""
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
    (path / "split.py").write_text(
        "from types import SimpleNamespace\n"
        "def split(seed, data=None):\n"
        "    images = [f'{i:02d}.png' for i in range(24)]\n"
        "    return SimpleNamespace(train_people=[f'p{n}' for n in range(8)], test_people=['p8', 'p9', 'p10', 'p11'],\n"
        "        train_images=set(images[:16]), test_images=set(images[16:]), support=lambda user_id, k: images[:k])\n"
    )
    return path


def invoke(folder, tmp_path_factory, *options):
    cache = tmp_path_factory.getbasetemp() / "evaluate-cache"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallDataWarning)
        return CliRunner().invoke(app, ["kshot", "--data", str(folder), "--cache", str(cache), *options])


def test_json_is_the_whole_output_when_asked_for(folder, tmp_path_factory, tmp_path):
    options = ["--k", "0,8", "--seeds", "3", "--also", "taste_vector:naive", "--limit-people", "3", "--json"]
    files = ["--split", str(folder / "split.py"), "--out", str(tmp_path / "out")]
    done = invoke(folder, tmp_path_factory, *options, *files)
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    rows = [(row["k"], row["seed"], row["num_people"] + row["num_dropped"]) for row in document["rows"]]
    assert rows == [(0, 3, 3), (8, 3, 3)]
    assert "taste_vector:naive" in document["rows"][0]
    assert document["config"]["base_model"] == "lite2"
    assert document["config"]["split"].endswith("split.py")
    assert json.loads((tmp_path / "out" / "kshot.json").read_text()) == document


def test_table_is_shown_when_json_is_not_asked_for(folder, tmp_path_factory):
    done = invoke(folder, tmp_path_factory, "--k", "4", "--seeds", "0", "--scale", "1,5")
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
def test_mistake_is_an_error_with_the_value(folder, tmp_path_factory, options, message):
    done = invoke(folder, tmp_path_factory, *options)
    assert isinstance(done.exception, InvalidInput)
    assert message in str(done.exception)
