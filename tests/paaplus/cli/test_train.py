"""Commands that train what many users start from: repeated, they make no second version."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paaplus.cli import main as cli
from paaplus.models import base_models as extractors
from paaplus.settings import get_settings
from tests.support.taste_data import PixelExtractor, simulate, write_folder

Train = Callable[..., tuple[Any, str]]


@pytest.fixture
def train(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    migrate_sqlite: Callable[[str], None],
) -> Train:
    """Run a command on a data folder; returns what it printed, read as JSON, and its notices."""
    monkeypatch.setenv("PAAPLUS_HOME", str(tmp_path / "var"))
    get_settings.cache_clear()
    migrate_sqlite(get_settings().resolved_database_url)
    folder = write_folder(tmp_path / "data", simulate(num_people=60, num_images=60))
    monkeypatch.setattr(extractors, "load_extractor", lambda *_: PixelExtractor(12))

    def call(*command: str, exit_code: int = 0) -> tuple[Any, str]:
        monkeypatch.setattr(sys, "argv", ["paaplus", *command, "--data", str(folder), "--json"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ending:
            cli.main()
        printed = capsys.readouterr()
        assert ending.value.code == exit_code, printed.err
        return None if exit_code else json.loads(printed.out), printed.err

    return call


COMMANDS = (("base-models", "train", "pixels"), ("priors", "train"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::paaplus.models.base_fit.SmallDataWarning")
def test_a_repeated_training_makes_no_second_version(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in COMMANDS:
        made, told = train(*command, "--idempotency-key", command[0])
        assert made["is_new"]
        assert "no new version" not in told
        again, told = train(*command)
        assert (again["is_new"], again["id"], again["version"]) == (False, made["id"], 1)
        assert "no new version" in told
    monkeypatch.setattr(extractors, "load_extractor", None)  # under the same key the work is not done again
    for command in COMMANDS:
        made, _ = train(*command, "--idempotency-key", command[0])
        assert made["is_new"]
        _, told = train(*command, "--scale", "1,8", "--idempotency-key", command[0], exit_code=1)
        assert "was used for another request" in told


def test_a_key_is_for_what_is_registered(train: Train, tmp_path: Path) -> None:
    command = ("base-models", "train", "physiqueframe", "--split", "val", "--idempotency-key", "k")
    _, told = train(*command, exit_code=2)
    assert "is registered; --split" in told
