"""Long tails on real labels with a planted skew: the tail-weighted reservoir and theme calibration, on and off.

    python benchmarks/long_tails.py --labels icaa17k_clip_and_human.csv.gz [--seeds 40] [--buffer 60] [--json FILE]

Labels of ICAA17K: CLIP's eight shares of an image, and people's mean ratings. A stream of 2,000 images is skewed on
purpose: an image in the lowest or highest fifth is in it with a probability of .1. A reservoir keeps some of the
stream, uniform or tail-weighted; a ridge regression learns from what it keeps. The test images are not skewed. MAE is
that in the lowest and highest fifth (tails), of the middle and of all images. The second table calibrates CLIP's share
by reviews from the skewed stream, with and without themes.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
from pathlib import Path

import numpy as np

from paaplus.evaluation.bands import band_errors
from paaplus.metrics import mae, srcc
from paaplus.scoring.calibration import fit_calibration
from paaplus.scoring.theme_calibration import fit_theme_calibrator
from paaplus.strategies.replay import KeyedSample
from paaplus.strategies.replay_tail import TailSample, tail_weights

TARGETS = {"colour": "beautiful", "temperature": "warm", "colourfulness": "colourful", "harmony": "harmonious"}
NUM_STREAM, NUM_TEST, KEPT_TAIL = 2000, 4000, 0.1
RIDGE = 3.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--buffer", type=int, default=60)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with gzip.open(options.labels, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    share_ND = np.array([[float(row[f"clip_{kind}_{p}"]) for kind in ("share", "softmax") for p in TARGETS.values()]
                         for row in rows])  # fmt: skip
    share_ND = (share_ND - share_ND.mean(0)) / share_ND.std(0)
    themes = np.array([f"{row['kind']} / {row['colours']}" for row in rows])
    report = {}
    for target, prompt in TARGETS.items():
        human_N = np.array([float(row[f"human_{target}"]) for row in rows])
        tool_N = np.clip(5 + share_ND[:, list(TARGETS.values()).index(prompt)] * 10 / 6, 0, 10)
        runs = [measure(seed, share_ND, tool_N, human_N, themes, options.buffer) for seed in range(options.seeds)]
        report[target] = {
            pair: {name: compare([run[pair] for run in runs], name) for name in ("tails", "middle", "all", "srcc")}
            for pair in ("reservoir", "themes")
        }
    for pair, off, on in (("reservoir", "uniform", "tail-weighted"), ("themes", "no theme", "themes")):
        print(f"{pair}: {off} -> {on} (difference +- standard error over {options.seeds} seeds)")
        for target, by_pair in report.items():
            cells = [
                f"{name} {one['off']:.3f} -> {one['on']:.3f} ({one['difference']:+.4f} +- {one['se']:.4f})"
                for name, one in by_pair[pair].items()
            ]
            print(f"  {target:14} {'; '.join(cells)}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def measure(
    seed: int, share_ND: np.ndarray, tool_N: np.ndarray, human_N: np.ndarray, themes: np.ndarray, size: int
) -> dict[str, tuple[dict[str, float], dict[str, float]]]:
    """Per pair (off, on), the errors on test images."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(human_N))
    test, rest = order[:NUM_TEST], order[NUM_TEST:]
    low, high = np.percentile(human_N, [20, 80])
    is_tail = (human_N[rest] <= low) | (human_N[rest] >= high)
    stream = rest[~is_tail | (rng.random(len(rest)) < KEPT_TAIL)][:NUM_STREAM]
    sequence_N = np.arange(1, len(stream) + 1)
    uniform, tail = KeyedSample(size, seed), TailSample(size, seed)
    uniform.offer(sequence_N)
    tail.offer_weighted(sequence_N, tail_weights(human_N[stream][:, None]))

    def errors(score_N: np.ndarray) -> dict[str, float]:
        bands = band_errors(score_N, human_N[test], cuts=(low, high))
        rare = [bands["rare_low"], bands["rare_high"]]
        return {
            "tails": float(np.mean([one for one in rare if one is not None])),
            "middle": bands["middle"] or 0.0,
            "all": mae(score_N, human_N[test]),
            "srcc": srcc(score_N, human_N[test]),
        }

    kept = [ridge(share_ND, human_N, stream[sample.sequence_K - 1])[test] for sample in (uniform, tail)]
    reviews = stream[:1000]
    calibration, _ = fit_calibration(tool_N[reviews], human_N[reviews])
    label_N = calibration.apply(tool_N)
    themed_N = fit_theme_calibrator(themes[reviews], label_N[reviews], human_N[reviews]).apply(label_N, themes)
    return {
        "reservoir": (errors(kept[0]), errors(kept[1])),
        "themes": (errors(label_N[test]), errors(themed_N[test])),
    }


def ridge(share_ND: np.ndarray, human_N: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Predictions for all images from the kept ones."""
    mean_D, mean = share_ND[kept].mean(0), human_N[kept].mean()
    x_ND = share_ND[kept] - mean_D
    weight_D = np.linalg.solve(x_ND.T @ x_ND + RIDGE * np.eye(x_ND.shape[1]), x_ND.T @ (human_N[kept] - mean))
    return np.clip(mean + (share_ND - mean_D) @ weight_D, 0.0, 10.0)


def compare(runs: list[tuple[dict[str, float], dict[str, float]]], name: str) -> dict[str, float]:
    off, on = (np.array([run[i][name] for run in runs]) for i in (0, 1))
    difference = on - off
    return {
        "off": float(off.mean()),
        "on": float(on.mean()),
        "difference": float(difference.mean()),
        "se": float(difference.std(ddof=1) / np.sqrt(len(runs))),
    }


if __name__ == "__main__":
    main()
