"""Tables of studies that measure several methods on the same people (matching and paradigm)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

HEADINGS = ("answered", "method", "SRCC", "gain over generic", "95 %", "ahead", "95 %", "improved")
_STATE_ENTRIES = {"state", "pairs", "ratings", "answers"}


def method_rows(document: dict[str, Any], is_shown: Callable[[str], bool]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`, one row per state and shown method."""
    rows: list[tuple[str, ...]] = []
    for state in document["summary"]:
        for method in (name for name in state if name not in _STATE_ENTRIES and is_shown(name)):
            values = state[method]
            rows.append(
                (
                    state["state"],
                    method,
                    f"{values['srcc']:.4f}",
                    *mean_and_interval(values["gain"]),
                    *mean_and_interval(values["ahead"]),
                    f"{values['share_improved']:.0%}",
                )
            )
    return rows


def mean_and_interval(value: dict[str, float]) -> tuple[str, str]:
    """A mean with its sign, and its 95 % interval."""
    return f"{value['mean']:+.4f}", f"{value['low']:+.4f} {value['high']:+.4f}"


def heading_lines(title: str, document: dict[str, Any], ahead: str) -> list[str]:
    """The head of a report: its title, and how the people were measured; `ahead` explains the column of that name."""
    config = document["config"]
    return [
        f"# {title}: {Path(config['data']).name}",
        "",
        f"SRCC per person on test images; mean over {config['num_people']} people of seeds {config['seeds']} "
        f"({config['num_dropped']} people dropped: constant ratings). Experts: all train people "
        f"({config['num_experts']}, by seed). Ahead: {ahead}. Intervals: paired bootstrap over people.",
        "",
    ]
