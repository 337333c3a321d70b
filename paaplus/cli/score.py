"""`paaplus score`: generic scores of image files, without users or adapters."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli.common import JsonOption, notices, open_blobs, open_database, print_rows, refuse_given
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput, Unavailable
from paaplus.numbers import parse_numbers
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.registry import base_models

if TYPE_CHECKING:
    from PIL import Image

    from paaplus.models.physiqueframe.scorer import PhotographScorer

PERSON_OPTIONS = (
    "checkpoint",
    "detector",
    "smpler_x",
    "body_model",
    "box",
    "meshes",
    "preference",
    "several",
    "unchecked",
)
PHYSIQUE_ASPECTS = ("appearance", "health", "posture")


def score(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="Image files.")],
    base_model: Annotated[
        str,
        typer.Option(
            help="physiqueframe, or a base model of this deployment (NAME or NAME@VERSION); "
            "default: physiqueframe if its checkpoint is there, else the deployment's default."
        ),
    ] = "",
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
    """Score image files, 0-10, by a base model's generic score.

    An unusable file is reported, and all others are scored.

    With physiqueframe, the files are photographs of one person each, scored for appearance, health and posture. A
    photograph without a person, with several people, or with an unusable box gets a status and no score. `branches`
    lists the branches of the network that were used.
    """
    given = _Files(checkpoint, detector, smpler_x, body_model)
    if not _is_physiqueframe(base_model, given):
        refuse_given(context, PERSON_OPTIONS, "it is for --base-model physiqueframe")
        scored, aspects, num_bad = _generic_scores(images, base_model)
        columns: dict[str, Any] = {"image": lambda row: str(row[0]), "base_model": lambda row: row[1]}
        columns |= {aspect: (lambda row, a=a: row[2][a]) for a, aspect in enumerate(aspects)}
        print_rows(scored, columns, as_json=as_json)
        raise typer.Exit(int(num_bad > 0))
    if box is not None and len(images) != 1:
        raise InvalidInput(f"--box with {len(images)} images: one")
    import numpy as np

    from paaplus.data.physique.dataset import sample_of
    from paaplus.data.physique.meshes import MeshStore
    from paaplus.models.physiqueframe.body.person import Person, PersonStatus
    from paaplus.models.physiqueframe.inputs import letterbox

    people = [Person(_box(box))] if box is not None else None
    preference_P = np.array(_numbers("preference", preference, 5))
    knows_people = unchecked or people is not None or meshes is not None
    scorer = _load_scorer(given, several, unchecked=knows_people)
    rows = []
    photos = _readable(images)
    with MeshStore(meshes) if meshes else nullcontext() as store:
        for image, photo in photos:
            body = store.get(image.name) if store is not None else None
            if body is not None:
                pixel_3SS, _ = letterbox(photo, scorer.network.config.image_size)
                result = scorer.score_sample(sample_of(pixel_3SS, body), PersonStatus.FOUND, 1, preference_P)
            else:
                result = scorer.score(photo, people, preference_P)
            rows.append((image, result))
    columns = {"image": lambda row: str(row[0]), "status": lambda row: str(row[1].status)}
    columns |= {aspect: (lambda row, aspect=aspect: (row[1].scores or {}).get(aspect)) for aspect in PHYSIQUE_ASPECTS}
    columns |= {
        "branches": lambda row: ", ".join(row[1].branches),
        "degraded": lambda row: row[1].is_degraded,
        "num_people": lambda row: row[1].num_people,
    }
    print_rows(rows, columns, as_json=as_json)
    raise typer.Exit(int(len(photos) < len(images)))


@dataclass(frozen=True)
class _Files:
    """The files that the options name."""

    checkpoint: Path | None
    detector: Path | None
    smpler_x: Path | None
    body_model: Path | None

    def options(self) -> dict[str, Path | None]:
        return {f"--{name.replace('_', '-')}": file for name, file in vars(self).items()}


def _is_physiqueframe(base_model: str, given: _Files) -> bool:
    if base_model:
        return base_model == "physiqueframe"
    from paaplus.models.physiqueframe.files import PhysiqueFiles

    named = any(file is not None for file in given.options().values())
    return named or PhysiqueFiles.in_folder(get_settings().home / "weights").checkpoint is not None


def _readable(files: list[Path]) -> list[tuple[Path, Image.Image]]:
    """The files that can be read as images; the others are reported."""
    from paaplus.image_files import decode_image

    readable = []
    for file in files:
        try:
            readable.append((file, decode_image(file.read_bytes())))
        except (InvalidInput, OSError) as error:
            notices.print(f"{file}: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    return readable


def _generic_scores(files: list[Path], wanted: str) -> tuple[list[tuple[Path, str, list[float]]], tuple[str, ...], int]:
    """Each readable file with base model and generic scores; the aspects; and how many files cannot be read."""
    import numpy as np
    import torch

    from paaplus.models.base_models import load_extractor

    settings = get_settings()
    torch.set_num_threads(settings.torch_threads)
    with open_database() as database:
        with database.read_session() as session:
            row = base_models.named(session, wanted) if wanted else base_models.default(session, settings)
        base = base_models.load(open_blobs(), row)
    weights = row.config.get("weights")
    extractor = load_extractor(str(row.config["extractor"]), Path(weights) if weights else None, settings.device)
    if extractor.digest != base.extractor_digest:
        raise Unavailable(
            f"base model {row.name}@{row.version} needs other weights than those of {extractor.name} here"
        )
    rows: list[tuple[Path, str, list[float]]] = []
    num_bad = 0
    for file in files:  # one by one: a score has the same bits in any company, and little is held in memory
        for readable, picture in _readable([file]):
            feature_1D = extractor.extract([picture])
            if np.isfinite(feature_1D).all():
                score_1A = base.generic(base.project(feature_1D))
                rows.append((readable, f"{row.name}@{row.version}", score_1A[0].tolist()))
        num_bad += not rows or rows[-1][0] != file
    return rows, base.aspects, num_bad


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
        return list(parse_numbers(text, count))
    except InvalidInput as error:
        raise InvalidInput(f"--{option} {text!r}: {count} numbers with commas: {error}") from error
