"""XMP: stars that other programs wrote are read; what is written is judged by exiftool, and nothing else changes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from paaplus.errors import InvalidInput, Unavailable
from paaplus.image_files import PhotographLimits, decode_photograph
from paaplus.photos import xmp
from paaplus.photos.xmp import WrittenScore
from tests.support.photographs import dng, encoded, picture, taken

pytest.importorskip("pyexiv2", reason="needs the extra: pip install 'paaplus[photos]'")

CORPUS = Path(__file__).parents[2] / "fixtures" / "xmp"
WRITTEN = WrittenScore(stars=5, score=8.1234, generic_score=6.2, user="me")
OURS = {"XMP-paaplus:Score", "XMP-paaplus:GenericScore", "XMP-paaplus:Stars", "XMP-paaplus:User"}

needs_exiftool = pytest.mark.skipif(
    shutil.which("exiftool") is None,
    reason="needs exiftool, which judges what was written: apt-get install libimage-exiftool-perl",
)


def exiftool(file: Path) -> dict[str, Any]:
    """All XMP, EXIF and IPTC fields that another program finds."""
    groups = ("-XMP:all", "-EXIF:all", "-IPTC:all", "-JFIF:all", "-ICC_Profile:all")
    done = subprocess.run(
        ["exiftool", "-j", "-G1", "-struct", "-n", *groups, str(file)], capture_output=True, check=True, text=True
    )
    [fields] = json.loads(done.stdout)
    return {name: value for name, value in fields.items() if name not in ("SourceFile", "XMP-x:XMPToolkit")}


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    file = tmp_path / "IMG_1.jpg"
    file.write_bytes(encoded(picture(1), "JPEG", quality=90, exif=taken("2024:05:01 10:11:12", 6)))
    return file


def beside(photograph: Path, name: str) -> Path:
    sidecar = photograph.with_suffix(".xmp")
    shutil.copyfile(CORPUS / name, sidecar)
    return sidecar


def test_stars_of_every_program_are_read_with_their_dates(photograph: Path) -> None:
    expected = {
        "lightroom.xmp": (4, datetime(2024, 5, 1, 8, 11, 12, tzinfo=UTC)),
        "digikam.xmp": (3, datetime(2023, 12, 24, 18).astimezone()),
        "darktable.xmp": (xmp.REJECTED, None),
        "apple_photos.xmp": (5, None),
        "windows.xmp": (4, datetime(2021, 1, 2, 3, 4, 5, tzinfo=UTC)),
        "unrated.xmp": None,
        "unknown_namespace.xmp": (2, datetime(2020, 2, 3, 11, 5, 6, 789000, tzinfo=UTC)),
    }
    assert {file.name for file in CORPUS.glob("*.xmp")} == set(expected)
    for name, wanted in expected.items():
        sidecar = beside(photograph, name)
        os.utime(sidecar, (1_600_000_000, 1_600_000_000))
        given = xmp.read_stars(photograph)
        if wanted is None:
            assert given is None, name
            continue
        assert given is not None, name
        assert given.stars == wanted[0], name
        assert given.occurred_at == (wanted[1] or datetime.fromtimestamp(1_600_000_000, UTC)), name


@needs_exiftool
@pytest.mark.parametrize("name", sorted(file.name for file in CORPUS.glob("*.xmp")))
def test_a_sidecar_is_merged_and_no_other_field_is_touched(photograph: Path, name: str) -> None:
    sidecar = beside(photograph, name)
    before, original = exiftool(sidecar), photograph.read_bytes()
    given = xmp.read_stars(photograph)
    assert xmp.write_sidecar(photograph, WRITTEN) == sidecar
    after = exiftool(sidecar)
    assert after["XMP-paaplus:Score"] == 8.123
    assert after["XMP-paaplus:User"] == "me"
    if given is None:
        assert after.pop("XMP-xmp:Rating") == 5
        before.pop("XMP-xmp:Rating", None)
    else:
        assert after.get("XMP-xmp:Rating") == before.get("XMP-xmp:Rating"), "a person's stars stay"
        assert "XMP-paaplus:Stars" not in after
        assert getattr(xmp.read_stars(photograph), "stars", None) == given.stars
    if "XMP-rdf:About" in before:  # Adobe's library writes the id of a resource in its place of today
        before["XMP-xmpMM:InstanceID"] = before.pop("XMP-rdf:About")
    assert {field: value for field, value in after.items() if field not in OURS} == before
    assert photograph.read_bytes() == original


@needs_exiftool
def test_a_new_sidecar_and_the_photograph_itself_are_written_as_exiftool_reads_them(photograph: Path) -> None:
    before, pixels = exiftool(photograph), decode_photograph(photograph, PhotographLimits(512)).image.tobytes()
    sidecar = xmp.write_sidecar(photograph, WRITTEN)
    assert sidecar == photograph.with_suffix(".xmp")
    wanted = {
        "XMP-xmp:Rating": 5,
        "XMP-paaplus:Score": 8.123,
        "XMP-paaplus:GenericScore": 6.2,
        "XMP-paaplus:Stars": 5,
        "XMP-paaplus:User": "me",
    }
    assert exiftool(sidecar) == wanted
    assert stat.S_IMODE(sidecar.stat().st_mode) == 0o666 & ~_umask()
    photograph.chmod(0o640)
    xmp.write_in_place(photograph, WRITTEN)
    xmp.write_in_place(photograph, WrittenScore(2, 3.0, 6.2, "me"))
    changed = {"XMP-xmp:Rating": 2, "XMP-paaplus:Stars": 2, "XMP-paaplus:Score": 3}
    assert exiftool(photograph) == before | wanted | changed
    assert decode_photograph(photograph, PhotographLimits(512)).image.tobytes() == pixels
    assert stat.S_IMODE(photograph.stat().st_mode) == 0o640
    assert sorted(file.name for file in photograph.parent.iterdir()) == ["IMG_1.jpg", "IMG_1.xmp"]


def test_own_stars_are_not_taken_for_a_persons_and_a_persons_are_kept(photograph: Path) -> None:
    sidecar = xmp.write_sidecar(photograph, WRITTEN)
    assert xmp.read_stars(photograph) is None, "they would be learned from"
    sidecar.write_text(sidecar.read_text().replace('xmp:Rating="5"', 'xmp:Rating="1"'))  # as a person sets them
    for _ in range(2):
        given = xmp.read_stars(photograph)
        assert given is not None
        assert given.stars == 1
        xmp.write_sidecar(photograph, WRITTEN)


def test_stars_inside_the_photograph_and_windows_percent_are_read(photograph: Path) -> None:
    import pyexiv2

    with pyexiv2.Image(str(photograph)) as image:
        image.modify_exif({"Exif.Image.RatingPercent": "99"})
    given = xmp.read_stars(photograph)
    assert given is not None
    assert (given.stars, given.source) == (5, photograph)
    sidecar = xmp.write_sidecar(photograph, WrittenScore(2, 3.0, 6.2, "me"))
    assert "xmp:Rating" not in sidecar.read_text(), "the person's 5 stars are in the photograph"
    beside(photograph, "lightroom.xmp")
    os.utime(photograph, (1_600_000_000, 1_600_000_000))
    assert getattr(xmp.read_stars(photograph), "stars", None) == 4, "the sidecar was changed later"


def test_sidecars_of_files_with_one_name_do_not_mix(tmp_path: Path) -> None:
    jpeg, raw = tmp_path / "a.jpg", tmp_path / "a.dng"
    jpeg.write_bytes(encoded(picture(1), "JPEG"))
    raw.write_bytes(dng(encoded(picture(1), "JPEG")))
    shutil.copyfile(CORPUS / "lightroom.xmp", tmp_path / "a.xmp")
    assert xmp.read_stars(jpeg) is None, "the sidecar is that of the RAW file"
    assert getattr(xmp.read_stars(raw), "stars", None) == 4
    assert xmp.write_sidecar(jpeg, WRITTEN).name == "a.jpg.xmp"
    assert xmp.write_sidecar(raw, WRITTEN).name == "a.xmp"
    with pytest.raises(InvalidInput, match=r"a\.dng: a RAW file is never written"):
        xmp.write_in_place(raw, WRITTEN)


@pytest.mark.parametrize("damage", [b"", b"<x:xmpmeta", b"hello"])
def test_a_sidecar_that_is_damaged_is_refused_and_stays(photograph: Path, damage: bytes) -> None:
    sidecar = photograph.with_suffix(".xmp")
    sidecar.write_bytes(damage)
    with pytest.raises(InvalidInput, match=r"IMG_1\.xmp"):
        xmp.read_stars(photograph)
    with pytest.raises(InvalidInput, match=r"IMG_1\.xmp"):
        xmp.write_sidecar(photograph, WRITTEN)
    assert sidecar.read_bytes() == damage
    assert len(list(photograph.parent.iterdir())) == 2


@pytest.mark.parametrize(
    ("rating", "message"),
    [("7", "it should be -1 to 5"), ("many", "is not a number"), ("0_4", "is not a number"), ("٤", "is not a number")],
)
def test_stars_that_are_none_are_refused(photograph: Path, rating: str, message: str) -> None:
    sidecar = beside(photograph, "lightroom.xmp")
    sidecar.write_text(sidecar.read_text().replace('xmp:Rating="4"', f'xmp:Rating="{rating}"'))
    with pytest.raises(InvalidInput, match=message):
        xmp.read_stars(photograph)


def test_a_missing_package_is_named_with_its_extra(photograph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyexiv2", None)
    with pytest.raises(Unavailable, match=r"pip install 'paaplus\[photos\]'"):
        xmp.read_stars(photograph)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
