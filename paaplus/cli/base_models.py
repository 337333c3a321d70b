"""`paaplus base-models`: train and list base models."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli import train_physiqueframe as network
from paaplus.cli.common import (
    DecimalOption,
    DelimiterOption,
    JsonOption,
    OnceOption,
    StrictOption,
    carried_out,
    csv_format,
    given_to,
    notices,
    once,
    open_blobs,
    open_database,
    parse_scale,
    print_record,
    print_rows,
    progress_bar,
    refuse_given,
    tell_known,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.csv_files import STANDARD, CsvFormat, read_names
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus.data.builtin_set import photographs
    from paaplus.db import engine
    from paaplus.services import scheduling
    from paaplus.services.images import features, images
    from paaplus.services.registry import base_models, starter

if TYPE_CHECKING:
    from uuid import UUID

    import numpy as np
    from sqlalchemy.orm import Session

    from paaplus.db.engine import Database
    from paaplus.db.tables import BaseModelRow
    from paaplus.scoring.base_scorer import BaseScorer

app = typer.Typer()

COMMAND = "base-models train"
TABLE_OPTIONS = ("people", "only_images", "scale", "delimiter", "decimal_mark", "strict")

FIELDS = ("id", "name", "version", "digest", "aspects", "feature_dim", "config", "metrics", "created_at", "retired_at")


@app.command()
def train(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="lite2, lite, physiqueframe, timm:NAME, or a name that timm knows.")],
    data: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="images/ and ratings.csv.")] = None,
    builtin: Annotated[bool, typer.Option("--builtin", help="The built-in set with its simulated people.")] = False,
    people: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Use only these user_ids, one per line.")
    ] = None,
    only_images: Annotated[
        Path | None, typer.Option("--images", exists=True, dir_okay=False, help="Use only these images, one per line.")
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="MIN,MAX of the ratings; default: the smallest and largest rating.")
    ] = None,
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    strict: StrictOption = False,
    weights: Annotated[Path | None, typer.Option(exists=True, help="A file of weights for the backbone.")] = None,
    uploaded: Annotated[
        bool, typer.Option("--uploaded", help="Take the features of files that were uploaded from the database.")
    ] = False,
    split: network.Split = None,
    person_type: network.PersonType = None,
    out: network.Out = None,
    size: network.Size = "official",
    epochs: network.Epochs = 20,
    batch_size: network.BatchSize = 16,
    learning_rate: network.LearningRate = 1e-4,
    decay_epochs: network.DecayEpochs = 5,
    plain_loss: network.PlainLoss = False,
    flip: network.Flip = True,
    train_image_encoder: network.TrainImageEncoder = None,
    metric: network.Metric = "srcc",
    patience: network.Patience = 0,
    seed: network.Seed = 0,
    workers: network.Workers = 0,
    image_dir: network.ImageDir = None,
    meshes: network.Meshes = None,
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit taste space, generic head and taste prior on people's ratings, and register the next version of the model.

    The newest version becomes the default. Workers extract features of the existing images, then retrain every user
    who has an adapter. Until then these users are served generic scores, with a flag. If the result equals a base model
    that is registered, that one is printed, and there is no new version.

    With --split, --data has the layout of PhysiqueAA50K, and the network PhysiqueFrame itself is trained into --out.
    Nothing is registered then.
    """
    if builtin == (data is not None):
        what = "both are given" if builtin else "neither is given"
        raise typer.BadParameter(
            f"{what}: give --data DIR, a folder with images/ and ratings.csv (user_id,image,rating), or --builtin, "
            f"the set with simulated people. For example: paaplus base-models train {name} --builtin"
        )
    if split is not None:
        if name != "physiqueframe" or data is None:
            raise typer.BadParameter("--split trains physiqueframe on --data DIR")
        refuse_given(context, (*TABLE_OPTIONS, "uploaded"), "--split reads the layout of PhysiqueAA50K")
        refuse_given(context, ("key",), "--idempotency-key is for what is registered; --split registers nothing")
        options = network.NetworkTraining(
            split, person_type, out, size, epochs, batch_size, learning_rate, decay_epochs, plain_loss, flip,
            train_image_encoder, metric, patience, seed, workers, image_dir, meshes,
        )  # fmt: skip
        print_record(network.train_network(options, data, weights), as_json=as_json)
        return
    refuse_given(context, network.OPTIONS, "it is for --split, which trains the network PhysiqueFrame itself")
    if builtin:
        refuse_given(context, (*TABLE_OPTIONS, "uploaded"), "--builtin has images and people of its own")
    settings = get_settings()
    layout = csv_format(delimiter, decimal_mark)
    given = given_to(context)
    bounds, chosen, chosen_images = parse_scale(scale) if scale else None, _lines(people), _lines(only_images)
    with open_database() as database:
        if (made := carried_out(database, key, COMMAND, given)) is not None:
            print_record(made, as_json=as_json)
            return
        if data is None:
            photographs.require_installed()
            data = _write_builtin(settings)
        scorer, metrics = _fit(
            database,
            settings,
            name,
            data,
            people=chosen,
            only_images=chosen_images,
            scale=bounds,
            layout=layout,
            strict=strict,
            weights=weights,
            uploaded=uploaded,
        )
        config = {
            "extractor": name,
            "weights": str(weights.absolute()) if weights else None,
            "source": "built-in set, simulated people" if builtin else str(data.name),
        }
        with database.session() as session:
            record = once(session, key, COMMAND, given, lambda: _register(session, settings, scorer, config, metrics))
    print_record(record, as_json=as_json)


