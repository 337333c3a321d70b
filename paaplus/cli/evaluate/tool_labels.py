"""`paaplus evaluate reviews --tool-labels FILE`: pseudo labels of a file against people's ratings in it."""

from __future__ import annotations

from pathlib import Path

from paaplus.cli.common import console, notices, print_json
from paaplus.cli.evaluate.options import Shown, show_all
from paaplus.errors import InvalidInput


def evaluate_tool_labels(
    file: Path, counts: tuple[int, ...] | None, pairs: str | None, standardize: bool, out: Path | None, as_json: bool
) -> None:
    """Run the study on one file, write its report and print it."""
    from paaplus.evaluation.tool_labels.label_file import read_label_file
    from paaplus.evaluation.tool_labels.report import HEADINGS, negatives, table, write_report
    from paaplus.evaluation.tool_labels.run import ToolLabelConfig, config_of, run_tool_labels

    config = ToolLabelConfig(counts) if counts else ToolLabelConfig()
    labelled = read_label_file(file, _pairs(pairs), standardize)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    document = config_of(run_tool_labels(labelled, config), file)
    for written in write_report(document, out) if out else ():
        notices.print(f"wrote {written}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(document)
        return
    show_all(document, [Shown(f"{file.name}: labels after n reviews", HEADINGS, table(document), no_wrap=True)])
    for sentence in negatives(document):
        console.print(sentence, highlight=False, markup=False)


def _pairs(text: str | None) -> list[tuple[str, str]]:
    pairs = []
    for part in text.split(",") if text else ():
        tool, colon, human = part.strip().partition(":")
        if not (tool and colon and human):
            raise InvalidInput(f"--pairs {part!r:.80}: TOOL_COLUMN:HUMAN_COLUMN, with commas between pairs")
        pairs.append((tool, human))
    return pairs
