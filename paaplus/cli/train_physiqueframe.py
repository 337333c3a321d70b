"""`paaplus base-models train physiqueframe --split ...`: options and run of training the network itself."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from paaplus.cli.common import notices, progress_bar
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

_PANEL = "Only physiqueframe: train the network itself (docs/physiqueframe.md)"


def _option(help_: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=help_, rich_help_panel=_PANEL, **more)


Split = Annotated[str | None, _option("expert, finetune or user: rows of --data to train on.")]
PersonType = Annotated[str | None, _option("Use the rows of one type of the split, e.g. ISFJ.", "--type")]
Out = Annotated[Path | None, _option("Folder of the run. A run that was interrupted continues.", file_okay=False)]
Size = Annotated[str, _option("official, or tiny (100,000 parameters, 56 px); ignored with --weights.")]
Epochs = Annotated[int, _option("Passes over the rows.", min=1)]
BatchSize = Annotated[int, _option("Images per step.", min=2)]
LearningRate = Annotated[float, _option("Learning rate of the first epochs.", "--lr", min=1e-12)]
DecayEpochs = Annotated[int, _option("The learning rate is divided by 10 after each so many epochs.", min=1)]
PlainLoss = Annotated[
    bool, _option("Sum of squared errors, as published; default: weighted by learned uncertainties.", "--plain-loss")
]
Flip = Annotated[bool, _option("Mirror half of the images.", "--flip/--no-flip")]
TrainImageEncoder = Annotated[
    bool | None,
    _option("Default: frozen with --weights, trained from scratch.", "--train-image-encoder/--freeze-image-encoder"),
]
Metric = Annotated[str, _option("srcc, plcc or acc: decides the best epoch and early stopping.")]
Patience = Annotated[int, _option("Stop after so many epochs without improvement; 0: never.", min=0)]
Seed = Annotated[int, _option("Seed of initial weights, order, mirroring and dropout.", min=0)]
Workers = Annotated[int, _option("Processes that read images; 0: none but this one.", min=0)]
ImageDir = Annotated[Path | None, _option("Default: images/ in --data.", exists=True, file_okay=False)]
Meshes = Annotated[Path | None, _option("Default: meshes/ in --data, if it exists.", exists=True, file_okay=False)]


@dataclass(frozen=True)
class NetworkTraining:
    """The values of the options."""

    split: str
    person_type: str | None
    out: Path | None
    size: str
    epochs: int
    batch_size: int
    learning_rate: float
    decay_epochs: int
    plain_loss: bool
    flip: bool
    train_image_encoder: bool | None
    metric: str
    patience: int
    seed: int
    workers: int
    image_dir: Path | None
    meshes: Path | None


OPTIONS = tuple(field.name for field in fields(NetworkTraining))


def train_network(options: NetworkTraining, data: Path, weights: Path | None) -> dict[str, Any]:
    """Train with a progress bar; returns the record to print: the best epoch's log row and its checkpoint."""
    import torch

    from paaplus.data.physique.reader import read_split
    from paaplus.models.device import resolve_device
    from paaplus.models.physiqueframe.network.config import FrameConfig, tiny_config
    from paaplus.pipelines.train_physiqueframe import TrainConfig, train_physiqueframe

    if options.out is None:
        raise InvalidInput("--out DIR is needed: the folder of this run")
    # The published dropout of 70 % leaves too few units in a tiny head.
    frames = {"official": FrameConfig(), "tiny": tiny_config(head_dropout=0.0)}
    if options.size not in frames:
        raise InvalidInput(f"--size {options.size!r}: {' or '.join(frames)}")
    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    train, val = read_split(data, options.split, options.person_type, options.image_dir)
    meshes = options.meshes or (data / "meshes" if (data / "meshes").is_dir() else None)
    if meshes is None:
        notices.print("no meshes: only the image branch is trained and scored", highlight=False)
    trained = weights is None if options.train_image_encoder is None else options.train_image_encoder
    config = TrainConfig(
        num_epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        decay_epochs=options.decay_epochs,
        weighted_loss=not options.plain_loss,
        flip=options.flip,
        freeze_image_encoder=not trained,
        metric=options.metric,
        patience=options.patience,
        num_workers=options.workers,
        seed=options.seed,
    )
    bar = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*bar) as progress:
        task = progress.add_task("", total=None)
        result = train_physiqueframe(
            train,
            val,
            options.out,
            config=config,
            frame=None if weights else frames[options.size],
            init=weights,
            meshes=meshes,
            device=resolve_device(settings.device),
            progress=lambda done, total, told: progress.update(task, completed=done, total=total, description=told),
        )
    return {
        "checkpoint": str(result.best_file),
        "epochs": len(result.epochs),
        "stopped_early": result.stopped_early,
        **{f"best_{name}": value for name, value in result.best.items() if name != "train_seconds"},
    }
