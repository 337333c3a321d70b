"""Data sets with every person's own ratings: FLICKR-AES, PARA, AADB, REAL-CUR, LAPIS and EVA.

Folders and columns are those of the releases and of public programs that read them.
"""

from __future__ import annotations

from pathlib import Path

from paaplus.data.benchmarks.release import TEST, TRAIN, Release, cell, files_below, number, required, table
from paaplus.errors import InvalidInput
from paaplus.numbers import parse_number
from paaplus.records import Scale


def flickr_aes(source: Path) -> Release:
    """`FLICKR-AES_image_labeled_by_each_worker.csv` (worker, imagePair, score 1-5) and images in `40K/`.

    A file `test_workers_ID.csv` or `test_worker.csv` (column ID or worker), if it is there, names the test workers.
    """
    file = required(source / "FLICKR-AES_image_labeled_by_each_worker.csv", source / "image_labeled_by_each_worker.csv")
    files = files_below(required(source / "40K", source / "FLICKR-AES-001" / "40K", source / "image"))
    release = Release(Scale(1.0, 5.0))
    for line, row in table(file):
        image, worker = cell(file, line, row, "imagePair", "image"), cell(file, line, row, "worker")
        release.rate(worker, image, files.get(image), number(file, line, cell(file, line, row, "score")))
    for name in ("test_workers_ID.csv", "test_worker.csv"):
        if (listed := source / name).is_file():
            test = {cell(listed, line, row, "ID", "worker") for line, row in table(listed)}
            release.users = {worker: {"split": TEST if worker in test else TRAIN} for worker, _, _ in release.ratings}
    return release


def para(source: Path) -> Release:
    """`annotation/PARA-Images.csv` (sessionId, imageName, userId, aestheticScore 1-5), `imgs/SESSION/IMAGE`.

    `annotation/PARA-GiaaTest.csv` names the 3,000 test images; `PARA-UserInfo.csv` has columns about people.
    """
    file, folder = required(source / "annotation" / "PARA-Images.csv"), required(source / "imgs")
    tested = source / "annotation" / "PARA-GiaaTest.csv"
    test = {cell(tested, line, row, "imageName") for line, row in table(tested)} if tested.is_file() else set()
    release = Release(Scale(1.0, 5.0))
    for line, row in table(file):
        image, session = cell(file, line, row, "imageName"), cell(file, line, row, "sessionId")
        path = next((one for one in (folder / session / image, folder / image) if one.is_file()), None)
        user_id, rating = cell(file, line, row, "userId"), cell(file, line, row, "aestheticScore")
        if rating:
            release.rate(user_id, image, path, number(file, line, rating))
        theme = row.get("semantic") or row.get("sceneCategory") or row.get("scene") or ""
        release.images.setdefault(image, {"split": TEST if image in test else TRAIN, "theme": theme})
    information = source / "annotation" / "PARA-UserInfo.csv"
    for line, row in table(information) if information.is_file() else ():
        release.users[cell(information, line, row, "userId")] = {k: v for k, v in row.items() if k != "userId"}
    return release


def aadb(source: Path) -> Release:
    """`AADB_AllinAll.csv`: one row per task of ten images (WorkerId, Input.image_urlN, Answer.overallScoreN 1-5).

    An image file is named by its address: farm_folder_name. Images are in `datasetImages_originalSize/` and
    `AADB_newtest_originalSize/`; `imgListFiles_label/imgListTestNewRegression_score.txt` names the test images.
    """
    file = required(source / "AADB_AllinAll.csv")
    folders = [source / name for name in ("datasetImages_originalSize", "AADB_newtest_originalSize")]
    required(*folders)
    files = {name: path for folder in folders if folder.is_dir() for name, path in files_below(folder).items()}
    test = _aadb_test_images(source)
    release = Release(Scale(1.0, 5.0))
    seen: set[tuple[str, str]] = set()
    for line, row in table(file):
        worker = cell(file, line, row, "WorkerId", "workerId")
        for n in range(1, 11):
            url, score = row.get(f"Input.image_url{n}", ""), row.get(f"Answer.overallScore{n}", "")
            if not url or not score:
                continue
            parts = url.split("/")
            if len(parts) < 5:
                raise InvalidInput(f"{file}, line {line}: {url!r:.80} is no address of an image")
            image = f"{parts[2].split('.')[0]}_{parts[-2]}_{parts[-1]}"
            if (worker, image) in seen:
                continue  # shown twice to one worker: the first answer counts
            seen.add((worker, image))
            release.rate(worker, image, files.get(image), number(file, line, score))
            release.images.setdefault(image, {"split": TEST if image in test else TRAIN})
    return release


