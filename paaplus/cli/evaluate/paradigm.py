"""`paaplus evaluate paradigm`: an ablation of PAA+ by its stages, beside the usual approach."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

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
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
)


def paradigm(
    data: DataOption,
    answers: Annotated[
        str, typer.Option(help="Stops, with commas; the quiz is over at the second.")
    ] = "0,10,25,50,100",
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
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
        Path | None, typer.Option(file_okay=False, help="Write paradigm.json and paradigm.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """An ablation: PAA+, PAA+ without each of its stages, and the usual approach, with equally many answers.

    People of the training set are the experts. A pair is answered as the person's ratings of its two images say.
    """
    from paaplus.evaluation.paired_report import HEADINGS
    from paaplus.evaluation.paradigm.config import ParadigmConfig
    from paaplus.evaluation.paradigm.report import table, write_report
    from paaplus.evaluation.paradigm.run import run_paradigm

    config = ParadigmConfig(
        answers=numbers("answers", answers), seeds=numbers("seeds", seeds), limit_people=limit_people
    )

    def show(document: dict[str, Any]) -> Iterator[Shown]:
        title = f"{data.name}: SRCC per person, {document['config']['num_people']} people"
        yield Shown(title, HEADINGS, table(document))

    evaluate(
        run_paradigm,
        config,
        Report(write_report, show),
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
        tuning=tuning,
    )
