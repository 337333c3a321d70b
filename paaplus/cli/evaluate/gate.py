"""`paaplus evaluate gate`: what people are served while they send honest or spoiled feedback."""

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
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
)


def gate(
    data: DataOption,
    increments: Annotated[str, typer.Option(help="Answers between two trainings, with commas.")] = "10",
    answers: Annotated[int, typer.Option(help="Ratings or comparisons that a person gives.")] = 100,
    life: Annotated[list[str] | None, typer.Option(help="A kind of feedback; may be repeated. Default: all.")] = None,
    seeds: SeedsOption = "0,1,2",
    learner: Annotated[
        list[str] | None, typer.Option(help="adapter:strategy; may be repeated. Default: taste_vector:bayes.")
    ] = None,
    limit_people: LimitOption = None,
    fresh_support: Annotated[
        bool,
        typer.Option("--fresh-support", help="People rate images that nobody rated before: half of the train images."),
    ] = False,
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
        Path | None, typer.Option(file_okay=False, help="Write the report, as JSON and Markdown, into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What people are served while they send honest or spoiled feedback, increment by increment.

    The spoiled feedback is simulated. Whether somebody is served worse scores is measured on test images that the
    person rated.
    """
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.gate.config import GateStudyConfig
    from paaplus.evaluation.gate.lives import LIVES
    from paaplus.evaluation.gate.report import HEADINGS, table, write_report
    from paaplus.evaluation.gate.run import run_gate
    from paaplus.evaluation.learner import Learner

    config = GateStudyConfig(
        seeds=numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in learner or ("taste_vector:bayes",)),
        limit_people=limit_people,
        increments=numbers("increments", increments),
        num_answers=answers,
        lives=tuple(life or LIVES),
        fresh_support=fresh_support,
    )
    title = f"{data.name}: what is served, seeds {list(config.seeds)}"
    evaluate(
        run_gate,
        config,
        Report(write_report, lambda document: [Shown(title, HEADINGS, table(document), dense=True)]),
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
        needs=Needs(num_ratings=config.num_answers, fresh_support=fresh_support),
        tuning=tuning,
    )
