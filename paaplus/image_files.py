"""Decode image files to pixels: the one decoder of uploads, data folders and stored images.

The result is upright, 8-bit sRGB and opaque, so training, evaluation and serving see the same picture.
"""

from __future__ import annotations

import re
import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from paaplus.errors import InvalidInput

MAX_PIXELS = 50_000_000
DECODER = 2  # raised when a file's pixels change: what was cached from pixels of an older decoder is not used

# The plugins are called directly, because `Image.open` also tries other formats, and warns of large files.
_OPENERS: dict[str, type[ImageFile]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}

# A progressive JPEG decodes all pixels once per scan, so a small file can take hours. Cameras write about ten scans.
_MAX_JPEG_SCANS = 100
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\x01\xd0-\xd7]")  # no stuffed byte, fill byte, TEM or restart marker
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
_EXIF_LONG = 4

_SRGB = ImageCms.createProfile("sRGB")
_SAME_COLOURS = 2  # of 255: profiles of sRGB by different makers differ by so much


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS, min_side_px: int = 1) -> Image.Image:
    """Decode an image file: turned upright by its EXIF orientation, in sRGB, with white behind transparent pixels.

    16-bit, CMYK and gray images become 8-bit RGB. What follows the image in its file is ignored, for example the film
    of a motion photo.

    Raises:
        InvalidInput: not a JPEG, PNG or WebP; or animated, damaged, too small or too large.
    """
    media_type = media_type_of(data)
    check_header(data, media_type, max_pixels, min_side_px)
    try:
        with _OPENERS[media_type](BytesIO(data)) as image:
            _check_size(image.size, max_pixels, min_side_px)
            if getattr(image, "is_animated", False):
                raise InvalidInput(f"an animation of {getattr(image, 'n_frames', 2)} frames is not accepted")
            image.load()
            return _opaque_srgb(_upright(image))
    except (InvalidInput, MemoryError):  # too little memory is no fault of the file
        raise
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        raise InvalidInput(f"the file is damaged or truncated, and no {media_type} can be read: {error}") from error


