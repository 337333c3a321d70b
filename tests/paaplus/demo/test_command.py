from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paaplus.demo import command, run
from paaplus.demo.stages import run as stages_run
from paaplus.errors import InvalidInput


def test_number_of_pictures_is_refused_for_data_of_ones_own(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="--variants is for the built-in set"):
        command.demo(data=tmp_path, folder=tmp_path / "demo", variants=5)
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(("given", "expected"), [(None, (20, 10)), (5, (5, 5))])
def test_number_of_pictures_of_a_scene_reaches_both_demos(
    given: int | None, expected: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    for module, name in ((run, "run_demo"), (stages_run, "run_stages")):
        monkeypatch.setattr(module, name, lambda *_, num_variants, **__: told.append(num_variants))
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    for stages in (False, True):
        command.demo(data=None, folder=tmp_path, stages=stages, people=None, increment=40, variants=given, seed=0)
    assert tuple(told) == expected