@app.command("list")
def list_models(as_json: JsonOption = False) -> None:
    """All base models, newest first. The first that is not retired is the default."""
    with open_database() as database, database.read_session() as session:
        rows = [_record(row) for row in base_models.list_base_models(session)]
        columns = {name: itemgetter(name) for name in FIELDS}
        print_rows(rows, columns, as_json=as_json, title="base models", json_only=("id", "config", "metrics"))


@app.command()
def show(base_model: Annotated[str, typer.Argument(help="NAME or NAME@VERSION.")], as_json: JsonOption = False) -> None:
    """One base model: what it was fitted to, and how well. For the shipped `starter`, also its card.

    The card is shown before the first start, too.
    """
    settings = get_settings()
    if base_model == starter.NAME and engine.missing_file(settings.resolved_database_url) is not None:
        print_record({"card": starter.card()}, as_json=True) if as_json else print(starter.card(), end="")
        return
    with open_database() as database, database.read_session() as session:
        row = base_models.named(session, base_model)
        card = starter.card() if starter.is_shipped(row) else None
        if as_json:
            print_record({**_record(row), "card": card}, as_json=True)
            return
        print_record(_record(row), as_json=False)
    if card is not None:
        print(f"\n{card}", end="")


def _write_builtin(settings: Settings) -> Path:
    from paaplus.data.builtin_set.build import write_builtin_set

    folder = settings.home / "builtin"
    notices.print(f"writing the built-in set to {folder} ...", highlight=False, markup=False, soft_wrap=True)
    write_builtin_set(folder)
    return folder


def _fit(
    database: Database,
    settings: Settings,
    name: str,
    data: Path,
    *,
    people: list[str] | None,
    only_images: list[str] | None = None,
    scale: tuple[float, float] | None = None,
    layout: CsvFormat = STANDARD,
    strict: bool = False,
    weights: Path | None = None,
    uploaded: bool = False,
) -> tuple[BaseScorer, dict[str, Any]]:
    import torch

    from paaplus.models.base_models import load_extractor
    from paaplus.models.device import resolve_device
    from paaplus.pipelines.train_base import fit_base_model

    torch.set_num_threads(settings.torch_threads)
    device = resolve_device(settings.device)
    extractor = load_extractor(name, weights, device)
    image_of: dict[str, UUID] = {}
    if uploaded:
        with database.read_session() as session:
            image_of = features.uploads(session, extractor.digest)

    def known(sha256: str) -> np.ndarray | None:
        if sha256 not in image_of:
            return None
        with database.read_session() as session:
            return features.of_image(session, extractor.digest, image_of[sha256], extractor.feature_dim)

    with progress_bar() as progress:
        task = progress.add_task(f"features by {name}", total=None)
        return fit_base_model(
            extractor,
            data,
            people=people,
            images=only_images,
            scale=scale,
            layout=layout,
            strict=strict,
            name=name,
            cache_dir=settings.home / "cache",
            progress=lambda done, total: progress.update(task, completed=done, total=total),
            known=known,
        )


def _register(
    session: Session, settings: Settings, scorer: BaseScorer, config: dict[str, Any], metrics: dict[str, Any]
) -> dict[str, Any]:
    """Register a base model, and return what the command prints."""
    known = base_models.find(session, scorer.digest)
    if known is not None:
        tell_known(f"{known.name}@{known.version}", known.created_at)
    row = base_models.register(session, open_blobs(), scorer, config, metrics)
    if base_models.default(session, settings).id == row.id:
        scheduling.refresh_after_base_model(session, row.id)  # users are locked before jobs
    images.request_features(session, None, settings)
    return {**_record(row), "is_new": known is None}


def _lines(file: Path | None) -> list[str] | None:
    return None if file is None else read_names(file)


def _record(row: BaseModelRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}
