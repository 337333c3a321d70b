"""`paaplus evaluate matching`: what expert models and a quiz of pairs tell of a new user. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, notices, print_json
from paaplus.cli.evaluating import evaluate, numbers


def matching(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")],
    pairs: Annotated[str, typer.Option(help="Numbers of quiz answers, with commas.")] = "0,4,8,12",
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "5,10,25",
    experts: Annotated[str, typer.Option(help="Smaller model bases beside all train people.")] = "5,20,100",
    seeds: Annotated[str, typer.Option(help="Seeds of splits, with commas.")] = "0,1,2",
    limit_people: Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")] = None,
    tuning: Annotated[
        bool,
        typer.Option("--tuning", help="Split the train side again: for choosing, so that test people stay unseen."),
    ] = False,
    split: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Python file with split(seed, data=DIR); it is run."),
    ] = None,
    base_model: Annotated[str, typer.Option(help="lite2, lite, timm:NAME, or a name that timm knows.")] = "lite2",
    weights: Annotated[Path | None, typer.Option(exists=True, help="A file of weights for the backbone.")] = None,
    scale: Annotated[str | None, typer.Option(help="MIN,MAX of the ratings; default: as found.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where features are kept; default: `cache` in PAAPLUS_HOME.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write matching.json and matching.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train people are the experts, test people the new users: SRCC after quiz answers and first ratings.

    Pairs are answered as the person's real ratings of the two images say.
    """
    from paaplus.evaluation.matching import MatchingConfig, run_matching
    from paaplus.evaluation.matching_report import HEADINGS, table, write_report

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
        tuning=tuning,
    )
    for file in write_report("matching", document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False)
    if as_json:
        print_json(document)
        return
    shown = Table(*HEADINGS, title=f"{data.name}: SRCC per person, {document['config']['num_people']} people", box=None)
    for row in table(document):
        shown.add_row(*row)
    console.print(shown)
    for name, gain in document["quiz"].items():
        console.print(f"{name}: {gain['mean']:+.4f} [{gain['low']:+.4f}, {gain['high']:+.4f}]", highlight=False)
