"""Report of the paradigm study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.paired_report import HEADINGS, heading_lines, method_rows
from paaplus.evaluation.report_files import markdown_table, write_files


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`, one row per number of answers and method."""
    return method_rows(document, lambda _method: True)


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `paradigm.json` and `paradigm.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    lines = [
        *heading_lines("Paradigm study", document, "SRCC minus that of `paa+` with as many answers"),
        *markdown_table(HEADINGS, table(document)),
        "",
    ]
    return write_files(folder, "paradigm", document, "\n".join(lines))
