"""`paaplus evaluate drift`: how soon a turned taste is found, and how often a steady one is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, print_json
from paaplus.cli.evaluating import evaluate, numbers


def drift(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")],
    ratings: Annotated[int, typer.Option(help="Ratings of each person, in all.")] = 100,
    increment: Annotated[int, typer.Option(help="Ratings of one increment.")] = 10,
    seeds: Annotated[str, typer.Option(help="Seeds of splits, with commas.")] = "0,1,2",
    limit_people: Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")] = None,
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
    out: Annotated[Path | None, typer.Option(help="Write drift.json and drift.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The drift trigger on steady people, and on people whose ratings are turned toward another person's half way."""
    from paaplus.evaluation import drift_curve as evaluation

    config = evaluation.DriftCurveConfig(ratings, increment, numbers("seeds", seeds), limit_people)
    document = evaluate(
        evaluation.run_drift_curve,
        config,
        data,
        split=split,
        base_model=base_model,
        weights=weights,
        scale=scale,
        cache=cache,
    )
    rows = evaluation.table(document)
    if out:
        out.mkdir(parents=True, exist_ok=True)
        (out / "drift.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        lines = ["# Drift trigger", "", "| | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows), ""]
        (out / "drift.md").write_text("\n".join(lines), encoding="utf-8")
    if as_json:
        print_json(document)
        return
    shown = Table(title=f"{data.name}: drift trigger, seeds {seeds}", box=None, show_header=False)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
