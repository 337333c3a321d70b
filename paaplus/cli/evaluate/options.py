"""What every `paaplus evaluate` command does around its own measurement: options, data, progress, files, a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from paaplus.cli.common import console, notices, parse_scale, progress_bar
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

DataOption = Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")]
SeedsOption = Annotated[str, typer.Option(help="Seeds of splits, with commas.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")]
TuningOption = Annotated[
    bool, typer.Option("--tuning", help="Split the train side again: for choosing, so that test people stay unseen.")
]
SplitOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A Python file with split(seed, data=DIR); it is run."),
]
BaseModelOption = Annotated[str, typer.Option(help="lite2, lite, timm:NAME, or a name that timm knows.")]
WeightsOption = Annotated[Path | None, typer.Option(exists=True, help="A file of weights for the backbone.")]
ScaleOption = Annotated[str | None, typer.Option(help="MIN,MAX of the ratings; default: as found.")]
CacheOption = Annotated[Path | None, typer.Option(help="Where features are kept; default: `cache` in PAAPLUS_HOME.")]


def evaluate(
    run: Callable[..., dict[str, Any]],
    config: object,
    data: Path,
    *,
    split: Path | None,
    base_model: str,
    weights: Path | None,
    scale: str | None,
    cache: Path | None,
    out: Path | None,
    tuning: bool | None = None,
) -> dict[str, Any]:
    """Run one evaluation of `paaplus.evaluation` on a data folder, with progress; the document says on what.

    Args:
        run: takes the data, splits by seed, `config` and progress.
        config: handed to `run`.
        data: the folder.
        split: a Python file with `split(seed, data=DIR)`; None: at random, by person and scene.
        base_model: whose features.
        weights: another file for its backbone.
        scale: MIN,MAX of the ratings; None: as found.
        cache: of features; None: the one in PAAPLUS_HOME.
        out: the folder that the report will go into, made before anything is measured: hours are not lost to a typo.
        tuning: split the train side only; None: the command does not offer it.
    """
    import torch

    from paaplus.data.features import folder_features
    from paaplus.data.folder import read_folder
    from paaplus.evaluation.splits import load_split, split_folder, within_train_side
    from paaplus.evaluation.train_side import EvaluationData
    from paaplus.models.base_models import load_extractor
    from paaplus.records import Scale

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    folder = read_folder(data, Scale(*parse_scale(scale)) if scale else None)
    make_split = load_split(split, data) if split else lambda seed: split_folder(folder, seed)
    if tuning:
        make_split = within_train_side(folder, make_split)
    extractor = load_extractor(base_model, weights, settings.device)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with progress_bar(*columns) as progress:

        def tell(task: Any) -> Callable[[int, int], None]:
            return lambda done, total: progress.update(task, completed=done, total=total)

        features = progress.add_task(f"features by {base_model}", total=None)
        features_ID = folder_features(folder, extractor, cache or settings.home / "cache", progress=tell(features))
        people = progress.add_task("people", total=None)
        measured_on = EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
        document = run(measured_on, make_split, config, tell(people))
    document["config"].update(base_model=base_model, split=str(split) if split else "random, by person and scene")
    if tuning is not None:
        document["config"]["tuning"] = tuning
    return document


def write(report: Callable[[dict[str, Any], Path], list[Path]], document: dict[str, Any], out: Path | None) -> None:
    """Write a report into the folder `out`, and say which files it is; None: nothing was asked for."""
    for file in report(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False, markup=False, soft_wrap=True)


def show(
    title: str, headings: Sequence[str], rows: Iterable[Sequence[str]], *, no_wrap: bool = False, dense: bool = False
) -> None:
    """Print a table; `dense`: with one space between columns instead of two."""
    shown = Table(title=title, box=None, padding=(0, 1, 0, 0) if dense else (0, 1))
    for heading in headings:
        shown.add_column(heading, no_wrap=no_wrap)
    for row in rows:
        shown.add_row(*(escape(cell) for cell in row))
    console.print(shown)


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between.

    Raises:
        InvalidInput: something else.
    """
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InvalidInput(f"--{option} {text!r}: whole numbers with commas between") from None
