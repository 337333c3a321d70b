"""Data sets with mean ratings only: AVA, TAD66K and SPAQ. Their one user is `everybody`."""

from __future__ import annotations

from pathlib import Path

from paaplus.data.benchmarks.release import EVERYBODY, TEST, TRAIN, Release, cell, files_below, number, required, table
from paaplus.data.benchmarks.xlsx import read_sheet
from paaplus.errors import InvalidInput
from paaplus.records import Scale

_AVA_COLUMNS = 15  # index, image, ten counts of votes, two tags, challenge


def ava(source: Path) -> Release:
    """`AVA.txt` (index, image, votes of 1 to 10, two tags, challenge) and `images/IMAGE.jpg`.

    `aesthetics_image_lists/generic_test.jpgl` names the test images; the first tag's name in `tags.txt` is the theme.
    """
    file, folder = required(source / "AVA.txt"), required(source / "images", source / "image")
    listed = source / "aesthetics_image_lists" / "generic_test.jpgl"
    test = set(listed.read_text().split()) if listed.is_file() else set()
    tags = _ava_tags(source / "tags.txt")
    release = Release(Scale(1.0, 10.0))
    for line, text in enumerate(file.read_text().splitlines(), start=1):
        cells = text.split()
        if not cells:
            continue
        if len(cells) != _AVA_COLUMNS:
            raise InvalidInput(f"{file}, line {line}: {len(cells)} numbers, not {_AVA_COLUMNS}")
        votes = [number(file, line, one) for one in cells[2:12]]
        if sum(votes) <= 0:
            raise InvalidInput(f"{file}, line {line}: no votes")
        image = f"{cells[1]}.jpg"
        path = folder / image
        mean = sum(score * count for score, count in enumerate(votes, start=1)) / sum(votes)
        release.rate(EVERYBODY, image, path if path.is_file() else None, mean)
        release.images[image] = {"split": TEST if cells[1] in test else TRAIN, "theme": tags.get(cells[12], "")}
    return release


def _ava_tags(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    pairs = (line.split(maxsplit=1) for line in file.read_text(errors="replace").splitlines())
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def tad66k(source: Path) -> Release:
    """`labels/merge/train.csv` and `test.csv` (image, score 0-10), images in `TAD66K/`.

    Where `labels/unmerge/THEME/{train,test}.csv` are there, they give each image its theme.
    """
    folder = required(source / "labels" / "merge", source / "merge")
    files = files_below(required(source / "TAD66K", source / "images"))
    release = Release(Scale(0.0, 10.0))
    for split in (TRAIN, TEST):
        file = required(folder / f"{split}.csv")
        for line, row in table(file):
            image = cell(file, line, row, "image")
            score = number(file, line, cell(file, line, row, "score"))
            release.rate(EVERYBODY, image, files.get(image), score)
            release.images[image] = {"split": split, "theme": ""}
    for file in sorted((folder.parent / "unmerge").rglob("*.csv")):
        theme = (
            file.parent.name if file.stem in (TRAIN, TEST) else file.stem.removesuffix("_train").removesuffix("_test")
        )
        for line, row in table(file):
            image = cell(file, line, row, "image")
            if image in release.images:
                release.images[image]["theme"] = theme
    return release


def spaq(source: Path) -> Release:
    """`Annotations/MOS and Image attribute scores.xlsx` (or .csv; "Image name", MOS 0-100), images in `TestImage/`.

    The release has no split of its own: the platform's own random one is used.
    """
    folder = required(source / "TestImage", source / "Dataset" / "TestImage")
    name = "MOS and Image attribute scores"
    file = required(*(source / "Annotations" / f"{name}{suffix}" for suffix in (".xlsx", ".csv")))
    if file.suffix == ".csv":
        rows = list(table(file))
    else:
        header, *cells = read_sheet(file) or [[]]
        names = [one.strip() for one in header]
        rows = [(line, dict(zip(names, row, strict=False))) for line, row in enumerate(cells, start=2) if any(row)]
    release = Release(Scale(0.0, 100.0))
    files = files_below(folder)
    for line, row in rows:
        image = cell(file, line, row, "Image name")
        release.rate(EVERYBODY, image, files.get(image), number(file, line, cell(file, line, row, "MOS")))
    return release
