"""`paaplus evaluate reviews`: how fast reviews make pseudo labels agree with an expert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import DecimalOption, DelimiterOption, JsonOption, StrictOption, refuse_given
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    LimitOption,
    OptionalDataOption,
    Report,
    ScaleOption,
    SeedsOption,
    Shown,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
)
from paaplus.errors import InvalidInput


def reviews(
    context: typer.Context,
    data: OptionalDataOption = None,
    tool_labels: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Instead of --data: a CSV with labels of tools and of people."),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="Of --tool-labels: TOOL_COLUMN:HUMAN_COLUMN, with commas between pairs.")
    ] = None,
    standardize: Annotated[
        bool, typer.Option("--standardize", help="Of --tool-labels: the tool's columns are not on a scale of 0-10.")
    ] = False,
    counts: Annotated[
        str | None,
        typer.Option(help="Numbers of reviews, with commas; default 0,25,50,100,200, of --tool-labels 10,50,300,1000."),
    ] = None,
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
    tolerance: Annotated[float, typer.Option(min=0, help="Score points within which a label is accepted.")] = 1.0,
    experts_per_tool: Annotated[int, typer.Option(min=1, help="People who teach one tool together, in turn.")] = 1,
    tuning: TuningOption = False,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write reviews.json and reviews.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Error of pseudo labels against an expert after n of the expert's reviews, on images that nobody reviewed.

    Test people's ratings stand in for reviews. A generic model of other people makes the labels. With --tool-labels, a
    file has both: the labels of a tool and the mean ratings of people.
    """
    if (data is None) == (tool_labels is None):
        raise InvalidInput("one of --data and --tool-labels")
    if tool_labels is None:
        refuse_given(context, ("pairs", "standardize"), "it is for --tool-labels")
    else:
        of_file = ("tool_labels", "pairs", "standardize", "counts", "out", "as_json")
        others = [str(one.name) for one in context.command.params if one.name not in of_file]
        refuse_given(context, others, "it is for --data")
        from paaplus.cli.evaluate.tool_labels import evaluate_tool_labels

        given = numbers("counts", counts) if counts else None
        evaluate_tool_labels(tool_labels, given, pairs, standardize, out, as_json)
        return
    assert data is not None
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.reviews.config import ReviewStudyConfig
    from paaplus.evaluation.reviews.report import HEADINGS, table, write_report
    from paaplus.evaluation.reviews.run import run_reviews

    config = ReviewStudyConfig(
        counts=numbers("counts", counts or "0,25,50,100,200"),
        seeds=numbers("seeds", seeds),
        limit_people=limit_people,
        tolerance=tolerance,
        experts_per_tool=experts_per_tool,
    )
    title = f"{data.name}: errors of labels, seeds {list(config.seeds)}"
    evaluate(
        run_reviews,
        config,
        Report(write_report, lambda document: [Shown(title, HEADINGS, table(document), no_wrap=True)]),
        data=data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        delimiter=delimiter,
        decimal_mark=decimal_mark,
        strict=strict,
        cache=cache,
        out=out,
        as_json=as_json,
        seeds=config.seeds,
        needs=Needs(num_ratings=min(config.counts)),
        tuning=tuning,
    )
