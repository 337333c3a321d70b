"""Report of the drift study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("measure", "value")


def table(document: dict[str, Any]) -> list[tuple[str, str]]:
    """The summary as rows of text under `HEADINGS`."""
    summary = document["summary"]
    delay = summary["median_ratings_until_found"]
    rows = [
        ("streams of each kind", str(summary["num_streams"])),
        (f"steady: false alarm within {document['config']['num_ratings']} ratings", f"{summary['false_alarms']:.1%}"),
        ("drift: alarm before it begins", f"{summary['false_alarms_before_drift']:.1%}"),
        ("drift: found after it begins", f"{summary['found']:.1%}"),
        ("drift: ratings until found, median", "-" if delay is None else f"{delay:.0f}"),
    ]
    for name, key in (("found", "after_found"), ("false alarm", "after_false_alarm")):
        end = summary[key]
        if end["num"]:
            rows += [
                (
                    f"{name}: {metric.upper()} at the end, without and with faster forgetting ({end['num']} streams)",
                    f"{end[f'{metric}_as_before']:.3f} {end[f'{metric}_forgetting_faster']:.3f}",
                )
                for metric in ("srcc", "mae")
            ]
    return rows


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `drift.json` and `drift.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    lines = [f"# Drift study: {Path(document['config']['data']).name}", ""]
    return write_files(folder, "drift", document, "\n".join([*lines, *markdown_table(HEADINGS, table(document)), ""]))
