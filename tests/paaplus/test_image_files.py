from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.image_files import decode_image

ORIENTATION = 0x0112


def encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture
def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8))


# Orientation n means: the stored rows and columns are these sides of the scene (EXIF 2.3); so this turns them back.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_picture_is_upright_when_its_exif_says_how(picture, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    decoded = decode_image(encode(picture, exif=exif))
    np.testing.assert_array_equal(np.asarray(decoded), UPRIGHT[orientation](np.asarray(picture)))


def test_transparent_pixels_are_white_and_opaque_ones_untouched(picture):
    rgba = picture.convert("RGBA")
    rgba.putpixel((0, 0), (10, 20, 30, 0))
    decoded = decode_image(encode(rgba))
    assert decoded.mode == "RGB"
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((1, 1)) == picture.getpixel((1, 1))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA"])
def test_other_modes_become_rgb(picture, mode):
    assert decode_image(encode(picture.convert(mode))).mode == "RGB"


def test_cmyk_jpeg_becomes_rgb(picture):
    assert decode_image(encode(picture.convert("CMYK"), "JPEG")).mode == "RGB"


def test_file_is_refused_when_it_is_no_image_or_cut_off(picture):
    data = encode(picture.resize((300, 300)), "JPEG")
    for bad in (b"", b"hello", data[: len(data) // 2], encode(picture.resize((300, 300)))[:400]):
        with pytest.raises(InvalidInput, match=r"damaged|empty|not a JPEG"):
            decode_image(bad)


def test_file_is_refused_before_decoding_when_it_is_too_large(picture):
    with pytest.raises(InvalidInput, match="4 x 6 px"):
        decode_image(encode(picture), max_pixels=23)
    assert decode_image(encode(picture), max_pixels=24).size == (4, 6)
