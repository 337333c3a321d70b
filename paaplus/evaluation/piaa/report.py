"""Report of a protocol: our row beside the published ones, JSON and Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from paaplus.evaluation.report_files import markdown_table, write_files

HEADINGS = ("method", "year", "ratings", "SRCC", "+-", "generic", "gain", "95 %", "people", "source")


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Published rows, then ours, as rows of text under `HEADINGS`; a published gain only where its generic is known."""
    rows: list[tuple[str, ...]] = []
    for one in document["published"]:
        for k, value in one["srcc"].items():
            gain = "-" if one["generic"] is None else f"{value - one['generic']:+.3f}"
            generic = "-" if one["generic"] is None else f"{one['generic']:.3f}"
            row = (one["method"], str(one["year"]), k, f"{value:.3f}", "-", generic, gain, "-", "-", one["source"])
            rows.append(row)
    base = document["config"].get("base_model_name", "this base model")
    for entry in document["ours"]:
        if entry["srcc"] is None:
            rows.append((f"ours, {base}", "-", str(entry["k"]), *("undefined",) * 5, "0", "this run"))
            continue
        gain = entry.get("gain")
        rows.append(
            (
                f"ours, {base}",
                "-",
                str(entry["k"]),
                f"{entry['srcc']:.3f}",
                f"{entry['srcc_sd']:.3f}" if "srcc_sd" in entry else "-",
                f"{entry['generic']:.3f}" if "generic" in entry else "-",
                f"{gain['mean']:+.3f}" if gain else "-",
                f"{gain['low']:+.3f} {gain['high']:+.3f}" if gain else "-",
                str(entry["num_people"]),
                "this run",
            )
        )
    return rows


def notes(document: dict[str, Any]) -> list[str]:
    """Sentences that belong under the table."""
    protocol = document["config"]["protocol"]
    lines = [f"Protocol {protocol['name']}: {protocol['source']}.", protocol["note"]]
    lines += [f"PLCC of ours: {entry['plcc']:.3f}." for entry in document["ours"] if "plcc" in entry]
    lines += [f"{row['method']}: {row['protocol']}; read from {row['read_from']}." for row in document["published"]]
    if document["published"]:
        lines.append("Backbones and pre-training differ: the gain over the generic score says more than SRCC.")
    return lines


def write_report(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write `piaa.json` and `piaa.md`; returns the files.

    Raises:
        InvalidInput: `folder` is a file.
    """
    lines = [
        f"# {document['config']['dataset']}: personalized aesthetics",
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        *(f"* {note}" for note in notes(document)),
        "",
    ]
    return write_files(folder, "piaa", document, "\n".join(lines))
