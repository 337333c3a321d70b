"""A corpus of image files: a data folder and an upload see the same pixels, and the same features."""

from __future__ import annotations

import errno
import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from paaplus import image_files, image_kinds
from paaplus.data.builtin_set.photographs import PHOTOGRAPHS
from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.image_files import decode_image, num_jpeg_scans
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import Extractor
from paaplus.services.images import sanitize
from tests.support.photographs import linear_profile

SIZE = (192, 144)


@lru_cache
def picture() -> Image.Image:
    """A part of a photograph: no two orientations of it are alike."""
    return PHOTOGRAPHS[0].load(256).crop((40, 0, 40 + SIZE[0], SIZE[1]))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png16(value_HWC: np.ndarray, color_type: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits a channel, which Pillow cannot write in all colour types."""
    height, width = value_HWC.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in value_HWC)
    header = struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [_chunk(b"IHDR", header), extra, _chunk(b"IDAT", zlib.compress(rows)), _chunk(b"IEND", b"")]
    )


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def files() -> Iterator[tuple[str, bytes]]:
    rgb, gray = picture(), picture().convert("L")
    value_HW = np.linspace(0, 65535, SIZE[0] * SIZE[1]).reshape(SIZE[1], SIZE[0]).astype(np.uint16)
    veil = rgb.convert("RGBA")
    veil.putalpha(Image.linear_gradient("L").resize(SIZE))
    gray_veil = gray.convert("LA")
    gray_veil.putalpha(Image.linear_gradient("L").resize(SIZE))
    palette = rgb.quantize(16)
    yield "rgb.png", encoded(rgb, "PNG")
    yield "gray.png", encoded(gray, "PNG")
    yield "one_bit.png", encoded(gray.convert("1"), "PNG")
    yield "palette.png", encoded(palette, "PNG")
    yield "palette_transparent.png", encoded(palette, "PNG", transparency=3)
    yield "rgba.png", encoded(veil, "PNG")
    yield "gray_alpha.png", encoded(gray_veil, "PNG")
    yield "rgb_transparent_value.png", encoded(rgb, "PNG", transparency=rgb.getpixel((5, 5)))
    yield "gray16.png", encoded(Image.fromarray(value_HW), "PNG")
    yield "gray16_transparent_value.png", png16(value_HW, 0, _chunk(b"tRNS", struct.pack(">H", int(value_HW[3, 3]))))
    yield "gray16_alpha.png", png16(np.stack([value_HW, value_HW[::-1]], -1), 4)
    yield "rgb16.png", png16(np.stack([value_HW, value_HW[::-1], value_HW[:, ::-1]], -1), 2)
    yield "rgba16.png", png16(np.stack([value_HW, value_HW[::-1], value_HW[:, ::-1], value_HW], -1), 6)
    yield "linear.png", encoded(rgb, "PNG", icc_profile=linear_profile())
    yield "linear_alpha.png", encoded(veil, "PNG", icc_profile=linear_profile())
    yield "srgb.png", encoded(rgb, "PNG", icc_profile=profile("sRGB"))
    yield "wrong_profile.png", encoded(gray, "PNG", icc_profile=profile("sRGB"))
    yield "bad_profile.png", encoded(rgb, "PNG", icc_profile=b"no profile")
    for orientation in range(1, 9):
        yield f"turned_{orientation}.jpg", encoded(rgb, "JPEG", quality=95, exif=turned(orientation))
        yield f"turned_{orientation}.png", encoded(rgb, "PNG", exif=turned(orientation))
    yield "turned.webp", encoded(rgb, "WEBP", lossless=True, exif=turned(6))
    yield "alpha.webp", encoded(veil, "WEBP", lossless=True)
    yield "lossy.webp", encoded(rgb, "WEBP", quality=90)
    yield "gray.jpg", encoded(gray, "JPEG", quality=95)
    yield "cmyk.jpg", encoded(rgb.convert("CMYK"), "JPEG", quality=95)
    yield "progressive.jpg", encoded(rgb, "JPEG", progressive=True, quality=95)
    yield "linear.jpg", encoded(rgb, "JPEG", quality=95, icc_profile=linear_profile())
    yield "motion.jpg", encoded(rgb, "JPEG", quality=95) + b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 500
    stereo = io.BytesIO()
    rgb.save(stereo, "MPO", save_all=True, append_images=[gray.convert("RGB")])
    yield "stereo.jpg", stereo.getvalue()


CORPUS = dict(files())


def uploaded(data: bytes) -> Image.Image:
    """The pixels that a worker decodes from the stored picture."""
    stored = sanitize.clean(data, max_bytes=2**24, max_pixels=10**6, min_side_px=16)
    return decode_image(stored.data)


@pytest.mark.parametrize("name", CORPUS)
def test_folder_and_upload_see_the_same_pixels(name: str) -> None:
    folder, upload = decode_image(CORPUS[name]), uploaded(CORPUS[name])
    assert folder.mode == upload.mode == "RGB"
    assert folder.size == upload.size
    difference = np.abs(np.asarray(folder, int) - np.asarray(upload, int))
    assert difference.mean() <= (0.0 if not name.endswith(".jpg") else 1.5), "a JPEG is encoded again, at quality 95"
    assert difference.max() <= (0 if not name.endswith(".jpg") else 30)


def at(name: str, x: float, y: float) -> tuple[int, ...]:
    image = decode_image(CORPUS[name])
    return image.getpixel((int(x * (image.width - 1)), int(y * (image.height - 1))))


def near(name: str, x: float, y: float, colour: tuple[int, int, int], by: int = 3) -> bool:
    return all(abs(found - wanted) <= by for found, wanted in zip(at(name, x, y), colour, strict=True))


@pytest.mark.parametrize("name", ["gray16.png", "gray16_transparent_value.png"])
def test_16_bit_gray_is_a_ramp(name: str) -> None:
    gray = np.asarray(decode_image(CORPUS[name]))[..., 0]
    assert len(np.unique(gray)) == 256
    assert near(name, 0, 0, (0, 0, 0)), name
    assert near(name, 0.5, 0.5, (128, 128, 128), by=4)


def test_value_that_is_transparent_in_16_bits_is_white() -> None:
    pixel_HW3 = np.asarray(decode_image(CORPUS["gray16_transparent_value.png"]))
    assert pixel_HW3[3, 3].tolist() == [255, 255, 255]
    assert pixel_HW3[3, 5].tolist() == np.asarray(decode_image(CORPUS["gray16.png"]))[3, 5].tolist()


def test_colours_are_those_of_the_profile_by_what_it_does() -> None:
    """Half of the light, .5 linear, is 188 of 255 in sRGB (IEC 61966-2-1)."""
    flat = Image.new("RGB", (32, 32), (128, 128, 128))
    assert decode_image(encoded(flat, "PNG", icc_profile=linear_profile())).getpixel((3, 3)) == (188, 188, 188)
    assert decode_image(encoded(flat, "PNG", icc_profile=profile("sRGB"))).getpixel((3, 3)) == (128, 128, 128)
    half = Image.new("RGBA", (32, 32), (0, 0, 0, 128))
    assert decode_image(encoded(half, "PNG", icc_profile=linear_profile())).getpixel((3, 3)) == (127, 127, 127)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_every_orientation_is_turned_as_pillow_turns_it(kind: str, orientation: int) -> None:
    data = CORPUS[f"turned_{orientation}.{kind}"]
    with Image.open(io.BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode_image(data)), np.asarray(expected))


@pytest.fixture(scope="module")
def lite() -> Extractor:
    return load_extractor("lite")


@pytest.mark.slow
def test_features_of_a_folder_are_those_of_the_uploads(tmp_path: Path, lite: Extractor) -> None:
    (tmp_path / "images").mkdir()
    for name, data in CORPUS.items():
        (tmp_path / "images" / name).write_bytes(data)
    names = sorted(CORPUS)
    rows = [f"ann,{name},{i % 5}" for i, name in enumerate(names)]
    (tmp_path / "ratings.csv").write_text("\n".join(["user_id,image,rating", *rows]))
    features_ID = folder_features(read_folder(tmp_path), lite, tmp_path / "cache").astype(np.float64)
    for name, folder_D in zip(names, features_ID, strict=True):
        upload_D = lite.extract([uploaded(CORPUS[name])])[0].astype(np.float64)
        cosine = folder_D @ upload_D / np.linalg.norm(folder_D) / np.linalg.norm(upload_D)
        assert cosine > (0.99 if name.endswith(".jpg") else 0.999999), name


# --- scans of a JPEG


def jpeg_with(edit: Callable[[bytes], bytes]) -> bytes:
    return edit(encoded(picture(), "JPEG"))


MANY_SCANS = b"\xff\xda\0\x02" * 200  # each with an empty header
LENGTH = struct.pack(">H", len(MANY_SCANS) + 2)


@pytest.mark.parametrize(
    ("data", "scans"),
    [
        (encoded(picture(), "JPEG"), 1),
        (jpeg_with(lambda jpeg: jpeg + MANY_SCANS), 1),
        (jpeg_with(lambda jpeg: jpeg[:2] + b"\xff\xe1" + LENGTH + MANY_SCANS + jpeg[2:]), 1),  # a thumbnail in APP1
        (jpeg_with(lambda jpeg: jpeg[:2] + b"\xff\xfe" + LENGTH + MANY_SCANS + jpeg[2:]), 1),  # a comment
        (jpeg_with(lambda jpeg: jpeg[:2] + b"\xff\xff\xff" + jpeg[3:]), 1),
        (jpeg_with(lambda jpeg: jpeg[:-2] + MANY_SCANS + jpeg[-2:]), 201),
        (b"\xff\xd8\xff", 0),
        (b"\xff\xd8\xff\xe1", 0),
        (b"\xff\xd8\xff\xda\xff\xff", 1),
    ],
)  # fmt: skip
def test_scans_are_those_of_the_image(data: bytes, scans: int) -> None:
    assert num_jpeg_scans(data) == scans


def test_markers_are_those_that_a_search_from_byte_to_byte_finds() -> None:
    rng = np.random.default_rng(0)
    marker = re.compile(rb"\xff+[^\x00\xff\x01\xd0-\xd7]")
    for length in (1, 2, 3, *[200] * 50):
        data = (
            rng.choice([0xFF, 0xFF, 0x00, 0x01, 0xD0, 0xD7, 0xD8, 0xDA, 0xCF, 0x30], length).astype(np.uint8).tobytes()
        )
        found = [match.end() - 2 for match in marker.finditer(data)]
        assert image_kinds._marker_places(data).tolist() == found


@pytest.mark.parametrize("has_room", [True, False])
def test_a_picture_is_encoded_through_a_file_of_the_system_where_there_is_room(
    monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    def no_room() -> object:
        raise OSError(errno.ENOSPC, "no space left on device")

    if not has_room:
        monkeypatch.setattr(image_files, "TemporaryFile", no_room)
    has_descriptor: list[bool] = []
    save = Image.Image.save

    def noted(image: Image.Image, file: Any, *args: Any, **options: Any) -> None:
        has_descriptor.append(not isinstance(file, io.BytesIO) and file.fileno() > 2)
        save(image, file, *args, **options)

    for kind in ("JPEG", "PNG", "WEBP"):
        expected = encoded(picture(), kind, quality=90)
        with monkeypatch.context() as patched:
            patched.setattr(Image.Image, "save", noted)
            assert image_files.encoded(picture(), kind, quality=90) == expected
    assert has_descriptor == [has_room] * 3


def test_progressive_jpeg_has_the_scans_that_libjpeg_wrote() -> None:
    assert num_jpeg_scans(CORPUS["progressive.jpg"]) == 10  # its standard script for YCbCr
