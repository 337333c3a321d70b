"""`paaplus evaluate`: replay a data set and measure. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, notices, print_json
from paaplus.cli.evaluating import evaluate, numbers

app = typer.Typer(help="Replay a data set as if its people gave it, and measure.")


@app.callback()
def _root() -> None:
    """Replay a data set as if its people gave it, and measure."""


@app.command()
def kshot(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")],
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "0,10,25,50,100",
    seeds: Annotated[str, typer.Option(help="Seeds of splits, with commas.")] = "0,1,2",
    split: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A Python file with split(seed, data=DIR); it is run."),
    ] = None,
    adapter: Annotated[str, typer.Option(help="Adapter kind of the personal scores.")] = "taste_vector",
    strategy: Annotated[str, typer.Option(help="What trains it.")] = "bayes",
    also: Annotated[list[str] | None, typer.Option(help="Another adapter:strategy beside it; may be repeated.")] = None,
    limit_people: Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")] = None,
    base_model: Annotated[str, typer.Option(help="lite2, lite, timm:NAME, or a name that timm knows.")] = "lite2",
    weights: Annotated[Path | None, typer.Option(exists=True, help="A file of weights for the backbone.")] = None,
    scale: Annotated[str | None, typer.Option(help="MIN,MAX of the ratings; default: as found.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where features are kept; default: `cache` in PAAPLUS_HOME.")
    ] = None,
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
    from paaplus.evaluation import kshot as evaluation
    from paaplus.evaluation.report import HEADINGS, table, write_report

    config = evaluation.KShotConfig(
        ks=numbers("k", k),
        seeds=numbers("seeds", seeds),
        learners=tuple(evaluation.Learner.parse(text) for text in (f"{adapter}:{strategy}", *(also or ()))),
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
    )
    for file in write_report(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False)
    if as_json:
        print_json(document)
        return
    title = f"{data.name}: SRCC per person, mean over seeds {list(config.seeds)}"
    shown = Table(*HEADINGS, title=title, box=None, header_style="bold")
    for row in table(document):
        shown.add_row(*row)
    console.print(shown)
