"""`paaplus evaluate stream`: all strategies on ratings that come in increments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from paaplus.cli.common import DecimalOption, DelimiterOption, JsonOption, StrictOption, set_object
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    DataOption,
    Report,
    ScaleOption,
    Shown,
    SplitOption,
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
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
    settings: Annotated[
        str | None,
        typer.Option("--set", help="JSON object of training settings, e.g. '{\"buffer_size\": 64}'."),
    ] = None,
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
        Path | None,
        typer.Option(file_okay=False, help="Write stream.json, stream.md and one PNG a scenario into this folder."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Quality, forgetting and cost of every strategy when ratings come in increments.

    Steady: one person's ratings. Drift is simulated: from the middle on, a rising share is another real person's.
    """
    from paaplus.configs import TrainingConfig
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.learner import Learner
    from paaplus.evaluation.person_streams import SCENARIOS
    from paaplus.evaluation.stream.config import ALL_LEARNERS, StreamConfig
    from paaplus.evaluation.stream.report import HEADINGS, table, title, write_report
    from paaplus.evaluation.stream.run import run_stream

    learners = [Learner.parse(text) for text in learner] if learner else list(ALL_LEARNERS)
    config = StreamConfig(
        learners=(*learners, *(Learner.parse(text) for text in also or ())),
        num_ratings=ratings,
        increment=increment,
        seeds=numbers("seeds", seeds),
        limit_people=people,
        scenarios=tuple(scenario) if scenario else SCENARIOS,
        training=TrainingConfig.from_dict(set_object(settings, '{"buffer_size": 64}') if settings else {}),
    )

    with_prior = any(each.prior for each in config.learners)

    def show(document: dict[str, Any]) -> Iterator[Shown]:
        for name, entries in document["summary"].items():
            yield Shown(title(document, name), HEADINGS, table(entries), no_wrap=True, dense=True)

    evaluate(
        run_stream,
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
        needs=Needs(num_ratings=ratings, num_people=2, learned_prior=with_prior),
        tuning=tuning,
    )
