"""`paaplus evaluate matching`: what expert models and a quiz of pairs tell of a new user. Needs no database."""

from __future__ import annotations

from functools import partial
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
    TuningOption,
    WeightsOption,
    evaluate,
    numbers,
    show,
    write,
)


def matching(
    data: DataOption,
    pairs: Annotated[str, typer.Option(help="Numbers of quiz answers, with commas.")] = "0,4,8,12",
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "5,10,25",
    experts: Annotated[str, typer.Option(help="Smaller model bases beside all train people.")] = "5,20,100",
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
    tuning: TuningOption = False,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
    out: Annotated[Path | None, typer.Option(help="Write matching.json and matching.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train people are the experts, test people the new users: SRCC after quiz answers and first ratings.

    Pairs are answered as the person's real ratings of the two images say.
    """
    from paaplus.evaluation.matching.report import HEADINGS, table, write_report
    from paaplus.evaluation.matching.run import MatchingConfig, run_matching

    config = MatchingConfig(
        pairs=numbers("pairs", pairs),
        ks=numbers("k", k),
        num_experts=numbers("experts", experts) if experts else (),
        seeds=numbers("seeds", seeds),
        limit_people=limit_people,
    )
    document = evaluate(
        run_matching,
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
    write(partial(write_report, "matching"), document, out)
    if as_json:
        print_json(document)
        return
    show(f"{data.name}: SRCC per person, {document['config']['num_people']} people", HEADINGS, table(document))
    for name, gain in document["quiz"].items():
        console.print(f"{name}: {gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]", highlight=False)
