"""The full-size network against the reference's numbers, where they are: `PAAPLUS_TEST_SHARED=DIR`.

One model for all cases, about 2 GB. The encoders see the same images and meshes in most cases and answer once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paaplus.models.physiqueframe.inputs import heatmaps
from paaplus.models.physiqueframe.network import frame
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.network.geometry import mesh_neighbours
from paaplus.models.physiqueframe.parity import whole_model
from paaplus.models.physiqueframe.parity.training import training_parity

FIXTURE = Path(os.environ.get("PAAPLUS_TEST_SHARED", "/nowhere")) / "parity" / "physiqueframe"

pytestmark = [
    pytest.mark.parity,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not FIXTURE.is_dir(), reason="PAAPLUS_TEST_SHARED names no folder with the parity fixture"),
]


@pytest.fixture(scope="module")
def fixture() -> whole_model.Fixture:
    return whole_model.Fixture(FIXTURE)


@pytest.fixture(scope="module", autouse=True)
def _neighbours_once() -> Iterator[None]:
    """Most cases have the same meshes, whose neighbours take two seconds of a core each."""
    found: dict[tuple[object, ...], Any] = {}

    def neighbours(point_V3: np.ndarray, *options: Any) -> Any:
        key = point_V3.tobytes(), *options
        if key not in found:
            found[key] = mesh_neighbours(point_V3, *options)
        return found[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(frame, "mesh_neighbours", neighbours)
        yield


@pytest.fixture(scope="module")
def network(fixture: whole_model.Fixture) -> PhysiqueFrame:
    network, report = whole_model.build_network(fixture)
    wrong(whole_model.key_parity(report, fixture), "keys")
    # CLIP stays as it is in all tests, and most cases show it the same images.
    network.image_encoder.forward = by_image(remembered(network.image_encoder.forward))
    return network


def remembered(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A forward pass without gradients that answers equal inputs from memory."""
    answers: dict[tuple[bytes, ...], Tensor] = {}

    @torch.no_grad()
    def answer(value: Tensor, grouping: Sequence[tuple[Tensor, Tensor]] = ()) -> Tensor:
        key = tuple(tensor.numpy().tobytes() for tensor in (value, *chain.from_iterable(grouping)))
        if key not in answers:
            answers[key] = forward(value, grouping) if grouping else forward(value)
        return answers[key]

    return answer


def by_image(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The forward pass for one image after the other: those of a batch are met again alone."""
    return lambda image_BCHW: torch.cat([forward(image_1CHW) for image_1CHW in image_BCHW.split(1)])


def wrong(measures: whole_model.Measures, about: str) -> None:
    """Print every difference, and fail with those beyond their tolerance."""
    print(json.dumps({about: measures}))
    assert measures
    assert {name: measure for name, measure in measures.items() if not measure["ok"]} == {}


def test_every_case_is_within_its_tolerance(network, fixture, monkeypatch):
    monkeypatch.setattr(network.posture_encoder, "forward", remembered(network.posture_encoder.forward))
    monkeypatch.setattr(network.mesh_encoder, "forward", remembered(network.mesh_encoder.forward))
    cases = whole_model.cases(fixture)
    assert {case.name for case in cases} >= set(fixture.verify.CASES)
    for case in cases:
        measures = whole_model.case_parity(network, fixture, case)
        assert "scores" in measures
        wrong(measures, case.name)


def test_derived_buffers_are_those_of_the_reference(network, fixture):
    measures = whole_model.buffer_parity(network, fixture)
    assert len(measures) == 50
    wrong(measures, "swin_buffers")


def test_heat_maps_are_those_of_the_recipe(fixture):
    points = torch.randint(-40, 270, (400, 15, 2), generator=torch.Generator().manual_seed(0)).numpy()
    expected, weight = fixture.recipe.heatmaps(points)
    for joint_J2, heat, seen in zip(points, expected, weight[..., 0], strict=True):
        ours, ours_seen = heatmaps(joint_J2, 224, 64)
        assert ours_seen.tolist() == seen.tolist()
        assert np.abs(ours - heat).max() <= 1e-7


def test_gradients_and_the_step_are_those_of_the_reference(network, fixture):
    wrong(training_parity(network, fixture), "training")  # last: it spends the network


MEASURE = """
import json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint

def peak_kb():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0])

before = peak_kb()  # of the libraries alone: it differs between machines
network, report = load_checkpoint(Path(sys.argv[1]))
network_kb = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values()) // 1024
print(json.dumps({
    "before_kb": before, "peak_kb": peak_kb(), "network_kb": network_kb,
    "loaded": len(report.loaded), "fits": report.fits,
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory from /proc")
def test_official_layout_loads_in_memory_for_one_model(fixture, tmp_path):
    with torch.device("meta"):
        buffers = dict(PhysiqueFrame(FrameConfig()).named_buffers())
    state = {}
    for name, shape in fixture.keys.items():
        if (own := whole_model.own_name(name)) in buffers and whole_model._is_derived(fixture.recipe, name):
            state[name] = buffers[own]
        else:
            state[name] = torch.zeros(shape, dtype=torch.int64 if name.endswith("tracked") else torch.float32)
    path = tmp_path / "official.pth"
    torch.save(state, path)
    result = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    path.unlink()
    measured = json.loads(result.stdout)
    print(json.dumps({"loading": measured}))
    assert measured["fits"]
    assert measured["loaded"] == 1131 - 38 - 50
    assert measured["peak_kb"] - measured["before_kb"] < 1.3 * measured["network_kb"]
