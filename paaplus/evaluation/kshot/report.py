"""Report of the k-shot study: JSON, a Markdown table and, if matplotlib is installed, a plot."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("k", "learner", "generic", "personal", "gain", "95 %", "better", "50/80/95 %", "s/user", "B/user")


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The summary as rows of text under `HEADINGS`, one row per k and learner."""
    config = document["config"]
    rows: list[tuple[str, ...]] = []
    for entry in document["summary"]:
        for learner in (config["personal"], *config["also"]):
            numbers = entry if learner == config["personal"] else entry[learner]
            rows.append(
                (
                    str(entry["k"]),
                    learner,
                    f"{entry['generic']:.3f}",
                    f"{numbers['personal']:.3f}",
                    f"{numbers['gain']:+.3f}",
                    f"{numbers['gain_low']:+.3f} {numbers['gain_high']:+.3f}",
                    f"{numbers['share_improved']:.0%}",
                    "/".join(f"{covered:.3f}"[1:] for covered in (numbers["coverage"] or {}).values()) or "-",
                    f"{numbers['seconds_per_user']:.3f}",
                    f"{numbers['bytes_per_user']:.0f}",
                )
            )
    return rows


def note_on_few_ratings(document: dict[str, Any]) -> str:
    """A sentence that counts the people who rated fewer than k train images; empty if there are none."""
    by_k: dict[int, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        by_k.setdefault(row["k"], []).append(row)
    counts = [
        f"{num_fewer} of {sum(row['num_people'] for row in rows)} at k = {k}"
        for k, rows in by_k.items()
        if (num_fewer := sum(row["num_fewer"] for row in rows))
    ]
    if not counts:
        return ""
    return f"People who rated fewer than k train images and were trained on all of them: {', '.join(counts)}."


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `kshot.json`, `kshot.md` and, if matplotlib is installed, `kshot.png`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    files = write_files(folder, "kshot", document, _markdown(document))
    if find_spec("matplotlib"):
        files.append(folder / "kshot.png")
        _plot(document, files[-1])
    return files


def _markdown(document: dict[str, Any]) -> str:
    config, rows = document["config"], document["rows"]
    lines = [
        f"# K-shot study: {Path(config['data']).name}",
        "",
        f"Mean SRCC per person on test images. Seeds {config['seeds']}; "
        f"{min(row['num_people'] for row in rows)} or more test people per seed; "
        f"at most {max(row['num_dropped'] for row in rows)} people dropped per seed (constant ratings or scores).",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        *((note, "") if (note := note_on_few_ratings(document)) else ()),
    ]
    return "\n".join(lines)


def _plot(document: dict[str, Any], file: Path) -> None:
    from matplotlib.figure import Figure  # pyplot would add global state and need a display

    config, summary = document["config"], document["summary"]
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    ks = [entry["k"] for entry in summary]
    for learner in (config["personal"], *config["also"]):
        entries = [entry if learner == config["personal"] else entry[learner] for entry in summary]
        axes.plot(ks, [entry["gain"] for entry in entries], marker="o", label=learner)
        axes.fill_between(
            ks, [entry["gain_low"] for entry in entries], [entry["gain_high"] for entry in entries], alpha=0.15
        )
    axes.axhline(0.0, color="grey", linewidth=0.8)
    axes.set_xlabel("ratings of the person (k)")
    axes.set_ylabel(f"gain in SRCC over generic ({summary[0]['generic']:.3f})")
    axes.legend()
    figure.savefig(file, dpi=120)
