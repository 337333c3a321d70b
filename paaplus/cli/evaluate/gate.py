"""`paaplus evaluate gate`: how often the gate lets bad candidates live and refuses good ones. Needs no database."""

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


def gate(
    data: DataOption,
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "10,25,50,100",
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
    out: Annotated[Path | None, typer.Option(help="Write gate.json and gate.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Operating curve of the gate: honest ratings, and ratings that are shuffled, all alike or turned around.

    Spoiled ones are an artefact, declared; what is true is measured on unseen images that the person rated.
    """
    from paaplus.evaluation.gate import run as evaluation
    from paaplus.evaluation.gate.summary import HEADINGS, table, write_report
    from paaplus.evaluation.learner import Learner

    config = evaluation.GateCurveConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in learner or ("taste_vector:bayes",)),
        limit_people=limit_people,
        fresh_support=fresh_support,
    )
    document = evaluate(
        evaluation.run_gate_curve,
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
    show(f"{data.name}: who goes live, seeds {list(config.seeds)}", HEADINGS, table(document), no_wrap=True)
