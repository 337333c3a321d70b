"""`paaplus evaluate drift`: how soon a turned taste is found, and how often a steady one is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from paaplus.cli.common import JsonOption, console, print_json
from paaplus.cli.evaluating import (
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
)


def drift(
    data: DataOption,
    ratings: Annotated[int, typer.Option(help="Ratings of each person, in all.")] = 100,
    increment: Annotated[int, typer.Option(help="Ratings of one increment.")] = 10,
    seeds: SeedsOption = "0,1,2",
    limit_people: LimitOption = None,
    split: SplitOption = None,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
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
        out=out,
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
