"""`paaplus evaluate kshot`: quality of personal scores after k ratings."""

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


def kshot(
    data: DataOption,
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "0,10,25,50,100",
    seeds: SeedsOption = "0,1,2",
    split: SplitOption = None,
    adapter: Annotated[str, typer.Option(help="Adapter kind of the personal scores.")] = "taste_vector",
    strategy: Annotated[str, typer.Option(help="What trains it.")] = "bayes",
    also: Annotated[list[str] | None, typer.Option(help="Another adapter:strategy beside it; may be repeated.")] = None,
    limit_people: LimitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write kshot.json, kshot.md and kshot.png into this folder.")
    ] = None,
    people_prior: Annotated[
        bool, typer.Option(help="Learn the directions in which people differ, into the base model's own prior.")
    ] = True,
    fresh_support: Annotated[
        bool,
        typer.Option("--fresh-support", help="People rate images that nobody rated before: half of the train images."),
    ] = False,
    answers: Annotated[
        str, typer.Option(help="ratings, likes (above the person's median), likes_cut (above the middle), or pairs.")
    ] = "ratings",
    tuning: TuningOption = False,
    as_json: JsonOption = False,
) -> None:
    """Quality of personal scores after k ratings: SRCC on held-out images, beside the generic score.

    All k ratings train. Likes and pairs are made of people's ratings.

    The base model knows no person and no image of the test side.
    """
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.kshot.config import KShotConfig
    from paaplus.evaluation.kshot.report import HEADINGS, note_on_few_ratings, table, write_report
    from paaplus.evaluation.kshot.run import run_kshot
    from paaplus.evaluation.learner import Learner

    config = KShotConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in (f"{adapter}:{strategy}", *(also or ()))),
        limit_people=limit_people,
        people_prior=people_prior,
        fresh_support=fresh_support,
        answers=answers,
    )

    with_prior = any(each.prior for each in config.learners)

    def show(document: dict[str, Any]) -> Iterator[Shown | str]:
        yield Shown(f"{data.name}: mean SRCC per person, seeds {list(config.seeds)}", HEADINGS, table(document))
        if note := note_on_few_ratings(document):
            yield note

    evaluate(
        run_kshot,
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
        tuning=tuning,
        seeds=config.seeds,
        needs=Needs(fresh_support=fresh_support, learned_prior=with_prior),
    )
