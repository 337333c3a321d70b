"""`paaplus data simulated`: a data folder for a study of whoever has no ratings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from paaplus.cli.data import app
from paaplus.data.builtin_set import build
from paaplus.data.folder import read_folder
from paaplus.errors import InvalidInput


def test_it_is_a_data_folder_and_an_earlier_folder_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "PHOTOGRAPHS", build.PHOTOGRAPHS[:2])  # drawing takes most of the time
    monkeypatch.setattr(build, "SYNTHETIC_SCENES", build.SYNTHETIC_SCENES[:1])
    target = tmp_path / "people"
    done = CliRunner().invoke(app, ["simulated", str(target), "--json"], catch_exceptions=False)
    assert json.loads(done.stdout) == {"folder": str(target), "num_people": 72, "num_images": 60}
    read = read_folder(target)
    assert (len(read.people), len(read.images)) == (72, 60)
    with pytest.raises(InvalidInput, match="is not an empty folder"):
        CliRunner().invoke(app, ["simulated", str(target)], catch_exceptions=False)
    mine = tmp_path / "mine" / "images" / "mine.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(InvalidInput, match="is not an empty folder"):
        CliRunner().invoke(app, ["simulated", str(tmp_path / "mine")], catch_exceptions=False)
    assert mine.read_bytes() == b"mine"
