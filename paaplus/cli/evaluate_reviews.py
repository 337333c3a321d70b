"""`paaplus evaluate reviews`: what experts' reviews do for a tool's pseudo labels. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, notices, print_json
from paaplus.cli.evaluating import evaluate, numbers


def reviews(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")],
    counts: Annotated[str, typer.Option(help="Numbers of reviews, with commas.")] = "0,25,50,100,200",
    seeds: Annotated[str, typer.Option(help="Seeds of splits, with commas.")] = "0,1,2",
    limit_people: Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")] = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Score points within which a label is accepted.")] = 1.0,
    experts_per_tool: Annotated[int, typer.Option(min=1, help="People who teach one tool together, in turn.")] = 1,
    tuning: Annotated[
        bool,
        typer.Option("--tuning", help="Split the train side again: for choosing, so that test people stay unseen."),
    ] = False,
    split: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Python file with split(seed, data=DIR); it is run."),
    ] = None,
    base_model: Annotated[str, typer.Option(help="lite2, lite, timm:NAME, or a name that timm knows.")] = "lite2",
    weights: Annotated[Path | None, typer.Option(exists=True, help="A file of weights for the backbone.")] = None,
    scale: Annotated[str | None, typer.Option(help="MIN,MAX of the ratings; default: as found.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where features are kept; default: `cache` in PAAPLUS_HOME.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write reviews.json and reviews.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Error of pseudo labels against an expert after n of their reviews, on images that nobody has seen.

    Test people's real ratings stand in for reviews; the labels come from a generic model of other people.
    """
    from paaplus.evaluation import review_loop as evaluation
    from paaplus.evaluation.review_summary import HEADINGS, table, write_report

    config = evaluation.ReviewLoopConfig(
        counts=numbers("counts", counts),
        seeds=numbers("seeds", seeds),
        limit_people=limit_people,
        tolerance=tolerance,
        experts_per_tool=experts_per_tool,
    )
    document = evaluate(
        evaluation.run_review_loop,
        config,
        data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        cache=cache,
        tuning=tuning,
    )
    for file in write_report(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False)
    if as_json:
        print_json(document)
        return
    shown = Table(title=f"{data.name}: errors of labels, seeds {list(config.seeds)}", box=None, header_style="bold")
    for heading in HEADINGS:
        shown.add_column(heading, no_wrap=True)
    for row in table(document):
        shown.add_row(*row)
    console.print(shown)
