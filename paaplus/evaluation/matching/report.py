"""Report of the matching study: JSON and Markdown tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.paired_report import HEADINGS, heading_lines, mean_and_interval, method_rows
from paaplus.evaluation.report_files import markdown_table, write_files


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The methods with all experts as rows of text under `HEADINGS`, one row per state and method."""
    return method_rows(document, lambda method: " of " not in method)


def few_experts_table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The methods with fewer experts, likewise."""
    return method_rows(document, lambda method: " of " in method)


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `matching.json` and `matching.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    return write_files(folder, "matching", document, _markdown(document))


def _markdown(document: dict[str, Any]) -> str:
    lines = [
        *heading_lines("Matching study", document, "SRCC minus that of `generic` with the same answers"),
        *markdown_table(HEADINGS, table(document)),
    ]
    if few := few_experts_table(document):
        lines += ["", "With fewer experts, drawn at random:", "", *markdown_table(HEADINGS, few)]
    if quiz := document["quiz"]:
        rows = [(name, *mean_and_interval(gain)) for name, gain in quiz.items()]
        lines += ["", "Gain of the quiz:", "", *markdown_table(("answers", "gain", "95 %"), rows)]
    selected = document["selected"]
    rows_of_counts = [(state, *(str(count) for count in kinds.values())) for state, kinds in selected.items()]
    headings = ("answered", *next(iter(selected.values())))
    lines += ["", "People per kind of match that was selected:", "", *markdown_table(headings, rows_of_counts)]
    return "\n".join(lines) + "\n"
