"""Compare the network with the reference on a fixture folder that defines weights, cases and tolerances.

The folder's `recipe.py` makes weights and inputs, its `verify.py` lists cases and tolerances, and `expected.npz` has
the reference's numbers. Their definitions are not repeated here, so another folder of the same form works too.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.inputs import adjacency
from paaplus.models.physiqueframe.network.config import Compatibility, FrameConfig
from paaplus.models.physiqueframe.network.frame import Mesh, PhysiqueFrame, Posture
from paaplus.models.physiqueframe.weights.checkpoint import LoadReport, build
from paaplus.models.physiqueframe.weights.official_names import own_name

Measures = dict[str, dict[str, float]]  # by array: max_abs_diff, tolerance, ok (0 or 1)

# For stored arrays without a tolerance in verify.py.
_OWN_TOLERANCE = {"image_adapter": 1e-4, "proposals_for_loss": 1e-5}
_STATISTICS_TOLERANCE = 1e-4


class Fixture:
    """A fixture folder.

    Raises:
        InvalidInput: one of its files is missing.
    """

    def __init__(self, folder: Path) -> None:
        missing = [name for name in ("recipe.py", "verify.py", "state_dict_keys.json") if not (folder / name).is_file()]
        if missing:
            raise InvalidInput(f"parity fixture {folder} lacks {', '.join(missing)}")
        self.folder = folder
        self.recipe = _module(folder / "recipe.py", "recipe")
        self.verify = _module(folder / "verify.py", "verify")
        self.expected: Mapping[str, np.ndarray] = dict(np.load(folder / "expected.npz", allow_pickle=False))
        groups = self.json("state_dict_keys.json")["groups"]
        self.keys = {name: tuple(shape) for group in groups.values() for name, shape, _ in group}

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shapes of the tensors that the recipe makes (with `read`, this is a `TensorSource`)."""
        return {name: shape for name, shape in self.keys.items() if not _is_derived(self.recipe, name)}

    def read(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.recipe.tensor_for(name, self.keys[name])))

    def arrays(self, case: str) -> list[str]:
        """Names of the stored arrays of a case."""
        return [name.partition("/")[2] for name in self.expected if name.partition("/")[0] == case]


@dataclass(frozen=True)
class Case:
    """One forward pass of the fixture."""

    name: str
    inputs: dict[str, np.ndarray]
    compatibility: Compatibility


def build_network(fixture: Fixture) -> tuple[PhysiqueFrame, LoadReport]:
    """The full-size network with the fixture's weights, which are converted like an official file."""
    return build(fixture, FrameConfig(), str(fixture.folder))


def cases(fixture: Fixture) -> list[Case]:
    """Every case of verify.py, and the two variants that the README describes if they are stored."""
    found = []
    for name, (_, _, leak, exact, *_) in fixture.verify.CASES.items():
        switches = Compatibility(leak_first_sample_mask=leak, rounded_neighbours=not exact)
        found.append(Case(name, fixture.verify.inputs(name), switches))
    if "base" in fixture.verify.CASES:
        base, rounded = fixture.verify.inputs("base"), Compatibility(rounded_neighbours=True)
        if fixture.arrays("skeleton_misread"):
            found.append(Case("skeleton_misread", base, replace(rounded, misread_skeleton=True)))
        if fixture.arrays("single0"):
            found.append(Case("single0", {name: value[:1] for name, value in base.items()}, rounded))
    return found


def case_parity(network: PhysiqueFrame, fixture: Fixture, case: Case) -> Measures:
    """The difference of every stored array of a case that this network computes too."""
    with traced(network) as trace, torch.no_grad():
        network.config = replace(network.config, compatibility=case.compatibility)
        trace["scores"] = network(*network_inputs(case)).score_BA
    measures: Measures = {}
    for name in fixture.arrays(case.name):
        found = trace.get(name)
        if found is None:
            if name in fixture.verify.ATOL:  # required, and not computed
                measures[name] = _measure(float("inf"), _tolerance(fixture, name))
            continue
        value, want = found.double().numpy(), fixture.expected[f"{case.name}/{name}"].astype(np.float64)
        if name.startswith("stat_"):
            value, want = _statistics(value), want[:3]
        tolerance = _tolerance(fixture, name)
        measures[name] = _measure(float(np.abs(value - want).max()), tolerance)
    return measures


def network_inputs(case: Case) -> tuple[Tensor, Tensor, Posture, Mesh]:
    """A case as the network's arguments."""
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.inputs.items()}
    posture = Posture(tensors["heat"], tensors["weight"].squeeze(-1), tensors.get("adjacency", adjacency()))
    return tensors["image"], tensors["preference"], posture, Mesh(tensors["mesh"])


