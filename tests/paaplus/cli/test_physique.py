"""Commands around PhysiqueFrame, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from paaplus.cli.main import app
from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.config import tiny_config
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.weights.checkpoint import save_checkpoint
from tests.paaplus.data.physique.physique_folder import row, write_physique


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "miniature"
    done = run("physique", "make-miniature", "--out", root, "--num-images", 12, "--num-vertices", 64, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["kind"] == "synthetic"
    return root


def test_validate_tells_every_bad_row_and_fails(tmp_path: Path, miniature: Path) -> None:
    assert run("physique", "validate", miniature).stdout.strip() == "120 rows, 0 errors, 0 warnings"
    write_physique(tmp_path, [row("a.png", "1,2,11"), row("z.png")], [row("b.png")])
    done = run("physique", "validate", tmp_path)
    assert done.exit_code == 1
    assert "line 2: score_posture '11'" in done.stdout
    assert "line 3: image" in done.stdout
    document = json.loads(run("physique", "validate", tmp_path, "--json").stdout)
    assert [(p["line"], p["severity"]) for p in document["problems"]] == [(2, "error"), (3, "error")]


def test_miniature_is_not_written_over_something(miniature: Path) -> None:
    assert isinstance(run("physique", "make-miniature", "--out", miniature).exception, InvalidInput)


@pytest.mark.slow
def test_network_is_trained_and_scores_as_the_quickstart_says(miniature: Path, tmp_path: Path) -> None:
    options = ["--split", "user", "--type", "ISFJ", "--size", "tiny", "--epochs", 2, "--batch-size", 4, "--lr", "1e-3"]
    train = [
        "base-models",
        "train",
        "physiqueframe",
        "--data",
        miniature,
        "--out",
        tmp_path / "run",
        *options,
        "--json",
    ]
    done = run(*train)
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["epochs"] == 2
    image = miniature / "images" / "synthetic_00000.png"
    scored = run("score", image, "--checkpoint", told["checkpoint"], "--meshes", miniature / "meshes", "--json")
    assert scored.exit_code == 0, scored.output
    (answer,) = json.loads(scored.stdout)
    assert (answer["status"], answer["branches"], answer["degraded"]) == ("found", "image, posture, mesh", False)
    assert all(0 <= answer[aspect] <= 10 for aspect in ("appearance", "health", "posture"))


@pytest.mark.slow
def test_score_says_what_it_stands_on(miniature: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_checkpoint(PhysiqueFrame(tiny_config()), tmp_path / "physiqueframe.safetensors")
    image = miniature / "images" / "synthetic_00001.png"
    base = ["score", image, "--checkpoint", tmp_path / "physiqueframe.safetensors", "--json"]
    (unchecked,) = json.loads(run(*base, "--unchecked").stdout)
    assert (unchecked["status"], unchecked["branches"], unchecked["degraded"]) == ("unchecked", "image", True)
    (outside,) = json.loads(run(*base, "--box", "900,900,50,50").stdout)
    assert (outside["status"], outside["posture"]) == ("degenerate_box", None)
    (other,) = json.loads(run(*base, "--unchecked", "--preference", "0,0,0,1,1").stdout)
    assert not np.isclose(other["health"], unchecked["health"], atol=1e-7)
    for wrong in (["--preference", "1,2"], ["--box", "1,2,x,4"]):
        assert isinstance(run(*base, "--unchecked", *wrong).exception, InvalidInput)
    without_effect = run(*base, "--unchecked", "--base-model", "lite")
    assert without_effect.exit_code == 2
    assert "--base-model" in without_effect.stderr
