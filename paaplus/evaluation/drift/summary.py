"""From watched streams to shares of alarms and what they were worth, ready for JSON, a table and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from paaplus.evaluation.report_files import write_files
from paaplus.evaluation.stream.person_streams import DRIFT, STEADY


@dataclass(frozen=True)
class Watched:
    """One stream: ratings seen until the first alarm (None: none), and the end without and with faster forgetting."""

    alarm_at: int | None
    srcc: tuple[float, float]
    mae: tuple[float, float]


def summary(found: dict[str, list[Watched]], drift_begins: int) -> dict[str, Any]:
    """False alarms of steady people; for drift, who is found and how soon; the end with and without the answer."""
    steady, drifting = found[STEADY], found[DRIFT]
    alarms = [w.alarm_at for w in drifting if w.alarm_at is not None and w.alarm_at > drift_begins]
    in_time = [w for w in drifting if w.alarm_at is not None and w.alarm_at > drift_begins]
    return {
        "num_streams": len(steady),
        "false_alarms": float(np.mean([w.alarm_at is not None for w in steady])),
        "false_alarms_before_drift": float(
            np.mean([w.alarm_at is not None and w.alarm_at <= drift_begins for w in drifting])
        ),
        "found": len(in_time) / len(drifting),
        "median_ratings_until_found": float(np.median(alarms)) - drift_begins if alarms else None,
        "after_false_alarm": _ends([w for w in steady if w.alarm_at is not None]),
        "after_found": _ends(in_time),
    }


def _ends(watched: Sequence[Watched]) -> dict[str, Any]:
    if not watched:
        return {"num": 0}
    return {
        "num": len(watched),
        **{
            f"{measure}_{way}": float(np.nanmean([getattr(w, measure)[i] for w in watched]))
            for measure in ("srcc", "mae")
            for i, way in enumerate(("as_before", "forgetting_faster"))
        },
    }


def table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as rows of text."""
    found = document["summary"]
    delay = found["median_ratings_until_found"]
    rows = [
        ("streams of each kind", str(found["num_streams"])),
        (f"steady: false alarm within {document['config']['num_ratings']} ratings", f"{found['false_alarms']:.1%}"),
        ("drift: alarm before it begins", f"{found['false_alarms_before_drift']:.1%}"),
        ("drift: found after it begins", f"{found['found']:.1%}"),
        ("drift: ratings until found, median", "-" if delay is None else f"{delay:.0f}"),
    ]
    for name, told in (("found", "after_found"), ("false alarm", "after_false_alarm")):
        end = found[told]
        if end["num"]:
            rows += [
                (
                    f"{name}: {measure.upper()} at the end, as before and forgetting faster ({end['num']})",
                    f"{end[f'{measure}_as_before']:.3f} {end[f'{measure}_forgetting_faster']:.3f}",
                )
                for measure in ("srcc", "mae")
            ]
    return rows


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `drift.json` and `drift.md`; returns what was written.

    Raises:
        InvalidInput: `folder` is a file.
    """
    rows = [f"| {what} | {value} |" for what, value in table(document)]
    return write_files(folder, "drift", document, "\n".join(["# Drift trigger", "", "| | |", "|---|---|", *rows, ""]))