def buffer_parity(network: PhysiqueFrame, fixture: Fixture) -> Measures:
    """The backbone's derived buffers against `swin_buffers.json`: shape, sums and first values."""
    buffers = dict(network.named_buffers())
    measures: Measures = {}
    for name, want in fixture.json("swin_buffers.json").items():
        buffer = buffers[own_name(name)]
        value = buffer.double().flatten()
        same_kind = list(buffer.shape) == want["shape"] and str(buffer.dtype) == f"torch.{want['dtype']}"
        found = [value.sum().item(), value.abs().sum().item(), *value[: len(want["first"])].tolist()]
        wanted = [want["sum"], want["abs_sum"], *want["first"]]
        # Sums of thousands of float32 numbers are compared relative to the sum of their absolute values.
        scale = [max(1.0, want["abs_sum"])] * 2 + [1.0] * len(want["first"])
        difference = max(abs(f - w) / s for f, w, s in zip(found, wanted, scale, strict=True))
        measures[name] = _measure(difference if same_kind else float("inf"), 1e-6)
    return measures


def key_parity(report: LoadReport, fixture: Fixture) -> Measures:
    """Count the published keys that are not accounted for, and the wrong ones."""
    num_derived = len(fixture.keys) - len(fixture.shapes())
    num_known = len(report.loaded) + len(report.unused) + num_derived
    num_wrong = len(report.missing) + len(report.unexpected) + len(report.misshaped)
    return {
        "keys_unaccounted": _measure(float(abs(fixture.json("state_dict_keys.json")["total_entries"] - num_known)), 0),
        "keys_wrong": _measure(float(num_wrong), 0),
    }


@contextmanager
def traced(network: PhysiqueFrame) -> Iterator[dict[str, Tensor]]:
    """In the block, a forward pass writes its intermediate values into the dictionary, under the fixture's names."""
    trace: dict[str, Tensor] = {}
    heads = network.heads.values()
    logits: dict[nn.Module, Tensor] = {}

    def on(module: nn.Module, values: Callable[[Any, Any], Mapping[str, Tensor]]) -> Any:
        return module.register_forward_hook(lambda _, inputs, output: trace.update(values(inputs, output)))

    def on_head(module: nn.Module, inputs: Any, output: Tensor) -> None:
        logits[module] = output
        trace["concat"] = inputs[0]
        if len(logits) == len(heads):
            trace["logits"] = torch.cat([logits[head] for head in heads], 1)

    def soft_proposals(inputs: Any, output: Tensor) -> dict[str, Tensor]:
        memory_BTD, token_BJD, height, width = inputs
        similarity = network.posture_graph.proposal_generator.similarity(memory_BTD, token_BJD)
        row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
        centre = torch.stack([column.flatten() / width, row.flatten() / height], -1)
        return {"proposals": output, "proposals_for_loss": similarity @ centre}

    graph, swin, points = network.posture_graph, network.posture_encoder, network.mesh_encoder
    hooks = [
        on(network.image_encoder, lambda i, o: {"image_raw": o}),
        on(network.image_adapter.fc, lambda i, o: {"image_adapter": o}),
        on(network.image_norm, lambda i, o: {"image_fused": o}),
        on(swin, lambda i, o: {"swin_upsample_slice": o[:, ::32, ::3, ::3], "stat_swin_upsample": o}),
        on(swin.patch_embed, lambda i, o: {"stat_swin_patch_embed": o}),
        *(on(stage, _named(f"stat_swin_stage{n}")) for n, stage in enumerate(swin.layers)),
        on(graph.query_proj, lambda i, o: {"support_feature": i[0], "support_token": o}),
        on(graph.proposal_generator, soft_proposals),
        on(graph, lambda i, o: {"decoder_out": o.state_LBJD.transpose(1, 2), "decoder_points": torch.stack(o.points)}),
        on(network.posture_norm, lambda i, o: {"posture_raw": i[0], "posture_gn": o}),
        on(points, lambda i, o: {f"fps{n}": anchors for n, (anchors, _) in enumerate(i[1])}),
        *(on(stage, _named(f"stat_mesh_stage{n}")) for n, stage in enumerate(points.stages)),
        on(points.stages[0], lambda i, o: {"stat_mesh_embed": i[0]}),
        on(network.mesh_norm, lambda i, o: {"mesh_raw": i[0], "mesh_gn": o}),
        *(head.register_forward_hook(on_head) for head in heads),
    ]
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


def _named(name: str) -> Callable[[Any, Tensor], dict[str, Tensor]]:
    return lambda _, output: {name: output}


def _statistics(value: np.ndarray) -> np.ndarray:
    """Mean, standard deviation and largest absolute value; the other stored numbers depend on the memory order."""
    return np.array([value.mean(), value.std(), np.abs(value).max()])


def _tolerance(fixture: Fixture, name: str) -> float:
    if name.startswith("fps"):
        return 0.0
    if name.startswith("stat_"):
        return _STATISTICS_TOLERANCE
    return float(fixture.verify.ATOL.get(name, _OWN_TOLERANCE.get(name, 0.0)))


def _measure(difference: float, tolerance: float) -> dict[str, float]:
    return {"max_abs_diff": difference, "tolerance": tolerance, "ok": float(difference <= tolerance)}


def _is_derived(recipe: ModuleType, name: str) -> bool:
    return name.rsplit(".", 1)[-1] in recipe.BUFFERS


def _module(path: Path, name: str) -> ModuleType:
    """A fixture's module by path, under its short name, by which verify.py imports recipe.py."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
