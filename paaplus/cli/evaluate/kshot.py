"""`paaplus evaluate kshot`: how well people are known after k ratings. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
    show,
    write,
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
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write kshot.json, kshot.md and kshot.png into this folder.")] = None,
    people_prior: Annotated[
        bool, typer.Option(help="Learn the directions in which people differ, into the base model's own prior.")
    ] = True,
    fresh_support: Annotated[
        bool,
        typer.Option("--fresh-support", help="People rate images that nobody rated before: half of the train images."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """How well people are known after k ratings: SRCC on held-out images, beside the generic score.

    All k ratings train. People and images of the test side are unknown to the base model.
    """
    from paaplus.evaluation.kshot import run as evaluation
    from paaplus.evaluation.kshot.report import HEADINGS, fewer, table, write_report
    from paaplus.evaluation.learner import Learner

    config = evaluation.KShotConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in (f"{adapter}:{strategy}", *(also or ()))),
        limit_people=limit_people,
        people_prior=people_prior,
        fresh_support=fresh_support,
    )
    document = evaluate(
        evaluation.run_kshot,
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
    title = f"{data.name}: SRCC per person, mean over seeds {list(config.seeds)}"
    show(title, HEADINGS, table(document))
    if note := fewer(document):
        console.print(note, highlight=False)
