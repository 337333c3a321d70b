"""Themes, maps, exposure, anchors, consistency and tools' files from the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.scoring.exposure_rules import PRESETS
from paaplus.services.images import maps, uploads
from paaplus.services.reviews import pseudo_labels
from paaplus.settings import Settings, get_settings
from paaplus.tools.maps import ToolMap
from paaplus.tools.tool import Judgement
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION

Run = Callable[..., Any]
TOOL = "exposure_map"


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=12)


@pytest.fixture
def run(deployment: Deployment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line; returns what it printed, read as JSON where it succeeds with --json."""
    monkeypatch.setenv("PAAPLUS_HOME", str(deployment.settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", deployment.settings.resolved_database_url)
    monkeypatch.setenv("PAAPLUS_STORAGE_URL", deployment.settings.resolved_storage_url)

    def call(*arguments: object, exit_code: int = 0) -> Any:
        get_settings.cache_clear()
        monkeypatch.setattr(sys, "argv", ["paaplus", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err + printed.out
        return json.loads(printed.out) if "--json" in arguments and exit_code == 0 else printed.out + printed.err

    return call


def with_file(deployment: Deployment, content: bytes = b"weights") -> None:
    folder = deployment.settings.home / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "exposure_map.pth").write_bytes(content)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_doctor_and_list_say_which_files_are_there(deployment: Deployment, run: Run) -> None:
    def told() -> dict[str, str]:
        findings: list[dict[str, str]] = run("doctor", "--json")
        return next(finding for finding in findings if finding["what"] == "tool files")

    assert (told()["state"], "exposure_map" in told()["advice"]) == ("note", True)
    with_file(deployment)
    found = told()
    assert found["state"] == "note"
    assert "exposure_map: not the official file: sha256" in found["detail"]
    assert "exposure_map" not in found["advice"]
    (deployment.settings.home / "weights" / "mnet.pth").write_bytes(b"x")
    assert "mnet: not tested with an official file" in told()["detail"]
    tools = {tool["name"]: tool for tool in run("tools", "list", "--json")}
    assert tools["mnet"]["unavailable"] is None
    assert tools["eat"]["unavailable"] == "needs eat_ava.pth in $PAAPLUS_HOME/weights: docs/weights.md"


def test_themes_are_given_listed_and_taken_away(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (1, 100, 3)).save(tmp_path / "a.png")
    [added] = run("images", "add", tmp_path / "a.png", "--theme", "night", "--json")
    assert added["theme"] == "night"
    assert run("images", "tag", added["id"], "portrait", "--json")["theme"] == "portrait"
    assert [image["id"] for image in run("images", "list", "--theme", "portrait", "--json")] == [added["id"]]
    assert run("images", "tag", added["id"], "--json")["theme"] is None
    assert run("images", "list", "--theme", "portrait", "--json") == []
    assert "empty" in run("images", "tag", added["id"], " ", exit_code=2)


def test_map_is_asked_for_and_written(deployment: Deployment, run: Run, tmp_path: Path) -> None:
    with_file(deployment)
    file = BytesIO()
    Image.new("RGB", (40, 30), (1, 100, 3)).save(file, "PNG")
    image = uploads.add(
        deployment.database, deployment.blobs, deployment.settings, application=APPLICATION, data=file.getvalue()
    ).row
    assert "job id" in run("images", "map", image.id, TOOL, tmp_path / "m.png", exit_code=1)
    drawn = ToolMap(TOOL, np.full((4, 6), 0.25, np.float16), -0.5, 0.5, "Blue is too bright, red too dark.")
    with deployment.database.session() as session:
        maps.store(session, image.id, TOOL, maps.current_version(TOOL, deployment.settings), drawn)
    assert "red too dark" in run("images", "map", image.id, TOOL, tmp_path / "m.png", "--json")["meaning"]
    with Image.open(tmp_path / "m.png") as picture:
        assert picture.size == (6, 4)
    run("images", "map", image.id, TOOL, tmp_path / "m.npy")
    assert float(np.load(tmp_path / "m.npy")[0, 0]) == 0.25
    assert "written as .png or .npy" in run("images", "map", image.id, TOOL, tmp_path / "m.gif", exit_code=1)


def test_exposure_rule_is_made_of_ratings(deployment: Deployment, run: Run) -> None:
    with_file(deployment)
    deployment.add_user("anna")
    user = f"{APPLICATION}/anna"
    rng = np.random.default_rng(1)
    given = [{preset: float(rng.uniform(0, 10)) for preset in PRESETS} for _ in range(6)]
    version = maps.current_version(TOOL, deployment.settings)
    with deployment.database.session() as session:
        for image, scores in zip(deployment.images, given, strict=False):
            named = {f"exposure_{preset}": value for preset, value in scores.items()}
            pseudo_labels.store(session, TOOL, version, {image: Judgement(named, dict.fromkeys(named, 1.0))})
    for image, scores in zip(deployment.images[:6], given, strict=True):
        told = run("users", "rate-exposure", user, image, round(scores["street"], 2), "--json")
        assert told == {"waiting": False}
    rule = run("users", "exposure-rule", user, "--image", deployment.images[0], "--json")
    assert (rule["preset"], rule["num_ratings"]) == ("street", 6)
    assert rule["scores"][str(deployment.images[0])] == pytest.approx(given[0]["street"], abs=1.5)
    run("users", "rate-exposure", user, deployment.images[5])
    run("users", "rate-exposure", user, deployment.images[4])
    assert "needs 5" in run("users", "exposure-rule", user, exit_code=1)


def test_anchors_and_consistency_are_told(deployment: Deployment, run: Run) -> None:
    user_id = deployment.add_user("anna")
    deployment.post(deployment.rating(user_id, "low", 1, 0.0, 0), deployment.rating(user_id, "high", 2, 10.0, 1))
    [row] = run("users", "anchors", f"{APPLICATION}/anna", deployment.images[0], "--json")
    assert (row["below"], row["above"]) == (str(deployment.images[1]), str(deployment.images[2]))
    assert row["below_rating"] <= row["score"] < row["above_rating"]
    assert run("users", "consistency", f"{APPLICATION}/anna", "--json") == []


def test_theme_offsets_follow_ratings_and_are_undone(deployment: Deployment, run: Run) -> None:
    user_id = deployment.add_user("anna")
    for i, theme in enumerate(("sea", "sea", "dogs")):
        run("images", "tag", deployment.images[i], theme)
    name = f"{APPLICATION}/anna"
    assert run("users", "themes", name, "--json") == []
    deployment.post(*(deployment.rating(user_id, f"r{i}", i, value, i) for i, value in enumerate((10.0, 10.0))))
    [sea] = run("users", "themes", name, "--json")
    assert (sea["theme"], sea["num_ratings"]) == ("sea", 2)
    assert sea["offset"] > 0.0
    deployment.post(deployment.rating(user_id, "r2", 2, 0.0, 2), deployment.rating(user_id, "no theme", 4, 5.0, 3))
    dogs, again = run("users", "themes", name, "--json")
    assert dogs["offset"] < 0.0
    assert (again["theme"], again["num_ratings"]) == ("sea", 2)


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@pytest.mark.slow
def test_robustness_of_a_tool_and_of_a_user(
    deployment: Deployment, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class MeanColour:
        """Features of the tests' base model: an image's mean colour, four times."""

        digest = deployment.base.extractor_digest

        def extract(self, pictures: list[Image.Image]) -> np.ndarray:
            return np.stack([np.tile(np.asarray(one).mean((0, 1)) / 255.0, 4) for one in pictures]).astype(np.float16)

    monkeypatch.setattr("paaplus.pipelines.extract_features.cached_extractor", lambda *_: MeanColour())
    (tmp_path / "pictures").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(60, 190, (24, 24, 3), np.uint8)).save(tmp_path / "pictures/a.png")
    deployment.add_user("anna")
    common = ("--images", tmp_path / "pictures", "--json")
    [tool] = run("evaluate", "robustness", "--tool", "contrast", *common, "--out", tmp_path / "out")["subjects"]
    assert (tool["subject"], tool["num_images"], tool["measures"]["rasr"]) == ("contrast", 1, 100.0)
    assert (tmp_path / "out" / "robustness.html").is_file()
    [user] = run("evaluate", "robustness", "--user", f"{APPLICATION}/anna", *common)["subjects"]
    assert user["subject"] == f"{APPLICATION}/anna, generic"
    assert user["wants"] is not None
    assert "--user or --tool" in run("evaluate", "robustness", exit_code=1)
