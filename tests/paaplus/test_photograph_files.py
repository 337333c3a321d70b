"""Photographers' files: every kind gives the same picture, upright and scaled down; refusals name the limit."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import InvalidInput, Unavailable
from paaplus.image_files import PhotographLimits, decode_photograph
from tests.support.photographs import dng, encoded, linear_profile, picture, taken

SMALL = PhotographLimits(max_side_px=128)
MOMENT = "2024:05:01 10:11:12"


pytest.importorskip("rawpy", reason="needs the extra: pip install 'paaplus[photos]'")
pyexiv2 = pytest.importorskip("pyexiv2", reason="needs the extra: pip install 'paaplus[photos]'")
heif = pytest.importorskip("pillow_heif", reason="needs the extra: pip install 'paaplus[photos]'")


@cache
def heic_of_cat() -> bytes:
    return heic(picture(1))


def heic(image: Image.Image, exif: Image.Exif | None = None) -> bytes:
    writer = heif.from_pillow(image)
    if exif is not None:
        writer.info["exif"] = exif.tobytes()
    stream = BytesIO()
    writer.save(stream, quality=95)
    return stream.getvalue()


def turned() -> Image.Exif:
    return taken(MOMENT, 6, "25")  # a new one for each, because Pillow changes what it writes


def tiff(image: Image.Image) -> bytes:
    """Pillow writes no EXIF directory into a TIFF."""
    with pyexiv2.ImageData(encoded(image, "TIFF", exif=turned(), compression="tiff_lzw")) as file:
        file.modify_exif({"Exif.Photo.DateTimeOriginal": MOMENT})
        return file.get_bytes()


@cache
def same_picture() -> dict[str, bytes]:
    """One photograph, 256 x 170, in every kind of file, as a camera stores it that was turned."""
    image = picture(1)
    tall = image.transpose(Image.Transpose.ROTATE_90)
    jpeg = encoded(tall, "JPEG", quality=95)
    upright = encoded(image, "JPEG", quality=95, exif=taken(MOMENT, 1))  # below without JFIF, as cameras write it
    film = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 500
    return {
        "a.jpg": encoded(tall, "JPEG", quality=95, exif=turned()),
        "a.png": encoded(tall, "PNG", exif=turned()),
        "a.webp": encoded(tall, "WEBP", quality=95, exif=turned()),
        "a.avif": encoded(tall, "AVIF", quality=95, speed=10, exif=turned()),
        "a.tif": tiff(tall),
        "a.heic": heic(tall, turned()),
        "a.dng": dng(jpeg, 6, MOMENT),
        "with_exif_in_its_preview.dng": dng(encoded(tall, "JPEG", quality=95, exif=taken(MOMENT, 6)), 6, MOMENT),
        "preview_is_upright.dng": dng(upright[:2] + upright[20:], 6, MOMENT),
        "named_like_a_tiff.tif": dng(jpeg, 6, MOMENT),
        "motion.jpg": encoded(tall, "JPEG", quality=95, exif=turned()) + film,
        "progressive.jpg": encoded(tall, "JPEG", quality=95, progressive=True, exif=turned()),
    }


def test_every_kind_is_the_same_picture_upright_and_scaled_down_with_its_time(tmp_path: Path) -> None:
    wide = picture(1)
    for name, data in same_picture().items():
        found = decode_photograph(written(tmp_path, name, data), SMALL)
        assert (found.width_px, found.height_px) == wide.size, name
        assert found.image.mode == "RGB", name
        assert found.image.size == (128, 85), name
        expected_HW3 = np.asarray(wide.resize((128, 85), Image.Resampling.LANCZOS), int)
        assert np.abs(np.asarray(found.image, int) - expected_HW3).mean() < 3, name
        assert found.taken_at is not None, name
        assert found.taken_at.replace(microsecond=0) == datetime(2024, 5, 1, 10, 11, 12), name


def written(folder: Path, name: str, data: bytes) -> Path:
    file = folder / name
    file.write_bytes(data)
    return file


def test_a_file_without_exif_is_read_as_it_lies(tmp_path: Path) -> None:
    for name, data in (("a.heic", heic_of_cat()), ("a.avif", encoded(picture(1), "AVIF", speed=10))):
        found = decode_photograph(written(tmp_path, name, data), SMALL)
        assert (found.image.size, found.taken_at) == ((128, 85), None), name


def test_colours_are_converted_from_the_profile_of_the_photograph(tmp_path: Path) -> None:
    """Half of the light, .5 linear, is 188 of 255 in sRGB (IEC 61966-2-1)."""
    flat = Image.new("RGB", (300, 200), (128, 128, 128))
    for kind, name in (("JPEG", "a.jpg"), ("TIFF", "a.tif")):
        file = written(tmp_path, name, encoded(flat, kind, icc_profile=linear_profile()))
        assert decode_photograph(file, SMALL).image.getpixel((5, 5)) == (188, 188, 188), name


def test_a_tiff_of_16_bits_is_a_ramp_and_transparent_pixels_are_white(tmp_path: Path) -> None:
    value_HW = np.linspace(0, 65535, 300 * 200).reshape(200, 300).astype(np.uint16)
    gray = decode_photograph(written(tmp_path, "gray.tif", encoded(Image.fromarray(value_HW), "TIFF")), SMALL).image
    assert gray.getpixel((64, 42)) == pytest.approx((128,) * 3, abs=4)
    veil = decode_photograph(
        written(tmp_path, "veil.png", encoded(Image.new("RGBA", (300, 200), (0, 0, 0, 0)), "PNG")), SMALL
    )
    assert veil.image.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.slow
def test_a_jpeg_of_200_megapixels_takes_little_memory_and_one_more_row_is_refused(tmp_path: Path) -> None:
    """A gray one, because it is made quickly; the header of a larger one is refused without a decoder."""
    file = written(tmp_path, "vast.jpg", encoded(Image.new("L", (20_000, 10_000), 90), "JPEG"))
    reserved: list[int] = []

    def reserve(num_bytes: int) -> nullcontext[None]:
        reserved.append(num_bytes)
        return nullcontext()

    found = decode_photograph(file, PhotographLimits(max_side_px=1024), reserve)
    assert found.image.size == (1024, 512)
    assert found.image.getpixel((5, 5)) == (90, 90, 90)
    assert reserved[0] < 20_000_000
    with pytest.raises(InvalidInput, match="20000 x 10000 px; at most 199999999 pixels"):
        decode_photograph(file, PhotographLimits(1024, max_pixels=199_999_999))


def test_what_takes_too_much_memory_is_refused_with_the_bound(tmp_path: Path) -> None:
    bounded = {"a.png", "a.webp", "a.avif", "a.heic", "a.tif", "progressive.jpg"}
    for name, data in same_picture().items():
        file = written(tmp_path, name, data)
        if name in bounded:
            with pytest.raises(InvalidInput, match=r"to decode it takes about \d+ MB .* at most 0 MB"):
                decode_photograph(file, PhotographLimits(128, max_bytes=170_000))
        else:
            decode_photograph(file, PhotographLimits(128, max_bytes=180_000))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.jpg", b"", "an empty file"),
        ("text.jpg", b"hello, world", "not a JPEG, PNG, WebP, AVIF, HEIC, TIFF or RAW file"),
        ("film.heic", b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a film or another file of brand 'qt  '"),
        ("cut.jpg", encoded(picture(1), "JPEG")[:2000], "damaged or truncated"),
        ("cut.heic", heic_of_cat()[:2000], "damaged or truncated"),
        ("cut.tif", encoded(picture(1), "TIFF", compression="tiff_lzw")[:2000], "damaged or truncated"),
        ("cut.avif", encoded(picture(1), "AVIF", speed=10)[:2000], "damaged or truncated"),
        ("cut.dng", dng(encoded(picture(1), "JPEG"))[:300], "the RAW file is damaged"),
        ("raw.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "the RAW file is damaged"),
        ("float.tif", encoded(Image.new("F", (40, 40), 0.5), "TIFF"), "floating-point"),
        ("scans.jpg", encoded(picture(1), "JPEG")[:-2] + b"\xff\xda\0\x02" * 200 + b"\xff\xd9", "more than 100 scans"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        decode_photograph(written(tmp_path, name, data), SMALL)


@pytest.mark.parametrize(("module", "name"), [("pillow_heif", "a.heic"), ("rawpy", "a.dng")])
def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    file = written(tmp_path, name, heic_of_cat() if name == "a.heic" else dng(encoded(picture(1), "JPEG")))
    for loaded in [each for each in sys.modules if each.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    with pytest.raises(Unavailable, match=r"pip install 'paaplus\[photos\]'"):
        decode_photograph(file, SMALL)
