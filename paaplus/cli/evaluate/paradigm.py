"""`paaplus evaluate paradigm`: the prevailing paradigm beside PAA+, stage by stage. Needs no database."""

from __future__ import annotations

from functools import partial
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
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write paradigm.json and paradigm.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Test people give the same number of answers, quiz pairs or ratings, under every method: SRCC at each stop.

    Train people are the experts. Pairs are answered as the person's real ratings of the two images say.
    """
    from paaplus.evaluation.matching.paradigm import ParadigmConfig, run_paradigm
    from paaplus.evaluation.matching.report import HEADINGS, table, write_report

    config = ParadigmConfig(
        answers=numbers("answers", answers), seeds=numbers("seeds", seeds), limit_people=limit_people
    )
    document = evaluate(
        run_paradigm,
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
    write(partial(write_report, "paradigm"), document, out)
    if as_json:
        print_json(document)
        return
    show(f"{data.name}: SRCC per person, {document['config']['num_people']} people", HEADINGS, table(document))
