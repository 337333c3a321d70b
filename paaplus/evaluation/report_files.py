"""The files of a study: its document as JSON and its report as Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paaplus.errors import InvalidInput
from paaplus.evaluation import bands


def write_files(folder: Path, name: str, document: dict[str, Any], markdown: str) -> list[Path]:
    """Write `NAME.json` and `NAME.md` into a folder, which is created if needed; returns the two files.

    If the document has an entry `bands`, its table follows the text.

    Raises:
        InvalidInput: `folder` is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.json", folder / f"{name}.md"]
    files[0].write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if rows := bands.rows(document):
        table = "\n".join(markdown_table(bands.HEADINGS, rows))
        markdown = f"{markdown.rstrip()}\n\n## Where ratings are rare\n\n{bands.EXPLANATION}\n\n{table}\n"
    files[1].write_text(markdown, encoding="utf-8", errors="backslashreplace")  # names of files need not be UTF-8
    return files


def markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a Markdown table."""
    return [
        "| " + " | ".join(headings) + " |",
        "|" + "---|" * len(headings),
        *("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
    ]


def _cell(text: str) -> str:
    """A cell that stays one, whatever people and columns are called."""
    return " ".join(text.split()).replace("|", "\\|") if "|" in text or "\n" in text else text
