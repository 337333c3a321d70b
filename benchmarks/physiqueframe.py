"""PhysiqueFrame's speed compared with a network shaped like the published code, and the memory that loading takes.

    python benchmarks/physiqueframe.py [--repeats 7] [--checkpoint FILE] [--no-memory] [--record]

One image, one thread, after a warm-up; the two take turns, and medians are compared. Both have the same weights
(random, or a checkpoint's) and must give the same scores. Precisions and batch sizes are measured next, and on a CUDA
device if there is one. --record keeps the result in benchmarks/results with date, commit and load.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from recording import ROOT, run_conditions
from reference_shaped import reference_shaped
from torch import Tensor

from paaplus.models.physiqueframe.inputs import adjacency, heatmaps
from paaplus.models.physiqueframe.network.frame import Mesh, PhysiqueFrame, Posture
from paaplus.models.physiqueframe.network.geometry import collate, mesh_neighbours
from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint

NUM_VERTICES = 10_475
# Of scores: the exact search and the float32 one find different neighbours where distances are nearly equal.
SAME_SCORES, SAME_SCORES_SAME_NEIGHBOURS = 2e-2, 5e-5
CPU_BATCH, GPU_BATCH = 4, 32

LOAD = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint
load_checkpoint(Path(sys.argv[1]))
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = load_checkpoint(options.checkpoint)[0] if options.checkpoint else PhysiqueFrame().eval()
    load_before = os.getloadavg()[0]
    document: dict[str, object] = {"cpu": cpu_section(network, options.repeats)}
    document["cpu_precision"] = precision_section(options.repeats)
    if not options.no_memory and sys.platform == "linux":
        document["peak_mb_when_loading"] = loading_peak_mb()
    if torch.cuda.is_available():
        document["gpu"] = device_section(PhysiqueFrame().eval(), "cuda", GPU_BATCH)
    document["run"] = physiqueframe_conditions(options, load_before)
    print(json.dumps(document, indent=2))
    if options.record:
        folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-physiqueframe"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "physiqueframe.json").write_text(json.dumps(document, indent=2) + "\n")


def inputs(num_images: int) -> tuple[Tensor, Tensor, Posture, Mesh]:
    """Random inputs of the right shapes; the point clouds have the size of a body."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.normal(size=(num_images, 3, 224, 224)).astype(np.float32))
    maps = [heatmaps(rng.uniform(20, 204, (15, 2)), 224, 64) for _ in range(num_images)]
    heat, weight = (torch.from_numpy(np.stack(part)) for part in zip(*maps, strict=True))
    cloud = rng.uniform(-1, 1, (num_images, NUM_VERTICES, 3)) * (0.5, 0.9, 0.15)
    preference = torch.full((num_images, 5), 0.5)
    return image, preference, Posture(heat, weight, adjacency()), Mesh(torch.from_numpy(cloud.astype(np.float32)))


@torch.no_grad()
def cpu_section(network: PhysiqueFrame, repeats: int) -> dict[str, object]:
    """Seconds an image of each path, ratios, and how far apart the scores are."""
    slow = reference_shaped(network)
    given = image, preference, posture, mesh = inputs(1)
    cached = replace(mesh, grouping=network.group(mesh.point_BV3))
    points = network.config.points
    same = mesh_neighbours(mesh.point_BV3[0].numpy(), len(points.expansions), points.num_neighbours, rounded=True)
    rounded = replace(mesh, grouping=collate([same]))
    network.pack_for_cpu()
    reference_BA = slow(*given).score_BA
    differences = {
        "score_difference": float((network(*given).score_BA - reference_BA).abs().max()),
        "score_difference_same_neighbours": float(
            (network(image, preference, posture, rounded).score_BA - reference_BA).abs().max()
        ),
    }
    assert differences["score_difference"] <= SAME_SCORES, differences
    assert differences["score_difference_same_neighbours"] <= SAME_SCORES_SAME_NEIGHBOURS, differences
    seconds = timed(
        {
            "mesh_reference": lambda: slow.mesh_features(mesh),
            "mesh": lambda: network.mesh_features(mesh),
            "mesh_cached_neighbours": lambda: network.mesh_features(cached),
            "image_reference": lambda: slow.image_features(image),
            "image": lambda: network.image_features(image),
            "posture_reference": lambda: slow.posture_features(image, posture),
            "posture": lambda: network.posture_features(image, posture),
            "whole_reference": lambda: slow(*given),
            "whole": lambda: network(*given),
            "whole_cached_neighbours": lambda: network(image, preference, posture, cached),
        },
        repeats,
    )
    parts = ("mesh", "mesh_cached_neighbours", "image", "posture", "whole", "whole_cached_neighbours")
    ratios = {name: ratio(seconds[f"{name.split('_')[0]}_reference"], seconds[name]) for name in parts}
    return {**differences, "tolerance": [SAME_SCORES, SAME_SCORES_SAME_NEIGHBOURS], "seconds": seconds, "ratio": ratios}


