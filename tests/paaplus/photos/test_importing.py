"""A folder is read once: new and changed files alone are decoded, whatever was killed between."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from paaplus import image_files
from paaplus.client import ranking as client_ranking
from paaplus.db.tables import ImageRow
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.photos import importing
from paaplus.photos.folder import find_photographs
from paaplus.photos.importing import Imported, import_files
from paaplus.photos.platform import LocalPlatform
from paaplus.services import names
from tests.paaplus.photos.conftest import NUM_PHOTOS, MeansOfColours, four_colours
from tests.support.photographs import encoded, taken

Opener = Callable[[], AbstractContextManager[LocalPlatform]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded."""
    names: list[str] = []

    def decode(file: Path, *arguments: object) -> image_files.Photograph:
        names.append(file.name)
        return image_files.decode_photograph(file, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(importing, "decode_photograph", decode)
    return names


def bring_in(platform: LocalPlatform, folder: Path) -> Imported:
    return import_files(platform, find_photographs(folder), lambda _done, _total: None)


def test_images_are_private_of_the_user_and_named_by_their_relative_paths(
    platform: LocalPlatform, folder: Path
) -> None:
    steps: list[tuple[int, int]] = []
    imported = import_files(platform, find_photographs(folder), lambda done, total: steps.append((done, total)))
    assert steps == [(done, NUM_PHOTOS) for done in range(NUM_PHOTOS + 1)]
    with platform.database.read_session() as session:
        rows = list(session.execute(sa.select(ImageRow)).scalars())
    assert {row.owner_id for row in rows} == {platform.user_id}
    assert {row.application for row in rows} == {names.HOME_APPLICATION}
    assert {row.name for row in rows} == {file.name for file, _ in imported.known}
    assert "trip/01.jpg" in {row.name for row in rows}


def test_next_run_decodes_new_files_only_even_after_a_kill(
    open_here: Opener, folder: Path, decoded: list[str], extractor: MeansOfColours, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(done: int, _total: int) -> None:
        if done == 10:
            raise Killed

    with open_here() as platform, pytest.raises(Killed):
        import_files(platform, find_photographs(folder), kill)
    with open_here() as platform:
        [catalogue] = platform.home.glob("*.jsonl")
        with catalogue.open("ab") as stream:
            stream.write(b'{"path": "/cut off')
        done_before = len(decoded)
        assert 10 <= done_before < NUM_PHOTOS, "the threads were a few ahead"
        imported = bring_in(platform, folder)
        assert len(decoded) - done_before == NUM_PHOTOS - 10
        platform.extract(imported.image_ids, lambda _done, _total: None)
    assert extractor.num_images == NUM_PHOTOS
    decoded.clear()
    (folder / "new.jpg").write_bytes(encoded(four_colours(99), "JPEG"))
    os.utime(folder / "00.jpg")  # touched: read again, and not decoded
    shutil.move(folder / "02.jpg", folder / "trip" / "moved.jpg")
    with open_here() as platform:
        again = bring_in(platform, folder)
        platform.extract(again.image_ids, lambda _done, _total: None)
        assert len(again.known) == NUM_PHOTOS + 1
        assert again.num_new == 3
        with platform.database.read_session() as session:
            assert session.scalar(sa.select(sa.func.count()).select_from(ImageRow)) == NUM_PHOTOS + 1
    assert decoded == ["new.jpg"]
    assert extractor.num_images == NUM_PHOTOS + 1


def test_a_file_with_other_metadata_and_the_same_pixels_is_the_same_image(
    platform: LocalPlatform, folder: Path, decoded: list[str]
) -> None:
    before = bring_in(platform, folder).image_ids
    decoded.clear()
    (folder / "00.jpg").write_bytes(encoded(four_colours(0), "JPEG", quality=90, exif=taken("2024:05:01 10:11:12")))
    after = bring_in(platform, folder)
    assert decoded == ["00.jpg"]
    assert sorted(after.image_ids) == sorted(before)
    [known] = [known for file, known in after.known if file.name == "00.jpg"]
    assert known.taken_at is not None


def test_a_refused_file_is_named_with_the_reason_and_not_read_again(
    platform: LocalPlatform, folder: Path, decoded: list[str]
) -> None:
    (folder / "bad.jpg").write_bytes(b"hello, world")
    (folder / "tiny.png").write_bytes(encoded(four_colours(1).resize((8, 8)), "PNG"))
    (folder / "notes.txt").write_text("no photograph")
    for _ in range(2):
        imported = bring_in(platform, folder)
        reasons = {file.name: reason for file, reason in imported.refused}
        assert reasons.keys() == {"bad.jpg", "tiny.png"}
        assert "8 x 8 px; each side needs at least 16" in reasons["tiny.png"]
        assert reasons["bad.jpg"].endswith("RAW file: it begins with 'hello, w'")
    assert len(decoded) == NUM_PHOTOS + 2


def test_a_missing_package_refuses_for_now_only(
    platform: LocalPlatform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, *_: object) -> None:
        raise Unavailable(f"{file.suffix} needs a package")

    monkeypatch.setattr(importing, "decode_photograph", refuse)
    assert len(bring_in(platform, folder).refused) == NUM_PHOTOS
    monkeypatch.undo()
    assert bring_in(platform, folder).refused == []


def test_a_database_made_anew_gets_all_images_again(open_here: Opener, folder: Path, sqlite_template: Path) -> None:
    with open_here() as platform:
        bring_in(platform, folder)
        home, user = platform.settings.home, platform.user_id
        with platform.database.session() as session:
            session.execute(sa.delete(ImageRow))
    with open_here() as platform:
        assert (platform.settings.home, platform.user_id) == (home, user)
        assert bring_in(platform, folder).num_new == NUM_PHOTOS


def test_hidden_and_excluded_folders_are_left_out(folder: Path) -> None:
    shutil.copytree(folder / "trip", folder / ".trash")
    (folder / "link.jpg").symlink_to(folder / "nowhere.jpg")
    assert len(find_photographs(folder)) == NUM_PHOTOS
    assert len(find_photographs(folder, [folder / "trip"])) == NUM_PHOTOS // 2
    with pytest.raises(NotFound):
        find_photographs(folder / "nothing")
    (folder / "empty").mkdir()
    with pytest.raises(InvalidInput, match="has no photograph; known by their suffix are arw, avif"):
        find_photographs(folder / "empty")


def test_folders_that_cannot_be_read_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def refused(path: str) -> Any:  # root may read everything
        if Path(path).name == "trip":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)
    with pytest.warns(UserWarning, match=r"1 folder\(s\) cannot be read: .*trip"):
        found = find_photographs(folder)
    assert len(found) == NUM_PHOTOS // 2


def test_a_pipe_that_is_called_as_a_photograph_is_none(folder: Path) -> None:
    """To open one waits until somebody writes into it."""
    os.mkfifo(folder / "pipe.jpg")
    assert "pipe.jpg" not in [file.name for file in find_photographs(folder)]


@pytest.mark.parametrize("name", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", ".thumbnails"])
def test_folders_of_systems_hold_no_photographs(folder: Path, name: str) -> None:
    """A NAS keeps thumbnails beside the photographs: `@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg`."""
    num_photographs = len(find_photographs(folder))
    place = folder / name / "a.jpg"
    place.mkdir(parents=True)
    shutil.copy(next(file for file in folder.iterdir() if file.is_file()), place / "SYNOPHOTO_THUMB_XL.jpg")
    assert len(find_photographs(folder)) == num_photographs
    (place / "b.jpg").write_bytes(b"x")
    assert [file for file in client_ranking.image_files(folder) if name in file.parts] == [], (
        "nor does the client upload them"
    )
