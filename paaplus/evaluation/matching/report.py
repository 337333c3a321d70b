"""Evaluations of matching and of the paradigm as files: JSON and a Markdown table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("answered", "start", "srcc", "gain over generic", "95 %", "ahead", "95 %", "better")
_NOT_METHODS = {"state", "pairs", "ratings", "answers"}
_TITLES = {
    "matching": "Matching new users with expert models",
    "paradigm": "The prevailing paradigm and PAA+, stage by stage",
}
_AHEAD = {
    "matching": "`ahead`: of `generic` (the prior in force) with the same answers",
    "paradigm": "`ahead`: of `paa+` with as many answers",
}


def table(document: dict[str, Any], fewer: bool = False) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`, one per state and method; `fewer`: with fewer experts than all."""
    rows: list[tuple[str, ...]] = []
    for state in document["summary"]:
        for method in (name for name in state if name not in _NOT_METHODS and (" of " in name) == fewer):
            told = state[method]
            rows.append(
                (
                    state["state"],
                    method,
                    f"{told['srcc']:.4f}",
                    f"{told['gain']['mean']:+.4f}",
                    f"{told['gain']['low']:+.4f} {told['gain']['high']:+.4f}",
                    f"{told['ahead']['mean']:+.4f}",
                    f"{told['ahead']['low']:+.4f} {told['ahead']['high']:+.4f}",
                    f"{told['share_improved']:.0%}",
                )
            )
    return rows


def write_report(name: str, document: dict[str, Any], folder: Path) -> list[Path]:
    """Write NAME.json and NAME.md; returns what was written.

    Raises:
        InvalidInput: `folder` is a file.
    """
    return write_files(folder, name, document, _markdown(name, document))


def _markdown(name: str, document: dict[str, Any]) -> str:
    config = document["config"]
    lines = [
        f"# {_TITLES[name]}: {Path(config['data']).name}",
        "",
        f"SRCC per person on images that nobody here was trained on, mean over {config['num_people']} people of seeds "
        f"{config['seeds']} ({config['num_dropped']} dropped: constant ratings). Experts: all train people "
        f"({config['num_experts']} a seed). {_AHEAD[name]}. Intervals: paired bootstrap over "
        f"people.",
        "",
        *markdown_table(HEADINGS, table(document)),
    ]
    if fewer := table(document, fewer=True):
        lines += ["", "With fewer experts, drawn at random:", "", *markdown_table(HEADINGS, fewer)]
    if quiz := document.get("quiz"):
        rows = [(key, f"{told['mean']:+.4f}", f"{told['low']:+.4f} {told['high']:+.4f}") for key, told in quiz.items()]
        lines += ["", "What the quiz gains:", "", *markdown_table(("answers", "gain", "95 %"), rows)]
    if selected := document.get("selected"):
        rows = [(state, *(str(count) for count in kinds.values())) for state, kinds in selected.items()]
        lines += [
            "",
            "What was selected, people:",
            "",
            *markdown_table(("answered", *next(iter(selected.values()))), rows),
        ]
    return "\n".join(lines) + "\n"
