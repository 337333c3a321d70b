"""Decode image files to pixels: the one decoder of uploads, data folders and stored images.

The result is upright, 8-bit sRGB and opaque, so training, evaluation and serving see the same picture.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

import numpy as np
from PIL import Image, ImageCms

from paaplus import image_kinds
from paaplus.errors import InvalidInput, Unavailable
from paaplus.image_kinds import (
    HEIC,
    JPEG,
    OPENERS,
    RAW,
    TIFF,
    WEBP,
    Bytes,
    decoding_bytes,
    media_type_of,
    num_jpeg_scans,
    photograph_type_of,
    tiff_values,
    webp_may_move,
    webp_size,
)

MAX_PIXELS = 50_000_000
DECODER = 2  # raised when a file's pixels change: what was cached from pixels of an older decoder is not used

MAX_PHOTOGRAPH_PIXELS: Final = 200_000_000
MAX_DECODING_BYTES: Final = 600_000_000  # of one photograph
_EXIF = b"Exif\0\0"

# A progressive JPEG decodes all pixels once per scan, so a small file can take hours. Cameras write about ten scans.
_MAX_JPEG_SCANS = 100
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
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
        with OPENERS[media_type](BytesIO(data)) as image:
            _check_size(image.size, max_pixels, min_side_px)
            _refuse_animation(image)
            image.load()
            return _opaque_srgb(_upright(image))
    except (InvalidInput, MemoryError):  # too little memory is no fault of the file
        raise
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        raise InvalidInput(f"the file is damaged or truncated; it cannot be read as {media_type}: {error}") from error


@dataclass(frozen=True, slots=True)
class Photograph:
    """A decoded photograph: its picture, scaled down, and what the file says of the original.

    `taken_at` is the camera's clock when it was taken, to a fraction of a second, without a time zone; None: unknown.
    """

    image: Image.Image
    media_type: str
    width_px: int
    height_px: int
    taken_at: datetime | None


@dataclass(frozen=True, slots=True)
class PhotographLimits:
    """What is accepted of a photographer's file: sides and pixels of the original, and bytes that its decoding takes.

    `max_side_px` is the longer side of the result, at most.
    """

    max_side_px: int
    max_pixels: int = MAX_PHOTOGRAPH_PIXELS
    max_bytes: int = MAX_DECODING_BYTES
    min_side_px: int = 1


Reserve = Callable[[int], AbstractContextManager[object]]


def decode_photograph(file: Path, limits: PhotographLimits, reserve: Reserve = nullcontext) -> Photograph:
    """Decode a photographer's file as `decode_image` does, scaled down.

    Beside uploads' kinds it reads AVIF, HEIC, TIFF (the first page) and the preview inside RAW files. A JPEG is decoded
    at a fraction of its size. The file is not read as a whole.

    Args:
        file: the file.
        limits: what is accepted.
        reserve: is entered with the number of bytes that the decoding takes, so that several threads share a bound.

    Raises:
        InvalidInput: another kind of file; animated, damaged, too small, or beyond a limit.
        Unavailable: a package that reads this kind is not installed.
        OSError: the file cannot be read.
    """
    if file.stat().st_size == 0:
        raise InvalidInput("an empty file")
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        media_type = photograph_type_of(data, file.suffix.removeprefix("."))
        if media_type == RAW:
            preview, orientation = image_kinds.raw_preview(str(file))
            found = _photograph(BytesIO(preview), preview, media_type_of(preview), limits, reserve, orientation)
        else:
            found = _photograph(stream, data, media_type, limits, reserve)
        taken_at = _taken_at(data) if media_type in (RAW, TIFF) else None
    return replace(found, media_type=media_type, taken_at=taken_at or found.taken_at)


def _photograph(
    stream: IO[bytes],
    data: Bytes,
    media_type: str,
    limits: PhotographLimits,
    reserve: Reserve,
    orientation: int = 1,
) -> Photograph:
    """Decode what `stream` has; `data` is the same. `orientation`: unless the file says it."""
    num_scans = num_jpeg_scans(data) if media_type == JPEG else 0
    if num_scans > _MAX_JPEG_SCANS:
        raise InvalidInput(f"a JPEG with more than {_MAX_JPEG_SCANS} scans is not accepted")
    if media_type == WEBP:
        _check_size(webp_size(data), limits.max_pixels, limits.min_side_px)
    try:
        with OPENERS[media_type](stream) as image:
            width, height = size = image.size
            _check_size(size, limits.max_pixels, limits.min_side_px)
            if media_type not in (HEIC, TIFF):
                _refuse_animation(image)
            if image.mode == "F":
                raise InvalidInput("a picture of 32-bit floating-point pixels is not accepted")
            if max(size) > limits.max_side_px:
                scale = limits.max_side_px / max(size)
                image.draft(image.mode, (max(1, int(width * scale)), max(1, int(height * scale))))
            needed = decoding_bytes(image, media_type, width * height, num_scans)
            if needed > limits.max_bytes:
                raise InvalidInput(
                    f"the picture is {width} x {height} px; to decode it takes about {needed // 10**6} MB of memory, "
                    f"and at most {limits.max_bytes // 10**6} MB are used for a file of type {media_type}"
                )
            with reserve(needed):
                image.load()
                exif = image.info.get("exif") or b""  # not before, because Pillow turns a TIFF itself
                picture = _turned(_opaque_srgb(image, limits.max_side_px), _orientation(exif, orientation))
    except (InvalidInput, Unavailable, MemoryError):
        raise
    except Exception as error:  # as in `decode_image`
        raise InvalidInput(f"the file is damaged or truncated; it cannot be read as {media_type}: {error}") from error
    if (picture.width > picture.height) != (width > height):
        width, height = height, width
    return Photograph(picture, media_type, width, height, _taken_at(exif.removeprefix(_EXIF)))


def _scaled_down(image: Image.Image, max_side_px: int) -> Image.Image:
    """The image with a longer side of at most `max_side_px`; averaged by whole numbers first, which takes no memory."""
    if max(image.size) <= max_side_px:
        return image
    scale = max_side_px / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def _taken_at(exif: Bytes) -> datetime | None:
    """When a picture was taken, by EXIF's DateTimeOriginal and SubSecTimeOriginal."""
    directory = tiff_values(exif, (image_kinds.EXIF_IFD,)).get(image_kinds.EXIF_IFD)
    if not isinstance(directory, int):
        return None
    found = tiff_values(exif, (image_kinds.TAKEN_AT, image_kinds.TAKEN_AT_DIGITS), directory)
    try:
        moment = datetime.strptime(str(found.get(image_kinds.TAKEN_AT)), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    digits = str(found.get(image_kinds.TAKEN_AT_DIGITS, ""))
    return moment + timedelta(seconds=float(f"0.{digits}")) if digits.isascii() and digits.isdigit() else moment


def check_image_file(file: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Read the header of an image file, which takes under a millisecond.

    Raises:
        InvalidInput: not a JPEG, PNG or WebP; animated, or too large.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        beginning = stream.read(64)
        media_type = media_type_of(beginning)
        if media_type == WEBP:
            _check_size(webp_size(beginning), max_pixels, 1)
            if not webp_may_move(beginning):
                return  # to open one is to read it as a whole
        stream.seek(0)
        try:
            with OPENERS[media_type](stream) as image:
                _check_size(image.size, max_pixels, 1)
                _refuse_animation(image)
        except InvalidInput:
            raise
        except Exception as error:  # as in `decode_image`
            raise InvalidInput(f"the file is damaged; it cannot be read as {media_type}: {error}") from error


def check_header(data: bytes, media_type: str, max_pixels: int, min_side_px: int) -> None:
    """What can be refused without a decoder.

    Raises:
        InvalidInput: a JPEG of too many scans, or a WebP whose size is not accepted.
    """
    if media_type == JPEG and num_jpeg_scans(data) > _MAX_JPEG_SCANS:
        raise InvalidInput(f"a JPEG with more than {_MAX_JPEG_SCANS} scans is not accepted")
    if media_type == WEBP:
        _check_size(webp_size(data), max_pixels, min_side_px)  # before opening: its decoder allocates all pixels then


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a picture as a file.

    Pillow lets no other thread run while it encodes a JPEG, unless it writes to a file of the system: so it does, to a
    temporary one, where there is room for it.

    Args:
        image: to encode.
        kind: Pillow's name of the format.
        options: of its encoder.
    """
    with suppress(OSError), TemporaryFile() as file:
        image.save(file, kind, **options)
        file.seek(0)
        return file.read()
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _check_size(size: tuple[int, int], max_pixels: int, min_side_px: int) -> None:
    width, height = size
    if min(size) < min_side_px:
        raise InvalidInput(f"the picture is {width} x {height} px; each side needs at least {min_side_px}")
    if width * height > max_pixels:
        raise InvalidInput(f"the picture is {width} x {height} px; at most {max_pixels} pixels are accepted")


def _refuse_animation(image: Image.Image) -> None:
    if getattr(image, "is_animated", False):
        raise InvalidInput(f"an animation of {getattr(image, 'n_frames', 2)} frames is not accepted")


def _upright(image: Image.Image) -> Image.Image:
    return _turned(image, _orientation(image.info.get("exif", b"")))


def _turned(image: Image.Image, orientation: int) -> Image.Image:
    turn = _UPRIGHT.get(orientation)
    return image.transpose(turn) if turn is not None else image


def _orientation(exif: bytes, otherwise: int = 1) -> int:
    """The EXIF orientation, where there is one; 1 is upright."""
    found = tiff_values(exif.removeprefix(_EXIF), (image_kinds.ORIENTATION,)).get(image_kinds.ORIENTATION)
    return found if isinstance(found, int) else otherwise


def _opaque_srgb(image: Image.Image, max_side_px: int | None = None) -> Image.Image:
    """Convert to 8-bit sRGB, and lay transparent pixels on white; scaled down to `max_side_px` first."""
    profile = image.info.get("icc_profile")
    image, alpha = _eight_bit(image)
    if max_side_px is not None:
        image, alpha = _scaled_down(image, max_side_px), alpha and _scaled_down(alpha, max_side_px)
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