def _aadb_test_images(source: Path) -> set[str]:
    for folder in (source / "imgListFiles_label", source / "AADB_imgListFiles_label" / "imgListFiles_label"):
        for name in ("imgListTestNewRegression_score.txt", "imgListTestRegression_score.txt"):
            if (file := folder / name).is_file():
                return {line.split()[0] for line in file.read_text().splitlines() if line.strip()}
    return set()


def real_cur(source: Path) -> Release:
    """One folder per album and in it one per score (1-5) with the images that the owner gave it."""
    release = Release(Scale(1.0, 5.0))
    for album in sorted(one for one in source.iterdir() if one.is_dir()):
        for folder in sorted(one for one in album.iterdir() if one.is_dir()):
            try:
                score = parse_number(folder.name)
            except InvalidInput:
                continue
            for name, file in files_below(folder).items():
                release.rate(album.name, f"{album.name}_{name}", file, score)
    if not release.ratings:
        raise InvalidInput(f"{source}: no image in ALBUM/SCORE/: not the layout of the release")
    return release


def lapis(source: Path) -> Release:
    """`annotation/LAPIS_PIAA.csv` (image_filename, participant_id, rating or response 0-100, style), `images/`.

    `imageset/TestImageSet.txt` and `userset/TestUserIDs_Fold1.txt`, if they are there, name test images and people.
    """
    file = required(
        source / "annotation" / "LAPIS_PIAA.csv", source / "annotation" / "LAPIS_individualratings_metaANDdemodata.csv"
    )
    files = files_below(required(source / "images", source / "datasetImages_originalSize"))
    test_images = _lines(source / "imageset" / "TestImageSet.txt", source / "TestImageSet.txt")
    test_people = _lines(source / "userset" / "TestUserIDs_Fold1.txt", source / "TestUserIDs_Fold1.txt")
    release = Release(Scale(0.0, 100.0))
    for line, row in table(file):
        image = cell(file, line, row, "image_filename").replace("\\", "/").split("/")[-1]
        person, rating = cell(file, line, row, "participant_id"), cell(file, line, row, "rating", "response")
        if not rating or not person:
            continue
        release.rate(person, image, files.get(image), number(file, line, rating))
        release.images.setdefault(
            image, {"split": TEST if image in test_images else TRAIN, "theme": row.get("style", "")}
        )
        release.users.setdefault(person, {"split": TEST if person in test_people else TRAIN} if test_people else {})
    return release


def eva(source: Path) -> Release:
    """`data/votes_filtered.csv`, cells separated by "=" (image_id, user_id, score 0-10), and `images/`.

    `data/image_content_category.csv` has each image's category, 1-6: the theme.
    """
    root = source if (source / "data").is_dir() else source / "eva-dataset-master"
    file = required(root / "data" / "votes_filtered.csv")
    files = files_below(required(root / "images"))
    release = Release(Scale(0.0, 10.0))
    seen: set[tuple[str, str]] = set()
    for line, row in table(file, "="):
        image, user_id = f"{cell(file, line, row, 'image_id')}.jpg", cell(file, line, row, "user_id")
        if (user_id, image) in seen:
            continue
        seen.add((user_id, image))
        release.rate(user_id, image, files.get(image), number(file, line, cell(file, line, row, "score")))
    categories = root / "data" / "image_content_category.csv"
    for text in categories.read_text().splitlines()[1:] if categories.is_file() else ():
        name, _, category = text.replace('"', "").partition(",")
        release.images[f"{name.strip()}.jpg"] = {"theme": f"category {category.strip()}"}
    return release


def _lines(*candidates: Path) -> set[str]:
    for file in candidates:
        if file.is_file():
            return {line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines()} - {""}
    return set()
