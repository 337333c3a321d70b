"""Report of the robustness study: JSON, Markdown, and a page with the images before and after."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from paaplus.evaluation.report_files import markdown_table, write_files
from paaplus.evaluation.robustness.run import SubjectReport
from paaplus.evaluation.robustness.search import Attack

HEADINGS = ("model", "aspect", "budget", "images", "BASR", "RASR", "MSI", "ART (edits)", "wants", "refused")
FILTER_HEADINGS = ("model", "filter", "mean rise", "RASR", "mostly")
_THUMBNAIL_PX = 200
_MAX_SHOWN = 12  # images of each model on the page, those that rose most
_QUALITY = 85

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left}
figure{display:inline-block;margin:.5em 1em 1em 0;vertical-align:top;max-width:420px}
img{margin-right:4px}
figcaption{font-size:13px}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}td,th{border-color:#444}}
"""


def document_of(reports: Sequence[SubjectReport]) -> dict[str, Any]:
    """One document of all models."""
    return {"subjects": [one.document for one in reports]}


def table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """The four measures as rows of text under `HEADINGS`."""
    rows: list[tuple[str, ...]] = []
    for one in document["subjects"]:
        measures = one["measures"]
        rows.append(
            (
                one["subject"],
                one["aspect"],
                f"{one['budget']:g}",
                str(one["num_images"]),
                _number(measures["basr"], ".1f"),
                _number(measures["rasr"], ".1f"),
                _number(measures["msi"], "+.3f"),
                _number(measures["art_edits"], ".0f"),
                one["wants"] or "-",
                str(len(one["refused"])),
            )
        )
    return rows


def filter_table(document: dict[str, Any]) -> list[tuple[str, ...]]:
    """Every filter alone as rows of text under `FILTER_HEADINGS`, the strongest first."""
    rows: list[tuple[str, ...]] = []
    for one in document["subjects"]:
        for name, values in sorted(one["filters"].items(), key=lambda item: -item[1]["mean_rise"]):
            row = (
                one["subject"],
                name,
                f"{values['mean_rise']:+.3f}",
                f"{values['rasr']:.0f}",
                values["direction"] or "-",
            )
            rows.append(row)
    return rows


def write_report(reports: Sequence[SubjectReport], folder: Path) -> list[Path]:
    """Write `robustness.json`, `robustness.md` and `robustness.html`; the same reports give the same bytes.

    Raises:
        InvalidInput: `folder` is a file.
    """
    document = document_of(reports)
    lines = [
        "# Robustness study",
        "",
        EXPLANATION,
        "",
        *(f"* {one['sentence']}" for one in document["subjects"]),
        "",
        *markdown_table(HEADINGS, table(document)),
        "",
        *markdown_table(FILTER_HEADINGS, filter_table(document)),
        "",
        *(
            f"* {one['subject']} refused {name}: {reason}"
            for one in document["subjects"]
            for name, reason in one["refused"].items()
        ),
        "",
    ]
    files = write_files(folder, "robustness", document, "\n".join(lines))
    files.append(folder / "robustness.html")
    files[-1].write_text(_page(reports), encoding="utf-8", errors="backslashreplace")  # names of files: see `printable`
    return files


EXPLANATION = (
    "Ordinary filters, at most two on an image, within a budget: the mean absolute change of the pixels (0-1). BASR: "
    "of the images at or below 5, the percentage that got above it. RASR: the percentage of scores that rose. MSI: the "
    "mean rise over all images, in score points (0-10). ART: edits scored per image until RASR stays within one "
    "percentage point of its highest."
)


def _page(reports: Sequence[SubjectReport]) -> str:
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Robustness study</title>',
        f"<style>{_STYLE}</style></head><body><h1>Robustness study</h1><p>{html.escape(EXPLANATION)}</p>",
        _html_table(HEADINGS, table(document_of(reports))),
    ]
    for report in reports:
        document = report.document
        parts.append(f"<h2>{html.escape(document['subject'])}: {html.escape(document['aspect'])}</h2>")
        parts.append(f"<p>{html.escape(document['sentence'])}</p>")
        shown = sorted(report.attacks, key=lambda one: one[1].clean - one[1].attacked)[:_MAX_SHOWN]
        parts += [_figure(name, attack) for name, attack in shown]
    return "".join(parts) + "</body></html>\n"


def _figure(name: str, attack: Attack) -> str:
    words = (
        f"{name}: {attack.clean:.2f} to {attack.attacked:.2f}, {attack.edit.words} (change {attack.edit.change:.3f})"
    )
    images = "".join(
        f'<img alt="{label}" src="data:image/jpeg;base64,{_thumbnail(image)}">'
        for label, image in (("before", attack.before), ("after", attack.after))
    )
    return f"<figure>{images}<figcaption>{html.escape(words)}</figcaption></figure>"


def _thumbnail(image: Image.Image) -> str:
    small = image.copy()
    small.thumbnail((_THUMBNAIL_PX, _THUMBNAIL_PX))
    data = io.BytesIO()
    small.save(data, "JPEG", quality=_QUALITY)
    return base64.b64encode(data.getvalue()).decode()


def _html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in headings)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _number(value: float | None, form: str) -> str:
    return "undefined" if value is None else format(value, form)
