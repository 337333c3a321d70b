"""`paaplus evaluate drift`: how soon a turned taste is found, and how often a steady one is taken for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress
from rich.table import Table

from paaplus.cli.common import JsonOption, console, notices, parse_scale, print_json
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings


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
    import torch

    from paaplus.data.features import folder_features
    from paaplus.data.folder import read_folder
    from paaplus.evaluation import drift_curve as evaluation
    from paaplus.evaluation.splits import load_split, split_folder
    from paaplus.models.base_models import load_extractor
    from paaplus.records import Scale

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    config = evaluation.DriftCurveConfig(ratings, increment, _numbers(seeds), limit_people)
    folder = read_folder(data, Scale(*parse_scale(scale)) if scale else None)
    make_split = load_split(split, data) if split else lambda seed: split_folder(folder, seed)
    extractor = load_extractor(base_model, weights, settings.device)
    features_ID = folder_features(folder, extractor, cache or settings.home / "cache")
    with Progress(console=notices, transient=True) as progress:
        task = progress.add_task("streams", total=None)
        document = evaluation.run_drift_curve(
            folder,
            features_ID,
            extractor.digest,
            make_split,
            config,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            blocks=extractor.blocks,
        )
    document["config"].update(base_model=base_model, split=str(split) if split else "random, by person and scene")
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


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"--seeds {text!r}: whole numbers with commas between") from None
