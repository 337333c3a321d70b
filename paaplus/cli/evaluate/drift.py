"""`paaplus evaluate drift`: how soon a turned taste is found, and how often a steady one is taken for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, print_json
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
    LimitOption,
    ScaleOption,
    SeedsOption,
    SplitOption,
    WeightsOption,
    evaluate,
    numbers,
    write,
)


def drift(
    data: DataOption,
    ratings: Annotated[int, typer.Option(help="Ratings of each person, in all.")] = 100,
    increment: Annotated[int, typer.Option(help="Ratings of one increment.")] = 10,
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write drift.json and drift.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The drift trigger on steady people, and on people whose ratings are turned toward another person's half way."""
    from paaplus.evaluation.drift import run as evaluation
    from paaplus.evaluation.drift.summary import table, write_report

    config = evaluation.DriftCurveConfig(ratings, increment, numbers("seeds", seeds), limit_people)
    document = evaluate(
        evaluation.run_drift_curve,
        config,
        data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        cache=cache,
        out=out,
    )
    write(write_report, document, out)
    if as_json:
        print_json(document)
        return
    shown = Table(title=f"{data.name}: drift trigger, seeds {seeds}", box=None, show_header=False)
    for row in table(document):
        shown.add_row(*row)
    console.print(shown)
