"""Every network gives the original's numbers: each case of each fixture folder, by the program that anybody can run.

One network by the command itself. For the others its function is called here, and the folder's `verify.py` runs in this
process: each other one imports torch once more.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import siblings as benchmark
from paaplus.models.siblings import parity
from paaplus.models.siblings.exposure_net import Lightness
from paaplus.models.siblings.load import read_network
from paaplus.models.siblings.parity import FUNCTIONS
from paaplus.models.siblings.tools import BUILDERS
from paaplus.tools.tool import ToolImage
from tests.support.run_script import run_script

SHARED = os.environ.get("PAAPLUS_TEST_SHARED")
SIBLINGS = Path(SHARED or ".") / "siblings"
ROOT = Path(__file__).resolve().parents[4]
OFFICIAL_MAP = SIBLINGS / "weights" / "wavelet_epoch_2_val_loss0.03022034629540784.pth"
SECONDS_OF_ONE = 900  # seven images through 87 M parameters on a core that is shared

needs_fixture = pytest.mark.skipif(
    not (SIBLINGS / "parity").is_dir(),
    reason="compares with the originals' numbers in siblings/parity of PAAPLUS_TEST_SHARED, which is not here",
)
needs_weights = pytest.mark.skipif(
    not OFFICIAL_MAP.is_file(),
    reason="reads the official file in siblings/weights of PAAPLUS_TEST_SHARED, which is not here",
)
HEAVY = ("eat", "icaa_det", "prompt_det", "elta", "p_ieanet", "tanet")


@pytest.fixture
def verified_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`verify.py` runs in this process. Cases with the same weights share them, and so the network that has them."""
    monkeypatch.syspath_prepend(str(SIBLINGS / "parity"))
    common = importlib.import_module("common")
    monkeypatch.setitem(sys.modules, "common", common)  # and not for the next test
    monkeypatch.setattr(common, "weights", cache(common.weights))
    monkeypatch.setattr(benchmark, "subprocess", SimpleNamespace(run=run_here))
    yield
    parity._last.clear()  # some have 350 MB


def run_here(command: list[str], *, cwd: Path, env: dict[str, str], **options: Any) -> CompletedProcess[str]:
    """`subprocess.run`, but for `verify.py`."""
    if command[1] == "verify.py":
        return run_script(cwd / command[1], command[2:], env)
    return subprocess.run(command, cwd=cwd, env=env, **options)


@pytest.fixture
def lightness_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What P-IEANet's costly branch says of an image is asked once of each network. It looks at each image alone."""
    forward = Lightness.forward

    def remembered(self: Lightness, rgb_B3HW: torch.Tensor, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        known: dict[bytes, tuple[torch.Tensor, dict[str, torch.Tensor]]] = vars(self).setdefault("known", {})
        told = []
        for rgb_13HW in rgb_B3HW.split(1):
            key = rgb_13HW.numpy().tobytes()
            if key not in known:
                own: dict[str, torch.Tensor] = {}
                known[key] = forward(self, rgb_13HW, own), own
            told.append(known[key])
        seen |= {name: torch.cat([own[name] for _, own in told]) for name in told[0][1]}
        return torch.cat([map_11HW for map_11HW, _ in told])

    monkeypatch.setattr(Lightness, "forward", remembered)


@needs_fixture
@pytest.mark.parity
@pytest.mark.timeout(SECONDS_OF_ONE)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in HEAVY else name for name in FUNCTIONS]
)
@pytest.mark.usefixtures("verified_here", "lightness_once")
def test_every_case_is_within_its_tolerance(name: str) -> None:
    result = benchmark.check((SIBLINGS / "parity" / name).resolve(), "", None)
    benchmark.print_table([result])  # the largest differences; `pytest -s` shows them
    assert (result.state, result.cases > 0) == ("ok", True), result.notes


@needs_fixture
@pytest.mark.parity
@pytest.mark.timeout(SECONDS_OF_ONE)
def test_command_tells_the_same(tmp_path: Path) -> None:
    name = "ntire_levels"  # the smallest
    command = [sys.executable, "benchmarks/siblings.py", "--fixture", str(SIBLINGS / "parity"), "--only", name]
    surroundings = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "report.json")],
        cwd=ROOT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    [result] = json.loads((tmp_path / "report.json").read_text())
    assert (result["name"], result["state"], result["cases"] > 0) == (name, "ok", True)


@needs_weights
@pytest.mark.parity
@pytest.mark.slow
@pytest.mark.timeout(SECONDS_OF_ONE)
def test_official_exposure_map_knows_dark_from_bright() -> None:
    """The tool over the official file. What the network itself says of other brightnesses is compared above."""
    network, known = read_network("exposure_map", OFFICIAL_MAP), {}

    def remembered(pixels_BCHW: torch.Tensor) -> torch.Tensor:
        """What the network says of an image, asked once: three seconds of a core each time."""
        key = pixels_BCHW.numpy().tobytes()
        if key not in known:
            known[key] = network(pixels_BCHW)
        return known[key]

    tool: Any = BUILDERS["exposure_map"]("official-1", lambda: remembered, "cpu", None)  # type: ignore[arg-type,return-value]
    photo = Image.open(SIBLINGS / "parity" / "p_ieanet" / "photo_low.png").convert("RGB")
    brighter = Image.fromarray((np.asarray(photo, np.uint16) * 5).clip(0, 255).astype(np.uint8))
    shown = [ToolImage(photo), ToolImage(brighter)]
    told = [float(tool.map(image).values_HW.astype(np.float64).mean()) for image in shown]
    assert told == pytest.approx([0.3335, -0.2575], abs=0.01)  # 8 bits move a map by .006 at most
    dark, lit = tool.score(shown)
    assert dark.scores["exposure"] < lit.scores["exposure"]
    assert dark.scores["under"] < 1.0 < 9.0 < dark.scores["over"]


@needs_weights
@pytest.mark.parity
def test_official_laion_head_is_one_vector() -> None:
    from paaplus.models.siblings import state
    from paaplus.tools.laion import collapse

    file = SIBLINGS / "weights" / "sac+logos+ava1-l14-linearMSE.pth"
    tensors = state.read(file)
    assert state.reader_of(tensors) == "laion"
    head = collapse({name: tensor.numpy() for name, tensor in tensors.items()})
    assert np.linalg.norm(head.vector_D) == pytest.approx(17.9956, abs=1e-3)
    assert head.bias == pytest.approx(5.236646, abs=1e-5)
    embedding_D = np.random.default_rng(0).normal(size=768)
    with torch.inference_mode():
        value = torch.from_numpy((embedding_D / np.linalg.norm(embedding_D)).astype(np.float32))
        for layer in (0, 2, 4, 6, 7):
            value = tensors[f"layers.{layer}.weight"] @ value + tensors[f"layers.{layer}.bias"]
    assert head.raw_score(embedding_D) == pytest.approx(float(value[0]), abs=1e-5)
    assert head.raw_score(7.0 * embedding_D) == pytest.approx(head.raw_score(embedding_D))
