"""`paaplus evaluate piaa`: the field's benchmarks of personalized aesthetics by one command."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paaplus.cli.common import JsonOption, console, notices, parse_scale, print_json, progress_bar, refuse_given
from paaplus.cli.evaluate.options import (
    BaseModelOption,
    CacheOption,
    ScaleOption,
    Shown,
    WeightsOption,
    numbers,
    show_all,
)
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from paaplus.data.folder import DataFolder
    from paaplus.evaluation.train_side import EvaluationData
    from paaplus.models.extractor import Extractor


def piaa(
    context: typer.Context,
    dataset: Annotated[str, typer.Argument(help="flickr-aes, para, ...; another name for a folder of your own.")],
    data: Annotated[
        Path, typer.Argument(metavar="DIR", exists=True, file_okay=False, help="What `paaplus data import` wrote.")
    ],
    protocol: Annotated[str | None, typer.Option(help="Default: that of the data set.")] = None,
    train: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Another data folder for the base model.")
    ] = None,
    shots: Annotated[str | None, typer.Option(help="Other numbers of ratings, with commas.")] = None,
    draws: Annotated[int | None, typer.Option(min=1, help="Another number of draws.")] = None,
    people: Annotated[int | None, typer.Option(min=1, help="Another number of test people.")] = None,
    seed: Annotated[int, typer.Option(help="Of people and draws.")] = 0,
    base_model: BaseModelOption = "lite2",
    weights: WeightsOption = None,
    scale: ScaleOption = None,
    cache: CacheOption = None,
    out: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write piaa.json and piaa.md into this folder.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """One data set under its paper's protocol, our row beside published ones, with the gain over the generic score."""
    import torch
    from rich.progress import MofNCompleteColumn, Progress

    from paaplus.evaluation.piaa.protocols import protocol_of
    from paaplus.evaluation.piaa.report import HEADINGS, notes, table, write_report
    from paaplus.evaluation.piaa.run import check_division, run_generic, run_piaa
    from paaplus.models.base_models import load_extractor

    chosen = protocol_of(dataset, protocol).changed(numbers("shots", shots) if shots else None, draws, people)
    is_generic = chosen.name.startswith("generic")
    if is_generic:
        refuse_given(context, ("train", "shots", "draws", "people"), f"protocol {chosen.name} tests no people")
    if chosen.elsewhere and train is None:
        raise InvalidInput(f"protocol {chosen.name}: the base model is fitted on another data set: --train DIR")
    folder = _read(data, scale)
    other_folder = _read(train, None) if train else None
    if not is_generic:
        check_division(folder, other_folder, chosen, seed)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    extractor = load_extractor(base_model, weights, settings.device)
    with progress_bar(*Progress.get_default_columns(), MofNCompleteColumn()) as progress:
        task = progress.add_task("features, then people", total=None)

        def report(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        measured_on = _with_features(folder, extractor, cache, report)
        other = _with_features(other_folder, extractor, cache, report) if other_folder else None
        if is_generic:
            document = run_generic(dataset, measured_on, chosen, seed)
        else:
            document = run_piaa(dataset, measured_on, chosen, seed, other, report)
    document["config"]["base_model_name"] = base_model
    for file in write_report(document, out) if out else ():
        notices.print(f"wrote {file}", highlight=False, markup=False, soft_wrap=True)
    if as_json:
        print_json(document)
        return
    what = "SRCC with mean ratings" if is_generic else "mean SRCC per person"
    show_all(document, [Shown(f"{dataset}: {what}", HEADINGS, table(document), dense=True)])
    for note in notes(document):
        console.print(note, highlight=False, markup=False)


def _read(path: Path, scale: str | None) -> DataFolder:
    """The folder, with those of its images that can be read."""
    from paaplus.data.benchmarks.datasets import scale_of
    from paaplus.data.folder import read_folder
    from paaplus.data.readable_images import readable_images
    from paaplus.records import Scale

    return readable_images(read_folder(path, Scale(*parse_scale(scale)) if scale else scale_of(path)))


def _with_features(
    folder: DataFolder, extractor: Extractor, cache: Path | None, report: Callable[[int, int], None]
) -> EvaluationData:
    from paaplus.data.features import folder_features
    from paaplus.evaluation.train_side import EvaluationData

    features_ID = folder_features(folder, extractor, cache or get_settings().home / "cache", progress=report)
    return EvaluationData(folder, features_ID, extractor.digest, extractor.blocks)
