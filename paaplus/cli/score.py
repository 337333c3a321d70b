"""`paaplus score`: score photographs without database, users or adapters."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli.common import JsonOption, print_rows
from paaplus.errors import InvalidInput, Unavailable
from paaplus.settings import get_settings

if TYPE_CHECKING:
    from paaplus.models.physiqueframe.scorer import PhotographScorer


def score(
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Image files.")],
    base_model: Annotated[str, typer.Option(help="physiqueframe; others score through the API.")] = "physiqueframe",
    checkpoint: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Default: in `weights` of PAAPLUS_HOME.")
    ] = None,
    detector: Annotated[Path | None, typer.Option(exists=True, help="MediaPipe's wheel, or its folder.")] = None,
    smpler_x: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="SMPLer-X checkpoint, which estimates meshes.")
    ] = None,
    body_model: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="SMPLX_NEUTRAL.npz.")] = None,
    box: Annotated[str | None, typer.Option(help="LEFT,TOP,WIDTH,HEIGHT of the person; one image only.")] = None,
    meshes: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="A data set's meshes/: bodies by image name.")
    ] = None,
    preference: Annotated[str, typer.Option(help="The user's preference feature, 5 numbers.")] = "0.5,0.5,0.5,0.5,0.5",
    several: Annotated[str, typer.Option(help="If there are several people: refuse, or take the largest.")] = "refuse",
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Detect no person: use only the image branch.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Score photographs of one person each: appearance, health, posture, 0-10.

    A photograph without a person, with several people, or with an unusable box gets a status and no score. `branches`
    lists the branches of the network that were used.
    """
    if base_model != "physiqueframe":
        raise InvalidInput(f"base model {base_model!r}: only physiqueframe scores without the platform")
    if box is not None and len(images) != 1:
        raise InvalidInput(f"--box with {len(images)} images: one")
    import numpy as np

    from paaplus.data.physique.dataset import sample_of
    from paaplus.data.physique.meshes import MeshStore
    from paaplus.models.images import decode_image
    from paaplus.models.physiqueframe.body.person import Person, PersonStatus
    from paaplus.models.physiqueframe.inputs import letterbox

    people = [Person(_box(box))] if box is not None else None
    preference_P = np.array(_numbers("preference", preference, 5))
    knows_people = unchecked or people is not None or meshes is not None
    given = _Files(checkpoint, detector, smpler_x, body_model)
    scorer = _load_scorer(given, several, unchecked=knows_people)
    rows = []
    with MeshStore(meshes) if meshes else nullcontext() as store:
        for image in images:
            photo = decode_image(image.read_bytes())
            body = store.get(image.name) if store is not None else None
            if body is not None:
                pixel_3SS, _ = letterbox(photo, scorer.network.config.image_size)
                result = scorer.score_sample(sample_of(pixel_3SS, body), PersonStatus.FOUND, 1, preference_P)
            else:
                result = scorer.score(photo, people, preference_P)
            rows.append((image, result))
    aspects = ("appearance", "health", "posture")
    columns: dict[str, Any] = {"image": lambda row: str(row[0]), "status": lambda row: str(row[1].status)}
    columns |= {aspect: (lambda row, aspect=aspect: (row[1].scores or {}).get(aspect)) for aspect in aspects}
    columns |= {
        "branches": lambda row: ", ".join(row[1].branches),
        "degraded": lambda row: row[1].is_degraded,
        "num_people": lambda row: row[1].num_people,
    }
    print_rows(rows, columns, as_json=as_json)


@dataclass(frozen=True)
class _Files:
    """The files that the options name."""

    checkpoint: Path | None
    detector: Path | None
    smpler_x: Path | None
    body_model: Path | None


def _load_scorer(given: _Files, several: str, *, unchecked: bool) -> PhotographScorer:
    import torch

    from paaplus.models.device import resolve_device
    from paaplus.models.physiqueframe.files import PhysiqueFiles, build_finder
    from paaplus.models.physiqueframe.scorer import PhotographScorer
    from paaplus.models.physiqueframe.weights.checkpoint import load_checkpoint

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    files = PhysiqueFiles.in_folder(settings.home / "weights").replaced(**vars(given))
    if files.checkpoint is None:
        raise Unavailable(f"no checkpoint in {settings.home / 'weights'}: give one with --checkpoint FILE")
    device = resolve_device(settings.device)
    network, _ = load_checkpoint(files.checkpoint)
    return PhotographScorer(network, build_finder(files, device, several, unchecked), device)


def _box(text: str) -> tuple[float, float, float, float]:
    left, top, width, height = _numbers("box", text, 4)
    return left, top, width, height


def _numbers(option: str, text: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise InvalidInput(f"--{option} {text!r}: {count} numbers with commas")
    return numbers
