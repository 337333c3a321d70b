"""What a GPU gives: extraction, PhysiqueFrame and stacks of users, with differences to the CPU, as one JSON document.

    python benchmarks/gpu.py --out FILE [--device cuda] [--small]

`benchmarks/gpu.sh` runs it after the tests that need a GPU. Images and people are simulated. Seconds are those of the
clock on the wall, after a warm-up. --small takes tiny sizes: it proves the script on a CPU (`--device cpu --small`).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from cohort import measure_on, show
from physiqueframe import device_section, wait_for
from PIL import Image
from recording import run_conditions

from paaplus.models.base_models import load_extractor
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame

IMAGE_PX = 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--tests", type=Path, help="JUnit file of the tests that ran before; its counts are kept")
    options = parser.parse_args()
    device, small = options.device, options.small
    document: dict[str, object] = {
        "run": run_conditions(f"python benchmarks/gpu.py --device {device}{' --small' if small else ''}"),
        "device": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "torch": torch.__version__,
    }
    if options.tests:
        document["tests"] = counts(options.tests)
    document["extraction_lite2"] = extraction(device, 4 if small else 256, 2 if small else 64)
    torch.manual_seed(0)
    frame = PhysiqueFrame().eval()
    document["physiqueframe"] = device_section(frame, device, 1 if small else 32, 1 if small else 10)
    stacks = []
    for taste_dim in (256,) if small else (256, 768):
        stacks += measure_on(device, taste_dim, [16] if small else [1024, 4096], 1 if small else 3)
    document["stacks"] = stacks
    show(stacks)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps({name: value for name, value in document.items() if name != "stacks"}, indent=2))


def counts(junit: Path) -> dict[str, int]:
    """How many tests ran, failed and were skipped."""
    from defusedxml import ElementTree

    suite = ElementTree.parse(junit).getroot().find("testsuite")
    assert suite is not None
    return {name: int(suite.get(name, "0")) for name in ("tests", "failures", "errors", "skipped")}


def extraction(device: str, num_images: int, batch: int) -> dict[str, object]:
    """Images a second of `lite2` by precision, preprocessing included and apart, and differences to the CPU."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (num_images, 16, 16, 3), np.uint8)
    images = [Image.fromarray(pixels).resize((IMAGE_PX, IMAGE_PX), Image.Resampling.BICUBIC) for pixels in coarse]
    on_device = load_extractor("lite2", device=device)
    found: dict[str, object] = {"num_images": num_images, "batch": batch, "image_px": IMAGE_PX}
    reference_BD = load_extractor("lite2").extract(images[:batch]).astype(np.float32)
    for name, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        with torch.autocast(device, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            feature_BD = on_device.extract(images[:batch]).astype(np.float32)
            wait_for(device)
            start = time.perf_counter()
            for group in batches(images, batch):
                on_device.extract(group)
            wait_for(device)
            found[f"images_per_s_{name}"] = round(num_images / (time.perf_counter() - start), 1)
        difference_BD = np.abs(feature_BD - reference_BD)
        scale = float(np.abs(reference_BD).mean())
        found[f"difference_to_cpu_{name}"] = {
            "largest": float(difference_BD.max()),
            "mean": float(difference_BD.mean()),
            "mean_feature": scale,
        }
    return found


def batches(images: Sequence[Image.Image], size: int) -> list[Sequence[Image.Image]]:
    return [images[start : start + size] for start in range(0, len(images), size)]


if __name__ == "__main__":
    main()