def check_image_file(file: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Read the header of an image file, which takes under a millisecond.

    Raises:
        InvalidInput: not a JPEG, PNG or WebP, or too large.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        beginning = stream.read(64)
        media_type = media_type_of(beginning)
        if media_type == "image/webp":
            _check_size(_webp_size(beginning), max_pixels, 1)
            return
        stream.seek(0)
        try:
            with _OPENERS[media_type](stream) as image:
                _check_size(image.size, max_pixels, 1)
        except InvalidInput:
            raise
        except Exception as error:  # as in `decode_image`
            raise InvalidInput(f"the file is damaged, and no {media_type} can be read: {error}") from error


def media_type_of(data: bytes) -> str:
    """The media type by the first bytes of a file.

    Raises:
        InvalidInput: another one than JPEG, PNG or WebP.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if not data:
        raise InvalidInput("an empty file: not a JPEG, PNG or WebP file")
    raise InvalidInput(f"not a JPEG, PNG or WebP file: it begins with {data[:8]!r}")


def check_header(data: bytes, media_type: str, max_pixels: int, min_side_px: int) -> None:
    """What can be refused without a decoder.

    Raises:
        InvalidInput: a JPEG of too many scans, or a WebP whose size is not accepted.
    """
    if media_type == "image/jpeg" and num_jpeg_scans(data) > _MAX_JPEG_SCANS:
        raise InvalidInput(f"a JPEG with more than {_MAX_JPEG_SCANS} scans is not accepted")
    if media_type == "image/webp":
        _check_size(_webp_size(data), max_pixels, min_side_px)  # before opening: its decoder allocates all pixels then


def num_jpeg_scans(data: bytes) -> int:
    """The number of scans of a JPEG's first image, as ITU T.81 (annex B) delimits it.

    Segments are skipped by their length, because a thumbnail in one has scans too. What follows EOI is not read.
    """
    scans, position = 0, 2
    while found := _JPEG_MARKER.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _EOI:
            break
        if marker == _SOI:
            continue
        scans += marker == _SOS
        position += max(int.from_bytes(data[position : position + 2], "big"), 2)
    return scans


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    try:
        if kind == b"VP8X":
            return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
        if kind == b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        if kind == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
    except struct.error as error:
        raise InvalidInput(f"a WebP file that ends in its header, after {len(data)} bytes") from error
    raise InvalidInput(f"a WebP file whose first chunk is {kind!r}")


def _check_size(size: tuple[int, int], max_pixels: int, min_side_px: int) -> None:
    width, height = size
    if min(size) < min_side_px:
        raise InvalidInput(f"the picture is {width} x {height} px; each side needs at least {min_side_px}")
    if width * height > max_pixels:
        raise InvalidInput(f"the picture is {width} x {height} px; at most {max_pixels} pixels are accepted")


def _upright(image: Image.Image) -> Image.Image:
    turn = _UPRIGHT.get(_orientation(image.info.get("exif", b"")))
    return image.transpose(turn) if turn is not None else image


def _orientation(exif: bytes) -> int:
    """The EXIF orientation; 1 (upright) if there is none. Parsed here, because Pillow warns of other invalid tags."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        start = struct.unpack_from(f"{order}I", tiff, 4)[0]
        for entry in range(struct.unpack_from(f"{order}H", tiff, start)[0]):
            at = start + 2 + 12 * entry
            tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
            if tag == _ORIENTATION_TAG:
                return int(struct.unpack_from(f"{order}{'I' if kind == _EXIF_LONG else 'H'}", tiff, at + 8)[0])
    except struct.error:
        return 1
    return 1


def _opaque_srgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit sRGB, and lay transparent pixels on white."""
    profile = image.info.get("icc_profile")
    image, alpha = _eight_bit(image)
    rgb = _to_srgb(image, profile) if profile else image.convert("RGB")
    if alpha is None:
        return rgb
    white = Image.new("RGB", rgb.size, "white")
    white.paste(rgb, mask=alpha)
    return white


def _eight_bit(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in 8 bits, as L, RGB or CMYK, and the opacity if some pixels may be transparent."""
    if image.mode.startswith("I"):  # 16-bit gray; Pillow would clip it at 255, and forget its transparent value
        value_HW = np.asarray(image, np.uint32)
        colours = Image.fromarray(((value_HW * 255 + 32767) // 65535).astype(np.uint8))
        hidden = image.info.get("transparency")
        alpha = None if hidden is None else Image.fromarray(np.where(value_HW == hidden, 0, 255).astype(np.uint8))
        return colours, alpha
    if image.has_transparency_data:
        layered = image.convert("LA" if image.mode in ("LA", "L", "1") else "RGBA")
        return layered.convert(layered.mode.removesuffix("A")), layered.getchannel("A")
    return image if image.mode in ("RGB", "CMYK", "L") else image.convert("L" if image.mode == "1" else "RGB"), None


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours from their ICC profile to sRGB. A profile that is invalid, or of other channels, is ignored."""
    try:
        transform = ImageCms.buildTransform(ImageCms.ImageCmsProfile(BytesIO(profile)), _SRGB, image.mode, "RGB")
        if image.mode == "RGB" and _keeps_colours(transform):
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    assert converted is not None  # only with `inPlace`
    return converted


def _keeps_colours(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB, by what it does and not by its name: then pixels stay as they are."""
    step = np.linspace(0, 255, 17).astype(np.uint8)
    colour_HW3 = np.stack(np.meshgrid(step, step, step), axis=-1).reshape(17, -1, 3)
    converted = ImageCms.applyTransform(Image.fromarray(colour_HW3), transform)
    return bool(np.abs(np.asarray(converted, int) - colour_HW3.astype(int)).max() <= _SAME_COLOURS)
