"""Report of the tool label study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files
from paaplus.evaluation.tool_labels.run import CALIBRATED, CONSTANT, RAW, THEMES, does_not_help

HEADINGS = ("labels", "reviews", "draws", "MAE", "+-", "SRCC", "slope", "with themes: MAE", "SRCC")


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    rows: list[tuple[str, ...]] = []
    for entry in document["summary"]:
        raw = entry[RAW]
        name = f"{entry['name']}: raw (bias {raw['bias']:+.2f})"
        rows.append((name, "-", "-", f"{raw['mae']:.3f}", "-", f"{raw['srcc']:.3f}", "-", "-", "-"))
        rows.append((f"{entry['name']}: constant", "-", "-", f"{entry[CONSTANT]['mae']:.3f}", *("-",) * 5))
        for one in entry["reviews"]:
            label, themes = one[CALIBRATED], one.get(THEMES)
            rows.append(
                (
                    f"{entry['name']}: calibrated",
                    str(one["count"]),
                    str(one["draws"]),
                    f"{label['mae']:.3f}",
                    f"{label['mae_se']:.3f}",
                    f"{label['srcc']:.3f}",
                    f"{one['slope']:.2f}",
                    f"{themes['mae']:.3f}" if themes else "-",
                    f"{themes['srcc']:.3f}" if themes else "-",
                )
            )
    return rows


def negatives(document: dict[str, Any]) -> list[str]:
    """Sentences about where reviews do not help."""
    return [sentence for entry in document["summary"] for sentence in does_not_help(entry)]


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `tool_labels.json` and `tool_labels.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    lines = [
        f"# Tool label study: {document['config']['file']}",
        "",
        f"Labels of tools after n reviews by people, on images that nobody reviewed ({MAX_NOTE}). MAE in score points "
        "(0-10), mean over draws with its standard error. Slope: points of the calibrated label per point of the tool. "
        "A calibration never loses the tool's order, so SRCC cannot fall below the raw labels' by more than chance.",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        "## Where reviews do not help",
        "",
        *([f"* {sentence}" for sentence in negatives(document)] or ["Nowhere."]),
        "",
    ]
    return write_files(folder, "tool_labels", document, "\n".join(lines))


MAX_NOTE = "5,000 held out in each draw, or half of the file"
