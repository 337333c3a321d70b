"""`paaplus evaluate stream`: people's ratings in increments, every strategy beside every other. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, print_json
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
    ScaleOption,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
    show,
    write,
)


def stream(
    data: DataOption,
    learner: Annotated[
        list[str] | None,
        typer.Option(help="adapter:strategy; may be repeated. Default: all that there are."),
    ] = None,
    also: Annotated[
        list[str] | None, typer.Option(help="One more beside them, e.g. taste_vector:bayes+prior; may be repeated.")
    ] = None,
    ratings: Annotated[int, typer.Option(help="Ratings of each person, in all.")] = 100,
    increment: Annotated[int, typer.Option(help="Ratings of one increment.")] = 10,
    seeds: Annotated[str, typer.Option(help="Seeds of splits and training, with commas.")] = "0,1,2,3,4",
    people: Annotated[int, typer.Option(min=2, help="At most this many people a seed.")] = 8,
    scenario: Annotated[list[str] | None, typer.Option(help="steady or drift; may be repeated. Default: both.")] = None,
    tuning: TuningOption = False,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Write stream.json, stream.md and one PNG a scenario into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What each strategy knows, keeps and costs when ratings come in increments.

    Steady: one person's ratings. Drift, an artefact: from half way on, a rising share is another real person's.
    """
    from paaplus.evaluation.learner import Learner
    from paaplus.evaluation.stream import run as evaluation
    from paaplus.evaluation.stream.person_streams import SCENARIOS
    from paaplus.evaluation.stream.report import HEADINGS, table, title, write_report

    learners = [Learner.parse(text) for text in learner] if learner else list(evaluation.ALL_LEARNERS)
    config = evaluation.StreamConfig(
        learners=(*learners, *(Learner.parse(text) for text in also or ())),
        num_ratings=ratings,
        increment=increment,
        seeds=numbers("seeds", seeds),
        limit_people=people,
        scenarios=tuple(scenario) if scenario else SCENARIOS,
    )
    document = evaluate(
        evaluation.run_stream,
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
    for name, entries in document["summary"].items():
        show(title(document, name), HEADINGS, table(entries), no_wrap=True, dense=True)
