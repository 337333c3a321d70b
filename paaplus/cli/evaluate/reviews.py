"""`paaplus evaluate reviews`: what experts' reviews do for a tool's pseudo labels. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, print_json
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
    LimitOption,
    ScaleOption,
    SeedsOption,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
    show,
    write,
)


def reviews(
    data: DataOption,
    counts: Annotated[str, typer.Option(help="Numbers of reviews, with commas.")] = "0,25,50,100,200",
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Score points within which a label is accepted.")] = 1.0,
    experts_per_tool: Annotated[int, typer.Option(min=1, help="People who teach one tool together, in turn.")] = 1,
    tuning: TuningOption = False,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write reviews.json and reviews.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Error of pseudo labels against an expert after n of their reviews, on images that nobody has seen.

    Test people's real ratings stand in for reviews; the labels come from a generic model of other people.
    """
    from paaplus.evaluation.reviews import run as evaluation
    from paaplus.evaluation.reviews.summary import HEADINGS, table, write_report

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
        out=out,
        tuning=tuning,
    )
    write(write_report, document, out)
    if as_json:
        print_json(document)
        return
    show(f"{data.name}: errors of labels, seeds {list(config.seeds)}", HEADINGS, table(document), no_wrap=True)
