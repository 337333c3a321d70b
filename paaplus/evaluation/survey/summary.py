"""From what was measured per person to what a survey gains, ready for JSON, tables and files.

Shape letters: C = conditions, K = values of k.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.evaluation.intervals import bootstrap_interval, by_person
from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("survey", "k", "without", "with", "gain", "95 %", "better", "people")


@dataclass(frozen=True)
class Told:
    """SRCC of one person without any survey, and under each condition; NaN where it is not defined or not asked."""

    user_id: str
    seed: int
    plain_K: np.ndarray
    told_CK: np.ndarray


def summary(told: Sequence[Told], conditions: Sequence[str], ks: Sequence[int]) -> list[dict[str, Any]]:
    """One entry per condition that anybody was asked under, and k. People are paired with themselves.

    Raises:
        InvalidInput: nobody can be judged.
    """
    entries = []
    for c, condition in enumerate(conditions):
        for j, k in enumerate(ks):
            kept = [one for one in told if np.isfinite([one.plain_K[j], one.told_CK[c, j]]).all()]
            if not kept:
                continue
            gains = by_person((one.user_id, float(one.told_CK[c, j] - one.plain_K[j])) for one in kept)
            low, high = bootstrap_interval(gains)
            seeds = sorted({one.seed for one in kept})
            entries.append(
                {
                    "survey": condition,
                    "k": k,
                    "without": _over_seeds(kept, seeds, lambda one, j=j: one.plain_K[j]),
                    "with": _over_seeds(kept, seeds, lambda one, c=c, j=j: one.told_CK[c, j]),
                    "gain": _over_seeds(kept, seeds, lambda one, c=c, j=j: one.told_CK[c, j] - one.plain_K[j]),
                    "gain_low": low,
                    "gain_high": high,
                    "share_improved": float(np.mean([gain > 0 for each in gains for gain in each])),
                    "num_people": len(kept),
                }
            )
    if not entries:
        raise InvalidInput(f"none of {len(told)} test people can be judged by SRCC")
    return entries


def _over_seeds(kept: Sequence[Told], seeds: Sequence[int], value: Any) -> float:
    """Mean over people of each seed, then over seeds."""
    return float(np.mean([np.mean([value(one) for one in kept if one.seed == seed]) for seed in seeds]))


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    return [
        (
            entry["survey"],
            str(entry["k"]),
            f"{entry['without']:.4f}",
            f"{entry['with']:.4f}",
            f"{entry['gain']:+.4f}",
            f"{entry['gain_low']:+.4f} {entry['gain_high']:+.4f}",
            f"{entry['share_improved']:.0%}",
            str(entry["num_people"]),
        )
        for entry in document["summary"]
    ]


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `survey.json` and `survey.md`; returns what was written.

    Raises:
        InvalidInput: `folder` is a file.
    """
    return write_files(folder, "survey", document, _markdown(document))


def _markdown(document: dict[str, Any]) -> str:
    config = document["config"]
    lines = [
        f"# What a survey tells: {Path(config['data']).name}",
        "",
        f"Base model {config.get('base_model', '?')}, split {Path(str(config.get('split', '?'))).name}, seeds "
        f"{config['seeds']}; SRCC per person on unseen images, mean over people and seeds; the interval is of the",
        "gain, over people drawn with replacement, each paired with themselves. The surveys of pairs were never asked:",
        "answers are worked out from real ratings of the same people. `pairs_shuffled` is the null: another's answers.",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        "What the answers explain of people's deviation from the generic score, cross-validated over train people, in",
        "squared score points an image:",
        "",
        "| seed | survey | explained | 95 % | of | strength, level / taste |",
        "|---|---|---|---|---|---|",
    ]
    for entry in document["encoders"]:
        for name, metrics in entry.items():
            if isinstance(metrics, dict):
                lines.append(
                    f"| {entry['seed']} | {name} | {metrics['gain']:+.4f} | {metrics['gain_low']:+.4f} "
                    f"{metrics['gain_high']:+.4f} | {metrics['of']:.3f} | {metrics['level']['penalty']} / "
                    f"{metrics['taste']['penalty']} |"
                )
    return "\n".join(lines) + "\n"
