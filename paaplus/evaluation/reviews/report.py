"""Report of the review study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    "lower than mean's MAE by",
    "95 %",
    "corrected",
)


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
    """Write `reviews.json` and `reviews.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    config = document["config"]
    team = config["experts_per_tool"]
    shared = f" {team} experts teach one tool together; the labels are measured against each." if team > 1 else ""
    missing = f" Nobody rated enough for {config['not_measured']} reviews." if config["not_measured"] else ""
    lines = [
        f"# Review study: {Path(config['data']).name}",
        "",
        "Test people act as experts; the tool is a generic model of other people. An expert accepts a label that is "
        f"at most {config['tolerance']:g} score points from the expert's rating. Errors in score points (0-10) on "
        f"test images, which nobody reviewed. Seeds {config['seeds']}. Intervals: bootstrap over people."
        f"{shared}{missing}",
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
