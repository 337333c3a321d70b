"""`paaplus evaluate drift`: how soon the drift test finds a change of taste, and how often it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import DecimalOption, DelimiterOption, JsonOption, StrictOption
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
    LimitOption,
    Report,
    ScaleOption,
    SeedsOption,
    Shown,
    SplitOption,
    WeightsOption,
    evaluate,
    numbers,
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
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write drift.json and drift.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Test for drift on steady people, and on people whose ratings change to another person's half way."""
    from paaplus.evaluation.drift.config import DriftStudyConfig
    from paaplus.evaluation.drift.report import HEADINGS, table, write_report
    from paaplus.evaluation.drift.run import run_drift
    from paaplus.evaluation.feasible import Needs

    config = DriftStudyConfig(ratings, increment, numbers("seeds", seeds), limit_people)
    title = f"{data.name}: drift test, seeds {list(config.seeds)}"
    evaluate(
        run_drift,
        config,
        Report(write_report, lambda document: [Shown(title, HEADINGS, table(document))]),
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
        needs=Needs(num_ratings=ratings, num_people=2),
    )
