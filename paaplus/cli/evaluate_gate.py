"""`paaplus evaluate gate`: how often the gate lets bad candidates live and refuses good ones. Needs no database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from paaplus.cli.common import JsonOption, console, notices, parse_scale, print_json
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings


def gate(
    data: Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")],
    k: Annotated[str, typer.Option(help="Numbers of ratings, with commas.")] = "10,25,50,100",
    seeds: Annotated[str, typer.Option(help="Seeds of splits, with commas.")] = "0,1,2",
    learner: Annotated[
        list[str] | None, typer.Option(help="adapter:strategy; may be repeated. Default: taste_vector:bayes.")
    ] = None,
    limit_people: Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")] = None,
    fresh_support: Annotated[
        bool,
        typer.Option("--fresh-support", help="People rate images that nobody rated before: half of the train images."),
    ] = False,
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
    out: Annotated[Path | None, typer.Option(help="Write gate.json and gate.md into this folder.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Operating curve of the gate: honest ratings, and ratings that are shuffled, all alike or turned around.

    Spoiled ones are an artefact, declared; what is true is measured on unseen images that the person rated.
    """
    import torch

    from paaplus.data.features import folder_features
    from paaplus.data.folder import read_folder
    from paaplus.evaluation import gate_curve as evaluation
    from paaplus.evaluation.gate_summary import HEADINGS, table, write_report
    from paaplus.evaluation.kshot import Learner
    from paaplus.evaluation.splits import load_split, split_folder, within_train_side
    from paaplus.models.base_models import load_extractor
    from paaplus.records import Scale

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    config = evaluation.GateCurveConfig(
        ks=_numbers("k", k),
        seeds=_numbers("seeds", seeds),
        learners=tuple(Learner.parse(text) for text in learner or ("taste_vector:bayes",)),
        limit_people=limit_people,
        fresh_support=fresh_support,
    )
    folder = read_folder(data, Scale(*parse_scale(scale)) if scale else None)
    make_split = load_split(split, data) if split else lambda seed: split_folder(folder, seed)
    if tuning:
        make_split = within_train_side(folder, make_split)
    extractor = load_extractor(base_model, weights, settings.device)
    with Progress(
        *Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn(), console=notices, transient=True
    ) as progress:
        features_task = progress.add_task(f"features by {base_model}", total=None)
        features_ID = folder_features(
            folder,
            extractor,
            cache or settings.home / "cache",
            progress=lambda done, total: progress.update(features_task, completed=done, total=total),
        )
        people_task = progress.add_task("test people", total=None)
        document = evaluation.run_gate_curve(
            folder,
            features_ID,
            extractor.digest,
            make_split,
            config,
            progress=lambda done, total: progress.update(people_task, completed=done, total=total),
            blocks=extractor.blocks,
        )
    document["config"].update(
        base_model=base_model, split=str(split) if split else "random, by person and scene", tuning=tuning
    )
    for file in write_report(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False)
    if as_json:
        print_json(document)
        return
    shown = Table(title=f"{data.name}: who goes live, seeds {list(config.seeds)}", box=None, header_style="bold")
    for heading in HEADINGS:
        shown.add_column(heading, no_wrap=True)
    for row in table(document):
        shown.add_row(*(escape(cell) for cell in row))
    console.print(shown)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"--{name} {text!r}: whole numbers with commas between") from None
