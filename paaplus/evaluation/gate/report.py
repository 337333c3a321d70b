"""Report of the gate study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = (
    "learner",
    "increment",
    "life",
    "people",
    "worse at end",
    "95 %",
    "worse ever",
    "95 %",
    "share of time worse",
    "ever live",
    "live at end",
    "SRCC gained",
    "SRCC lost",
    "95 %",
)


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    return [
        (
            entry["learner"],
            str(entry["increment"]),
            entry["life"],
            str(entry["num_people"]),
            *_share_with_interval(entry["worse_at_end"]),
            *_share_with_interval(entry["worse_ever"]),
            *(f"{entry[name]['mean']:.1%}" for name in ("worse_share", "ever_live", "live_at_end")),
            f"{entry['srcc_gain']['mean']:+.3f}",
            f"{entry['srcc_lost']['mean']:+.4f}",
            f"{entry['srcc_lost']['low']:+.4f} {entry['srcc_lost']['high']:+.4f}",
        )
        for entry in document["summary"]
    ]


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `gate.json` and `gate.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    config = document["config"]
    lines = [
        f"# Gate study: {Path(config['data']).name}",
        "",
        f"Seeds {config['seeds']}. Intervals: bootstrap over people.",
        "",
        "| word | meaning |",
        "|---|---|",
        "| life | what a person sends over time; `paaplus/evaluation/gate/lives.py` |",
        f"| worse | than generic scores (`honest, then shuffled`: than what was served after 50), on the person's real "
        f"ratings of test images: squared error more than {config['mse_tolerance']} higher, or SRCC more than "
        f"{config['srcc_tolerance']} lower; after comparisons only SRCC |",
        "| SRCC gained | by what is served at the end, over generic scores |",
        "| SRCC lost | by what is served at the end, against a training on everything; negative: nothing is lost |",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
    ]
    return write_files(folder, "gate", document, "\n".join(lines))


def _share_with_interval(share: dict[str, float]) -> tuple[str, str]:
    return f"{share['mean']:.1%}", f"{share['low']:.1%} {share['high']:.1%}"