@torch.no_grad()
def precision_section(repeats: int) -> dict[str, object]:
    """Seconds an image of whole networks with cached neighbours: precision and batch, and what they do to scores."""
    torch.manual_seed(0)
    exact, half = PhysiqueFrame().eval(), PhysiqueFrame().eval()
    half.load_state_dict(exact.state_dict())
    exact.pack_for_cpu()
    given = {}
    for num_images in (1, CPU_BATCH):
        image, preference, posture, mesh = inputs(num_images)
        given[num_images] = (image, preference, posture, replace(mesh, grouping=exact.group(mesh.point_BV3)))

    def lower(num_images: int) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return half(*given[num_images]).score_BA.float()

    names = {f"float32_{n}": partial(lambda n: exact(*given[n]).score_BA, n) for n in given}
    names |= {f"bfloat16_{n}": partial(lower, n) for n in given}
    each = {
        name: {kind: round(value / int(name.rsplit("_", 1)[1]), 4) for kind, value in found.items()}
        for name, found in timed(names, repeats).items()
    }
    difference = float((lower(CPU_BATCH) - exact(*given[CPU_BATCH]).score_BA).abs().max())
    return {
        "seconds_an_image": each,
        "ratio": {name: ratio(each["float32_1"], found) for name, found in each.items()},
        "score_difference_bfloat16": difference,
    }


def timed(paths: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Median wall and processor seconds of each; in turns, so that a change of load meets them all."""
    wall: dict[str, list[float]] = {name: [] for name in paths}
    processor: dict[str, list[float]] = {name: [] for name in paths}
    for repeat in range(repeats + 1):
        for name, path in paths.items():
            wall_start, processor_start = time.perf_counter(), time.process_time()
            path()
            if repeat:  # the first is to warm up
                wall[name].append(time.perf_counter() - wall_start)
                processor[name].append(time.process_time() - processor_start)
    return {
        name: {
            "wall": round(statistics.median(wall[name]), 4),
            "processor": round(statistics.median(processor[name]), 4),
        }
        for name in paths
    }


def ratio(reference: dict[str, float], ours: dict[str, float]) -> dict[str, float]:
    return {kind: round(reference[kind] / ours[kind], 2) for kind in reference}


def loading_peak_mb() -> float:
    """Most memory of a fresh process that loads a full-size checkpoint, torch itself included."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.pth"
        torch.save(PhysiqueFrame().state_dict(), path)
        result = subprocess.run(
            [sys.executable, "-c", LOAD, str(path)], capture_output=True, text=True, check=True, cwd=ROOT
        )
    return round(int(result.stdout) / 1000, 1)


@torch.no_grad()
def device_section(network: PhysiqueFrame, device: str, batch: int, num_batches: int = 10) -> dict[str, object]:
    """Images a second with cached neighbours on a device, and what bfloat16 does to scores."""
    image, preference, posture, mesh = inputs(batch)
    grouping = [(anchor.to(device), neighbour.to(device)) for anchor, neighbour in network.group(mesh.point_BV3)]
    network.to(device)
    given = (
        image.to(device), preference.to(device),
        Posture(posture.heatmap_BJMM.to(device), posture.weight_BJ.to(device), posture.adjacency_BJJ.to(device)),
        Mesh(mesh.point_BV3.to(device), grouping),
    )  # fmt: skip
    found: dict[str, object] = {"device": torch.cuda.get_device_name() if device == "cuda" else device, "batch": batch}
    scores = {}
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            scores[name] = network(*given).score_BA.float()
            wait_for(device)
            start = time.perf_counter()
            for _ in range(num_batches):
                network(*given)
            wait_for(device)
        found[f"images_per_s_{name}"] = round(num_batches * batch / (time.perf_counter() - start), 1)
    found["score_difference_bfloat16"] = float((scores["bfloat16"] - scores["float32"]).abs().max())
    return found


def wait_for(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def physiqueframe_conditions(options: argparse.Namespace, load_before: float) -> dict[str, object]:
    """`run_conditions` with weights, torch, processor and threads."""
    checkpoint = f" --checkpoint {options.checkpoint.name}" if options.checkpoint else ""
    return run_conditions(f"python benchmarks/physiqueframe.py --repeats {options.repeats}{checkpoint}") | {
        "weights": "checkpoint" if options.checkpoint else "random, seed 0",
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "num_threads": torch.get_num_threads(),
        "load_average_1m": [round(load_before, 1), round(os.getloadavg()[0], 1)],
    }


if __name__ == "__main__":
    main()
