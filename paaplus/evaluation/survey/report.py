"""Report of the survey study: JSON and Markdown tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("survey", "k", "without", "with", "gain", "95 %", "improved", "people")
_ENCODER_HEADINGS = ("seed", "survey", "explained", "95 %", "of", "penalty of level / taste")


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`."""
    return [
        (
            entry["survey"],
            str(entry["k"]),
            f"{entry['without']:.4f}",
            f"{entry['with']:.4f}",
            f"{entry['gain']:+.4f}",
            f"{entry['gain_low']:+.4f} {entry['gain_high']:+.4f}",
            f"{entry['share_improved']:.0%}",
            str(entry["num_people"]),
        )
        for entry in document["summary"]
    ]


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `survey.json` and `survey.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    return write_files(folder, "survey", document, _markdown(document))


def _markdown(document: dict[str, Any]) -> str:
    config = document["config"]
    lines = [
        f"# Survey study: {Path(config['data']).name}",
        "",
        f"Base model {config.get('base_model', '?')}, split {Path(str(config.get('split', '?'))).name}, seeds "
        f"{config['seeds']}. SRCC per person on test images, mean over people and seeds. The interval is that of the",
        "gain within people: a paired bootstrap over people. Nobody was asked the surveys of pairs: the answers are",
        "worked out from the same people's real ratings. In `pairs_shuffled`, each person has another's answers.",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        "The part of people's deviation from the generic score that the answers explain, cross-validated over train",
        "people, in squared score points per image:",
        "",
        *markdown_table(_ENCODER_HEADINGS, _encoder_rows(document)),
    ]
    return "\n".join(lines) + "\n"


def _encoder_rows(document: dict[str, Any]) -> list[tuple[str, ...]]:
    return [
        (
            str(entry["seed"]),
            name,
            f"{metrics['gain']:+.4f}",
            f"{metrics['gain_low']:+.4f} {metrics['gain_high']:+.4f}",
            f"{metrics['of']:.3f}",
            f"{metrics['level']['penalty']} / {metrics['taste']['penalty']}",
        )
        for entry in document["encoders"]
        for name, metrics in entry.items()
        if isinstance(metrics, dict)
    ]
