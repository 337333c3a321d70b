"""From what reviews did for single people's labels to means, intervals, a table and files."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.evaluation.intervals import by_person, mean_with_interval
from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = (
    "order",
    "reviews",
    "people",
    "labels",
    "MAE",
    "95 %",
    "RMSE",
    "SRCC",
    "MAE under mean",
    "95 %",
    "corrected",
)
_MEAN = "mean"


@dataclass(frozen=True)
class Measured:
    """One person after `count` reviews in one order: by kind of label, the metrics on unseen images."""

    user_id: str
    order: str
    count: int
    errors: dict[str, dict[str, float]]  # NaN: not defined
    share_corrected: float
    uses_reward: bool
    calibration: str


def summary(measured: Sequence[Measured], counts: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per order and count that anybody was measured at; `labels` by kind, with intervals over people."""
    entries = []
    for order in dict.fromkeys(one.order for one in measured):
        for count in sorted(counts):
            some = [one for one in measured if (one.order, one.count) == (order, count)]
            if some:
                entries.append({"order": order, "count": count, **_entry(some)})
    return entries


def _entry(some: Sequence[Measured]) -> dict[str, Any]:
    corrected = [one.share_corrected for one in some if not math.isnan(one.share_corrected)]
    return {
        "num_people": len({one.user_id for one in some}),
        "share_corrected": float(np.mean(corrected)) if corrected else None,
        "share_with_reward_head": float(np.mean([one.uses_reward for one in some])),
        "share_of_calibrations": {
            kind: float(np.mean([one.calibration == kind for one in some]))
            for kind in sorted({one.calibration for one in some})
        },
        "labels": {kind: _label(some, kind) for kind in some[0].errors},
    }


def _label(some: Sequence[Measured], kind: str) -> dict[str, Any]:
    return {
        **{name: _mean(some, lambda one, name=name: one.errors[kind][name]) for name in some[0].errors[kind]},  # type: ignore[misc]
        "mae_under_mean": _mean(some, lambda one: one.errors[_MEAN]["mae"] - one.errors[kind]["mae"]),
        "mae_under_raw": _mean(some, lambda one: one.errors["raw"]["mae"] - one.errors[kind]["mae"]),
        "mae_under_calibrated": _mean(some, lambda one: one.errors["calibrated"]["mae"] - one.errors[kind]["mae"]),
    }


def _mean(some: Sequence[Measured], read: Callable[[Measured], float]) -> dict[str, float] | None:
    """Mean over people with its bootstrap interval; None where it is defined for nobody."""
    values = by_person((one.user_id, value) for one in some if not math.isnan(value := read(one)))
    return mean_with_interval(values) if values else None


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    rows: list[tuple[str, ...]] = []
    for entry in document["summary"]:
        for kind, label in entry["labels"].items():
            rows.append(
                (
                    entry["order"],
                    str(entry["count"]),
                    str(entry["num_people"]),
                    kind,
                    *_with_interval(label["mae"], ""),
                    _number(label["rmse"]),
                    _number(label["srcc"]),
                    *_with_interval(label["mae_under_mean"], "+"),
                    "-" if entry["share_corrected"] is None else f"{entry['share_corrected']:.0%}",
                )
            )
    return rows


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `reviews.json` and `reviews.md`; returns what was written.

    Raises:
        InvalidInput: `folder` is a file.
    """
    config = document["config"]
    team = config["experts_per_tool"]
    shared = f" {team} experts teach one tool together, each in turn, and are judged by themselves." if team > 1 else ""
    missing = f" Nobody rated enough for {config['not_measured']} reviews." if config["not_measured"] else ""
    lines = [
        f"# What reviews do for pseudo labels, on {Path(config['data']).name}",
        "",
        "Real people's ratings stand in for an expert's reviews; the labels are those of a generic model of other "
        f"people. Within {config['tolerance']:g} points a label is accepted. Errors in score points (0-10) on images "
        f"that were not reviewed and that the generic model has not seen; seeds {config['seeds']}; intervals: "
        f"bootstrap over people.{shared}{missing}",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
    ]
    return write_files(folder, "reviews", document, "\n".join(lines))


def _number(value: dict[str, float] | None) -> str:
    return "-" if value is None else f"{value['mean']:.3f}"


def _with_interval(value: dict[str, float] | None, sign: str) -> tuple[str, str]:
    if value is None:
        return "-", "-"
    return f"{value['mean']:{sign}.3f}", f"{value['low']:{sign}.3f} {value['high']:{sign}.3f}"
