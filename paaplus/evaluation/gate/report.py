"""Report of the gate study: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.gate.spoiled_ratings import SPOIL
from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = (
    "learner",
    "version",
    "k",
    "rule",
    "bad promoted",
    "95 %",
    *SPOIL,
    "good refused",
    "95 %",
    "honest, worse, promoted",
)


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    rows = []
    for entry in document["summary"]:
        for rule in entry["good"]["refused"]:
            rows.append(
                (
                    entry["learner"],
                    entry["when"],
                    str(entry["k"]),
                    rule.replace("_", " "),
                    *_with_interval(entry["bad"]["live"][rule]),
                    *(_share(entry["origins"][origin]["worse_live"][rule]) for origin in SPOIL),
                    *_with_interval(entry["good"]["refused"][rule]),
                    _share(entry["honest_but_worse"]["live"][rule]),
                )
            )
    return rows


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
        "| worse | than the scores it would replace, on the person's real ratings of test images: squared error more "
        f"than {config['mse_tolerance']} higher, or SRCC more than {config['srcc_tolerance']} lower |",
        "| bad | trained on spoiled ratings (held-out ones included), and worse |",
        "| good | trained on honest ratings, and not worse |",
        "| plain | a rule that promotes a candidate if its squared error on held-out ratings is lower |",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
    ]
    return write_files(folder, "gate", document, "\n".join(lines))


def _share(share: dict[str, float] | None) -> str:
    return "-" if share is None else f"{share['share']:.1%}"


def _with_interval(share: dict[str, float] | None) -> tuple[str, str]:
    return (_share(share), "-" if share is None else f"{share['low']:.1%} {share['high']:.1%}")
