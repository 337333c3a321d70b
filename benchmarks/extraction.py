"""Features of an image by `lite` and `lite2`: processor milliseconds, beside timm's own networks run by PyTorch.

    python benchmarks/extraction.py [--images N] [--repeats N] [--record]

In turns in one process, with one thread: the extractor as it is served; the same networks of timm as PyTorch runs them
image by image; and in batches of 8. Preprocessing is the same for all and is part of all. The images are noise, which
costs what photographs of that size cost. Printed: the least of the repeats, the largest difference of the features.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from recording import record_rows

from paaplus.models import lite, lite2
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import FeatureBlock, Preprocessing

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 256, (384, 512, 3), np.uint8)) for _ in range(options.images)]
    rows = []
    for name, variants in (("lite", (lite.LITE0,)), ("lite2", (lite2.LITE1, lite2.LITE2))):
        extractor = load_extractor(name, device="cpu")
        networks = [(_of_timm(variant), lite.preprocessing(variant.size_px)) for variant in variants]
        ways: dict[str, Callable[[], np.ndarray]] = {
            "paaplus": lambda extractor=extractor: extractor.extract(images),
            "timm": lambda networks=networks: _by_timm(networks, images, 1),
            f"timm, batches of {BATCH}": lambda networks=networks: _by_timm(networks, images, BATCH),
        }
        cost = {way: float("inf") for way in ways}
        features = {way: run() for way, run in ways.items()}
        for _ in range(options.repeats):
            for way, run in ways.items():
                start = time.process_time()
                run()
                cost[way] = min(cost[way], 1000 * (time.process_time() - start) / len(images))
        difference = np.abs(_heads(extractor.blocks, features["paaplus"]) - features["timm"]).max()
        rows.append({"base model": name, **{f"{way}, ms": round(each, 1) for way, each in cost.items()},
                     "timm / paaplus": round(cost["timm"] / cost["paaplus"], 2),
                     "largest difference": float(f"{difference:.1g}")})  # fmt: skip
    for row in rows:
        print(row)
    if options.record:
        record_rows("extraction", f"python benchmarks/extraction.py --images {options.images}", rows)


def _of_timm(variant: lite.Variant) -> torch.nn.Module:
    return lite.load_network(variant, lite.packaged_weights(variant)).eval().requires_grad_(False)


@torch.no_grad()
def _by_timm(
    networks: list[tuple[torch.nn.Module, Preprocessing]], images: list[Image.Image], batch: int
) -> np.ndarray:
    """Features of the networks' heads, shape (images, features), as PyTorch computes them."""
    parts = []
    for network, preprocessing in networks:
        pixels = [preprocessing.pixels(image) for image in images]
        batches = [torch.cat(pixels[i : i + batch]) for i in range(0, len(pixels), batch)]
        parts.append(preprocessing.features(torch.cat([network(each) for each in batches])))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _heads(blocks: tuple[FeatureBlock, ...], feature_BD: np.ndarray) -> np.ndarray:
    """The columns of the networks' heads: timm gives no others."""
    ends = np.cumsum([block.size for block in blocks])
    parts = [
        feature_BD[:, end - block.size : end] for block, end in zip(blocks, ends, strict=True) if not block.standardize
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


if __name__ == "__main__":
    main()
