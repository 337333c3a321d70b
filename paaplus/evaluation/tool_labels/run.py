"""Run the tool label study: how well calibrated pseudo labels agree with people after n reviews.

In each draw, 5,000 images are held out (or half of the file, if it is smaller). People's ratings of n others are the
reviews. The platform's own calibration is fitted on them, and MAE and SRCC are measured on the held-out images, beside
the raw labels and the best constant. Few reviews vary most from draw to draw, so they are drawn most often.

With themes, the same reviews also fit a `ThemeCalibrator` on top of the calibration.

Shape letters: N = images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.bands import BANDS, Errors, band_errors, rare_themes
from paaplus.evaluation.checks import check_numbers
from paaplus.evaluation.tool_labels.label_file import LabelledImages
from paaplus.metrics import mae, srcc
from paaplus.scoring.calibration import fit_calibration
from paaplus.scoring.theme_calibration import fit_theme_calibrator

RAW, CONSTANT, CALIBRATED, THEMES = "raw", "constant", "calibrated", "calibrated+themes"
MAX_HELD_OUT = 5000
_MOST_DRAWS = 200
_REVIEWS_IN_ALL = 10_000  # of all draws of one n: bounds the time, whatever n is


@dataclass(frozen=True)
class ToolLabelConfig:
    """The numbers of reviews, and how often they are drawn; None: more often where there are fewer."""

    counts: tuple[int, ...] = (10, 50, 300, 1000)
    draws: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers("counts", self.counts, 1)
        if self.draws is not None and self.draws < 1:
            raise InvalidInput(f"{self.draws} draws: 1 or more")

    def draws_of(self, count: int) -> int:
        return self.draws or min(_MOST_DRAWS, max(10, _REVIEWS_IN_ALL // count))


def run_tool_labels(
    labelled: Sequence[LabelledImages],
    config: ToolLabelConfig,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure every pair of columns.

    Returns:
        A document, ready for JSON: `summary` (one entry per pair: `num_images`, `raw`, `constant`, and per number of
        reviews what the calibration gives), `bands` and `config`.

    Raises:
        InvalidInput: no pair has more images than the smallest number of reviews.
    """
    summary, bands = [], {}
    for done, one in enumerate(labelled):
        progress(done, len(labelled))
        entry, of_bands = _measure(one, config)
        summary.append(entry)
        bands.update(of_bands)
    progress(len(labelled), len(labelled))
    if not any(entry["reviews"] for entry in summary):
        raise InvalidInput(f"fewer images than {min(config.counts)} reviews and the held-out half need")
    return {"summary": summary, "bands": bands, "config": {**asdict(config), "counts": list(config.counts)}}


def _measure(one: LabelledImages, config: ToolLabelConfig) -> tuple[dict[str, Any], dict[str, Errors]]:
    """The entry of one pair, and its band errors: those of the raw labels and after the most reviews."""
    num_held_out = min(MAX_HELD_OUT, len(one.human_N) // 2)
    held_out = slice(0, num_held_out)
    rare = rare_themes(Counter(one.theme_N.tolist())) if one.theme_N is not None else frozenset[str]()
    reviews, bands = [], {f"{one.name}: {RAW}": _bands(one, one.tool_N, slice(None), rare)}
    for count in config.counts:
        if count > len(one.human_N) - num_held_out:
            continue
        drawn: dict[str, list[tuple[float, float, Errors]]] = {}
        slopes = []
        for draw in range(config.draws_of(count)):
            order = np.random.default_rng([config.seed, draw]).permutation(len(one.human_N))
            test, review = order[held_out], order[num_held_out : num_held_out + count]
            calibration, _ = fit_calibration(one.tool_N[review], one.human_N[review])
            slopes.append(float(calibration.apply(np.array([7.5]))[0] - calibration.apply(np.array([2.5]))[0]) / 5.0)
            label_B = {CALIBRATED: calibration.apply(one.tool_N[test])}
            if one.theme_N is not None:
                reviewed_N = calibration.apply(one.tool_N[review])
                calibrator = fit_theme_calibrator(one.theme_N[review], reviewed_N, one.human_N[review])
                label_B[THEMES] = calibrator.apply(label_B[CALIBRATED], one.theme_N[test])
            for kind, value_B in label_B.items():
                errors = _bands(one, value_B, test, rare)
                drawn.setdefault(kind, []).append((*_agreement(value_B, one.human_N[test]), errors))
        entry = {kind: _mean(values) for kind, values in drawn.items()}
        reviews.append({"count": count, "draws": config.draws_of(count), "slope": float(np.mean(slopes)), **entry})
        if count == max(config.counts):
            for kind, values in drawn.items():
                bands[f"{one.name}: {kind}, {count} reviews"] = _mean_bands([errors for *_, errors in values])
    raw_mae, raw_srcc = _agreement(one.tool_N, one.human_N)
    summary: dict[str, Any] = {
        "name": one.name,
        "num_images": len(one.human_N),
        "num_held_out": num_held_out,
        RAW: {"mae": raw_mae, "bias": float(np.mean(one.tool_N - one.human_N)), "srcc": raw_srcc},
        CONSTANT: {"mae": float(np.abs(one.human_N - np.median(one.human_N)).mean())},
        "reviews": reviews,
    }
    return summary, bands


def _agreement(label_N: np.ndarray, human_N: np.ndarray) -> tuple[float, float]:
    return mae(label_N, human_N), srcc(label_N, human_N)


def _bands(one: LabelledImages, label_B: np.ndarray, at: slice | np.ndarray, rare: frozenset[str]) -> Errors:
    themes = None if one.theme_N is None else one.theme_N[at].tolist()
    return band_errors(label_B, one.human_N[at], themes, rare)


def _mean(values: Sequence[tuple[float, float, Errors]]) -> dict[str, float]:
    """Means over draws with their standard errors."""
    mae_D, srcc_D = np.array([one[0] for one in values]), np.array([one[1] for one in values])
    root = max(len(values), 2) ** 0.5
    return {
        "mae": float(mae_D.mean()),
        "mae_se": float(mae_D.std(ddof=min(1, len(values) - 1)) / root),
        "srcc": float(srcc_D.mean()),
        "srcc_se": float(srcc_D.std(ddof=min(1, len(values) - 1)) / root),
    }


def _mean_bands(drawn: Sequence[Errors]) -> Errors:
    means: Errors = {}
    for band in BANDS:
        values = [value for errors in drawn if (value := errors[band]) is not None]
        means[band] = float(np.mean(values)) if values else None
    return means


def does_not_help(entry: dict[str, Any]) -> list[str]:
    """Sentences about where reviews do not help: no better than a constant, or worse than the raw labels."""
    sentences = []
    constant, raw = entry[CONSTANT]["mae"], entry[RAW]
    for one in entry["reviews"]:
        label = one[CALIBRATED]
        if label["mae"] > constant - label["mae_se"]:
            sentences.append(
                f"{entry['name']}, {one['count']} reviews: MAE {label['mae']:.3f}, no better than one constant for all "
                f"images ({constant:.3f})."
            )
        if label["mae"] > raw["mae"]:
            sentences.append(f"{entry['name']}, {one['count']} reviews: worse than the raw labels ({raw['mae']:.3f}).")
    return sentences


def config_of(document: dict[str, Any], file: Path) -> dict[str, Any]:
    """The document with the file's name in its `config`."""
    return {**document, "config": {**document["config"], "file": file.name}}
