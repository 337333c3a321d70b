"""Write the built-in data set: photographs of installed packages, generated scenes, variants, simulated people.

It is an ordinary data folder (`images/`, `ratings.csv`, `users.csv`, `images.csv`). Two columns show what is not real:
`kind` in images.csv (photograph or synthetic) and `simulated` in users.csv.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from paaplus.data.builtin_set.image_properties import PROPERTIES, measure
from paaplus.data.builtin_set.photographs import PHOTOGRAPHS, Photograph
from paaplus.data.builtin_set.scenes import SYNTHETIC_SCENES, SyntheticScene
from paaplus.data.builtin_set.simulated_people import Traits, simulate_people
from paaplus.data.builtin_set.variants import draw_variants, render
from paaplus.ids import sha256_hex

NUM_PEOPLE = 72
NUM_VARIANTS = 20
RATINGS_PER_PERSON = 260

_CODE_FILES = (
    "brushes",
    "build",
    "image_properties",
    "nature_scenes",
    "people_and_objects_scenes",
    "photographs",
    "scenes",
    "simulated_people",
    "variants",
)
_SCENE_SIDE_PX = 480
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class BuiltinSet:
    """Contents of a written set, stored as `builtin.json` in its folder."""

    made_by: str  # digest of the code that makes the set; a set of other code is written anew
    seed: int
    num_people: int
    num_variants: int
    ratings_per_person: int
    photographs: tuple[str, ...]
    synthetic_scenes: tuple[str, ...]


def write_builtin_set(
    folder: Path,
    seed: int = 0,
    num_people: int = NUM_PEOPLE,
    num_variants: int = NUM_VARIANTS,
    ratings_per_person: int = RATINGS_PER_PERSON,
) -> BuiltinSet:
    """Write the set as a data folder; a folder that already holds exactly this set is not changed.

    Every person rates `ratings_per_person` random images. `builtin.json` is written last; a folder without it is
    incomplete and is written anew.

    Args:
        folder: the data folder, created if needed.
        seed: of variants, people and ratings.
        num_people: simulated people.
        num_variants: variants per scene.
        ratings_per_person: ratings of each person.

    Raises:
        Unavailable: a package that ships one of the photographs is not installed.
    """
    scenes: tuple[Photograph | SyntheticScene, ...] = (*PHOTOGRAPHS, *SYNTHETIC_SCENES)
    summary = BuiltinSet(
        _code_digest(),
        seed,
        num_people,
        num_variants,
        ratings_per_person,
        tuple(p.name for p in PHOTOGRAPHS),
        tuple(s.name for s in SYNTHETIC_SCENES),
    )
    manifest, text = folder / "builtin.json", json.dumps(asdict(summary), indent=1)
    if manifest.is_file() and manifest.read_text(encoding="utf-8") == text:
        return summary
    manifest.unlink(missing_ok=True)
    shutil.rmtree(folder / "images", ignore_errors=True)
    (folder / "images").mkdir(parents=True)

    names: list[str] = []
    measured: list[np.ndarray] = []
    rows: list[Sequence[object]] = []
    for scene in scenes:
        kind = "photograph" if isinstance(scene, Photograph) else "synthetic"
        picture = scene.load(_SCENE_SIDE_PX)
        for number, variant in enumerate(draw_variants(scene.name, num_variants, seed)):
            name = f"{scene.name}_{number:02d}.jpg"
            file = folder / "images" / name
            render(picture, variant).save(file, quality=_JPEG_QUALITY)
            with Image.open(file) as stored:  # people see the stored file with its JPEG losses
                measured.append(measure(stored))
            names.append(name)
            rows.append(
                (
                    name,
                    scene.name,
                    kind,
                    str(variant.softness > 0).lower(),
                    "|".join(scene.contents),
                    *np.round(measured[-1], 5),
                )
            )

    contents = [scene.contents for scene in scenes for _ in range(num_variants)]
    scene_names = [scene.name for scene in scenes for _ in range(num_variants)]
    traits = Traits.of(PROPERTIES, np.stack(measured), contents, scene_names)
    people = simulate_people(traits, [f"sim{n:03d}" for n in range(1, num_people + 1)], seed)
    chooser = np.random.default_rng([seed, 2])
    ratings: list[Sequence[object]] = []
    for person in people:
        rating_I = person.rate()
        rated = np.sort(chooser.permutation(len(names))[:ratings_per_person])
        ratings.extend((person.user_id, names[i], int(rating_I[i])) for i in rated)

    _write_csv(folder / "images.csv", ("image", "scene", "kind", "blurred", "contents", *PROPERTIES), rows)
    _write_csv(folder / "users.csv", ("user_id", "simulated"), [(p.user_id, "true") for p in people])
    _write_csv(folder / "ratings.csv", ("user_id", "image", "rating"), ratings)
    manifest.write_text(text, encoding="utf-8")
    return summary


def _code_digest() -> str:
    """SHA-256 of the source files that decide what the set contains."""
    files = [Path(__file__).with_name(f"{name}.py") for name in _CODE_FILES]
    return sha256_hex(b"".join(file.read_bytes() for file in files))


def _write_csv(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
