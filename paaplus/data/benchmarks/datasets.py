"""The data sets by name, and their import as a data folder. A new one is a function and a line in `DATASETS`."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from paaplus.data.benchmarks import means, people
from paaplus.data.benchmarks.release import Release
from paaplus.errors import InvalidInput
from paaplus.records import Scale
from paaplus.texts import parse_json

ABOUT_FILE = "dataset.json"


class Dataset(NamedTuple):
    """A published data set.

    Attributes:
        read: reads the folder of its release.
        about: what it is, in a line.
        source: where the people who made it say how to get it.
    """

    read: Callable[[Path], Release]
    about: str
    source: str


DATASETS = {
    "flickr-aes": Dataset(
        people.flickr_aes, "40,000 photographs, 210 workers, 1-5", "github.com/alanspike/personalizedImageAesthetics"
    ),
    "para": Dataset(people.para, "31,220 photographs, 438 people, 1-5", "cv-datasets.institutecv.com"),
    "aadb": Dataset(
        people.aadb, "10,000 photographs, 190 workers, 1-5", "github.com/aimerykong/deepImageAestheticsAnalysis"
    ),
    "real-cur": Dataset(
        people.real_cur, "14 albums, rated by their owners, 1-5", "github.com/alanspike/personalizedImageAesthetics"
    ),
    "lapis": Dataset(people.lapis, "11,723 paintings, 568 people, 0-100", "github.com/Anne-SofieMaerten/LAPIS"),
    "eva": Dataset(people.eva, "4,070 photographs, 1,094 people, 0-10", "github.com/kang-gnak/eva-dataset"),
    "ava": Dataset(means.ava, "255,530 photographs, mean of votes 1-10", "github.com/imfing/ava_downloader"),
    "tad66k": Dataset(means.tad66k, "66,327 photographs, 47 themes, mean 0-10", "github.com/woshidandan/TANet"),
    "spaq": Dataset(means.spaq, "11,125 photographs of telephones, mean 0-100", "github.com/h4nwei/SPAQ"),
}


def import_dataset(name: str, source: Path, target: Path, copy: bool = False) -> dict[str, Any]:
    """Read a release and write a data folder.

    Args:
        name: one of `DATASETS`.
        source: the folder of the release.
        target: a new or empty folder.
        copy: copy the images; False: hard links where the file system can, copies elsewhere.

    Returns:
        What was written: `num_people`, `num_images`, `num_ratings`, `num_missing` (rated images without a file here).

    Raises:
        InvalidInput: an unknown data set, another layout, or `target` is not empty.
    """
    if name not in DATASETS:
        raise InvalidInput(f"data set {name!r:.40} is not known: {', '.join(DATASETS)}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{target} is not an empty folder")
    release = DATASETS[name].read(source)
    if not release.ratings:
        raise InvalidInput(f"{source}: no rating of an image that is here; {len(release.missing)} images are missing")
    for image in release.files:
        _check_file_name(image)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        partial.chmod(0o777 & ~_umask())
        about = _write_folder(name, release, partial, copy)
        partial.replace(target)  # an empty folder is replaced
    except BaseException:  # Ctrl-C too: half a data set is none
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return about


def scale_of(folder: Path) -> Scale | None:
    """The scale of the data set that `import_dataset` wrote into a folder; None: it did not write it.

    Raises:
        InvalidInput: the file that says so is damaged.
    """
    file = folder / ABOUT_FILE
    if not file.is_file():
        return None
    about = parse_json(file.read_bytes(), str(file))
    scale = about.get("scale") if isinstance(about, dict) else None
    if not isinstance(scale, list) or [type(each) in (int, float) for each in scale] != [True, True]:
        raise InvalidInput(f"{file}: `scale` is no list of two numbers; give --scale MIN,MAX")
    return Scale(float(scale[0]), float(scale[1]))


def _write_folder(name: str, release: Release, target: Path, copy: bool) -> dict[str, Any]:
    folder = target / "images"
    folder.mkdir()
    for image, file in release.files.items():
        _place(file, folder / image, copy)
    _write(target / "ratings.csv", ("user_id", "image", "rating"), (
        (user_id, image, f"{rating:g}" if rating == round(rating, 4) else repr(rating))
        for user_id, image, rating in release.ratings
    ))  # fmt: skip
    _write_columns(target / "images.csv", "image", {k: v for k, v in release.images.items() if k in release.files})
    rated = {user_id for user_id, _, _ in release.ratings}
    _write_columns(target / "users.csv", "user_id", {k: v for k, v in release.users.items() if k in rated})
    about = {
        "dataset": name,
        "about": DATASETS[name].about,
        "source": DATASETS[name].source,
        "scale": [release.scale.minimum, release.scale.maximum],
        "num_people": len(rated),
        "num_images": len(release.files),
        "num_ratings": len(release.ratings),
        "num_missing": len(release.missing),
    }
    (target / ABOUT_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return about


def _check_file_name(image: str) -> None:
    if "/" in image or "\\" in image or image.startswith("."):
        raise InvalidInput(f"image {image!r:.80}: not a file name")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _place(file: Path, target: Path, copy: bool) -> None:
    if not copy:
        try:
            os.link(file.resolve(), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(file, target)


def _write_columns(file: Path, key: str, rows: dict[str, dict[str, str]]) -> None:
    """A table by its key; no file if no row has a value."""
    names = [name for name in dict.fromkeys(name for row in rows.values() for name in row) if name != key]
    used = [name for name in names if any(row.get(name) for row in rows.values())]
    if used:
        _write(file, (key, *used), ([one, *(row.get(name, "") for name in used)] for one, row in rows.items()))


def _write(file: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
