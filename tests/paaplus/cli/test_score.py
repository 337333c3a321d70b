"""`paaplus score` with a base model of the deployment: the generic score that the API would give."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.cli import main as cli
from paaplus.db.engine import Database
from paaplus.image_files import decode_image
from paaplus.models import base_models
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.services.registry import base_models as registry
from paaplus.settings import Settings, get_settings
from paaplus.storage.blobs import BlobStore
from tests.support.taste_data import PixelExtractor
from tests.support.tiny import FEATURE_DIM, tiny_base


@pytest.fixture
def base(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> BaseScorer:
    monkeypatch.setenv("PAAPLUS_HOME", str(settings.home))
    monkeypatch.setenv("PAAPLUS_DATABASE_URL", settings.database_url)
    get_settings.cache_clear()
    monkeypatch.setattr(base_models, "load_extractor", lambda *_: PixelExtractor(FEATURE_DIM))
    base = tiny_base(("beauty", "grace"))
    object.__setattr__(base, "extractor_digest", PixelExtractor.digest)
    with database.session() as session:
        registry.register(session, BlobStore(settings.resolved_storage_url), base, {"extractor": "pixels"}, {})
    return base


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    files = [tmp_path / name for name in ("a.png", "b.png")]
    for i, file in enumerate(files):
        pixel_HW3 = np.random.default_rng(i).integers(0, 256, (20, 20, 3), np.uint8)
        Image.fromarray(pixel_HW3).save(file)
    return files


def score(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object, exit_code: int = 0
) -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["paaplus", "score", *map(str, arguments)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ending:
        cli.main()
    printed = capsys.readouterr()
    assert ending.value.code == exit_code, printed.err
    return printed.out, printed.err


@pytest.mark.parametrize("named", [(), ("--base-model", "tiny"), ("--base-model", "tiny@1")])
def test_default_and_named_base_models_score(
    base: BaseScorer,
    files: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    named: tuple[str, ...],
) -> None:
    rows = json.loads(score(monkeypatch, capsys, *files, *named, "--json")[0])
    assert [row["image"] for row in rows] == list(map(str, files))
    for row, file in zip(rows, files, strict=True):
        feature_1D = PixelExtractor(FEATURE_DIM).extract([decode_image(file.read_bytes())])
        expected_A = base.generic(base.project(feature_1D))[0]
        assert (row["base_model"], row["beauty"], row["grace"]) == ("tiny@1", *expected_A.tolist())


def test_unusable_file_is_told_and_the_others_are_scored(
    base: BaseScorer,
    files: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    out, err = score(monkeypatch, capsys, files[0], bad, files[1], "--json", exit_code=1)
    assert [row["image"] for row in json.loads(out)] == list(map(str, files))
    assert f"{bad}: not a JPEG, PNG or WebP" in err


def test_unknown_base_model_and_options_of_another_are_refused(
    base: BaseScorer, files: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = score(monkeypatch, capsys, *files, "--base-model", "lite9", exit_code=1)[1]
    assert "base model 'lite9' does not exist; known: tiny@1" in told
    told = score(monkeypatch, capsys, files[0], "--box", "0,0,1,1", exit_code=2)[1]
    assert "'--box': has no effect here" in told
