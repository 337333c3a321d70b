"""`paaplus evaluate gate`: how often the gate promotes bad candidates and refuses good ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption
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
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "10,25,50,100",
    increments: Annotated[
        str | None,
        typer.Option(
            help="Answers per step, with commas: measure what people are served while they send honest or spoiled "
            "feedback in steps, and not single candidates."
        ),
    ] = None,
    life: Annotated[
        list[str] | None, typer.Option(help="With --increments: a kind of feedback; may be repeated. Default: all.")
    ] = None,
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
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write the report, as JSON and Markdown, into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Operating curve of the gate, with honest ratings and with ratings that are shuffled, all equal or reversed.

    The spoiled ratings are simulated. Whether a candidate is good is measured on test images that the person rated.
    """
    from paaplus.evaluation.gate import increments_report, report
    from paaplus.evaluation.gate.config import GateStudyConfig
    from paaplus.evaluation.gate.increments import run_increments
    from paaplus.evaluation.gate.lives import LIVES
    from paaplus.evaluation.gate.run import run_gate
    from paaplus.evaluation.learner import Learner

    config = GateStudyConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in learner or ("taste_vector:bayes",)),
        limit_people=limit_people,
        increments=numbers("increments", increments) if increments else (),
        lives=tuple(life or LIVES),
        fresh_support=fresh_support,
    )
    title = f"{data.name}: promotions, seeds {list(config.seeds)}"
    shown = increments_report if increments else report
    evaluate(
        run_increments if increments else run_gate,
        config,
        Report(
            shown.write_report, lambda document: [Shown(title, shown.HEADINGS, shown.table(document), no_wrap=True)]
        ),
        data=data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        cache=cache,
        out=out,
        as_json=as_json,
        tuning=tuning,
    )
