"""What the `paaplus evaluate` commands share: options, reading the data, progress, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.markup import escape
from rich.table import Table

from paaplus.cli.common import console, csv_format, notices, parse_scale, print_json, progress_bar, require_makeable
from paaplus.errors import InvalidInput
from paaplus.numbers import parse_wholes
from paaplus.settings import get_settings

if TYPE_CHECKING:
    from paaplus.data.folder import DataFolder
    from paaplus.evaluation.feasible import Needs
    from paaplus.evaluation.splits import MakeSplit

DataOption = Annotated[Path, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")]
OptionalDataOption = Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")]
SeedsOption = Annotated[str, typer.Option(help="Seeds of splits, with commas.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="At most this many test people a seed.")]
TuningOption = Annotated[
    bool, typer.Option("--tuning", help="Split the train side again, for choosing settings: test people stay unseen.")
]
SplitOption = Annotated[
    Path | None,
    typer.Option(exists=True, dir_okay=False, help="A Python file with split(seed, data=DIR); it is run."),
]
BaseModelOption = Annotated[str, typer.Option(help="lite2, lite, timm:NAME, or a name that timm knows.")]
WeightsOption = Annotated[
    Path | None, typer.Option(exists=True, dir_okay=False, help="A file of weights for the backbone.")
]
ScaleOption = Annotated[str | None, typer.Option(help="MIN,MAX of the ratings; default: as found.")]
CacheOption = Annotated[
    Path | None, typer.Option(file_okay=False, help="Folder of cached features; default: `cache` in PAAPLUS_HOME.")
]


class Shown(NamedTuple):
    """A table on the terminal. `dense`: one space between columns instead of two; `no_wrap`: cells keep one line."""

    title: str
    headings: Sequence[str]
    rows: Iterable[Sequence[str]]
    no_wrap: bool = False
    dense: bool = False


class Report(NamedTuple):
    """What becomes of a study's document.

    Attributes:
        write: writes the document's files into a folder and returns them.
        show: the tables to print, and lines of text below them.
    """

    write: Callable[[dict[str, Any], Path], list[Path]]
    show: Callable[[dict[str, Any]], Iterable[Shown | str]]


def evaluate(
    run: Callable[..., dict[str, Any]],
    config: object,
    report: Report,
    *,
    data: Path,
    split: Path | None,
    base_model: str,
    weights: Path | None,
    scale: str | None,
    delimiter: str,
    decimal_mark: str,
    strict: bool,
    cache: Path | None,
    out: Path | None,
    as_json: bool,
    seeds: Sequence[int],
    needs: Needs | None = None,
    tuning: bool | None = None,
) -> None:
    """Run a study of `paaplus.evaluation` on a data folder with a progress bar, write its report and print it.

    Args:
        run: takes the data, a split per seed, `config` and a progress function.
        config: the study's configuration.
        report: how the document is written and printed.
        data: the folder with images/ and ratings.csv.
        split: a Python file with `split(seed, data=DIR)`; None: a random split by person and scene.
        base_model: the extractor of the features.
        weights: another file of weights for it.
        scale: MIN,MAX of the ratings; None: the smallest and the largest rating of the file.
        delimiter: between cells of the folder's tables.
        decimal_mark: before decimals in them.
        strict: refuse what is skipped with a warning otherwise.
        cache: the folder of cached features; None: the one in PAAPLUS_HOME.
        out: the report's folder. It is made before the first feature, so that a wrong path fails before hours of work.
        as_json: print the document instead of tables.
        seeds: of the splits. Each is made, and what it needs is checked, before the first feature is computed.
        needs: what the study needs of each split; None: no more than every study.
        tuning: split the train side only; None: the command has no such option.
    """
    if out is not None:
        require_makeable(out)
    layout = csv_format(delimiter, decimal_mark)
    from paaplus.data.folder import read_folder
    from paaplus.data.readable_images import readable_images
    from paaplus.evaluation.feasible import Needs, check_feasible
    from paaplus.evaluation.splits import load_split, split_folder, within_train_side
    from paaplus.records import Scale

    folder = read_folder(data, Scale(*parse_scale(scale)) if scale else None, layout=layout, strict=strict)
    folder = readable_images(folder, strict=strict)
    make_split = load_split(split, data) if split else lambda seed: split_folder(folder, seed)
    if tuning:
        make_split = within_train_side(folder, make_split)
    check_feasible(folder, make_split, seeds, needs or Needs())
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    document = _run(run, config, folder, make_split, base_model, weights, cache)
    document["config"].update(base_model=base_model, split=str(split) if split else "random, by person and scene")
    if tuning is not None:
        document["config"]["tuning"] = tuning
    for file in report.write(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(document)
        return
    show_all(document, report.show(document))


def show_all(document: dict[str, Any], shown: Iterable[Shown | str]) -> None:
    """Print a document's tables and lines, and the errors where ratings are rare."""
    for one in (*shown, *_bands(document)):
        console.print(escape(one) if isinstance(one, str) else _table(one), highlight=False)


def _bands(document: dict[str, Any]) -> Iterable[Shown]:
    from paaplus.evaluation import bands

    rows = bands.rows(document)
    return [Shown("MAE where ratings are rare", bands.HEADINGS, rows, no_wrap=True, dense=True)] if rows else []


def _run(
    run: Callable[..., dict[str, Any]],
    config: object,
    folder: DataFolder,
    make_split: MakeSplit,
    base_model: str,
    weights: Path | None,
    cache: Path | None,
) -> dict[str, Any]:
    import torch
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    from paaplus.data.features import folder_features
    from paaplus.evaluation.train_side import EvaluationData
    from paaplus.models.base_models import load_extractor

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    extractor = load_extractor(base_model, weights, settings.device)
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    with progress_bar(*columns) as progress:

        def report_to(task: Any) -> Callable[[int, int], None]:
            return lambda done, total: progress.update(task, completed=done, total=total)

        features = progress.add_task(f"features by {base_model}", total=None)
        cache_dir = cache or settings.home / "cache"
        features_ID = folder_features(folder, extractor, cache_dir, progress=report_to(features))
        people = progress.add_task("people", total=None)
        measured_on = EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
        return run(measured_on, make_split, config, report_to(people))


def _table(shown: Shown) -> Table:
    table = Table(title=escape(shown.title), box=None, padding=(0, 1, 0, 0) if shown.dense else (0, 1))
    for heading in shown.headings:
        table.add_column(escape(heading), no_wrap=shown.no_wrap)
    for row in shown.rows:
        table.add_row(*(escape(cell) for cell in row))
    return table


def numbers(option: str, text: str) -> tuple[int, ...]:
    """Read whole numbers with commas between them.

    Raises:
        InvalidInput: something else.
    """
    try:
        return parse_wholes(text)
    except InvalidInput as error:
        raise InvalidInput(f"--{option} {text!r}: whole numbers with commas between: {error}") from None
