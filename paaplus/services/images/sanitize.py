"""Sanitize uploaded files: decode within limits, turn upright, convert to sRGB, and encode again.

The result is encoded from pixels only. So metadata, locations and data hidden behind the image are dropped.
"""

from __future__ import annotations

import struct
import threading
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from paaplus.errors import InvalidInput, TooLarge, Unavailable
from paaplus.ids import sha256_hex

# The plugins are called directly, because `Image.open` also tries other formats, and warns of large files.
_OPENERS: dict[str, type[ImageFile]] = {
    "image/jpeg": JpegImageFile,
    "image/png": PngImageFile,
    "image/webp": WebPImageFile,
}

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
_ORIENTATION_TAG = 0x0112

# A picture of 50 megapixels takes 600 MB while it is turned. So only a few are decoded at once, and a request that
# waits for too long fails.
_decoding = threading.BoundedSemaphore(2)
_DECODE_WAIT_S = 10.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A sanitized picture, encoded. `upload_sha256` is the digest of the uploaded file."""

    data: bytes
    upload_sha256: str
    media_type: str
    width_px: int
    height_px: int


def clean(data: bytes, *, max_bytes: int, max_pixels: int, min_side_px: int) -> Picture:
    """Sanitize an uploaded file.

    JPEG stays JPEG (quality 95, no chroma subsampling); PNG and WebP become PNG. Transparent pixels become white,
    16-bit and CMYK become 8-bit RGB.

    Raises:
        TooLarge: the file has more than `max_bytes`.
        InvalidInput: the content is not a JPEG, PNG or WebP; or it is animated, damaged, too small or too large.
        Unavailable: too many pictures are being decoded.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"the file has {len(data)} bytes; at most {max_bytes} are accepted")
    media_type = _media_type(data)
    if media_type == "image/jpeg" and data.count(b"\xff\xda") > _MAX_JPEG_SCANS:
        raise InvalidInput(f"a JPEG with more than {_MAX_JPEG_SCANS} scans is not accepted")
    if media_type == "image/webp":
        _check_size(_webp_size(data), max_pixels, min_side_px)  # before opening: its decoder allocates all pixels then
    if not _decoding.acquire(timeout=_DECODE_WAIT_S):
        raise Unavailable(f"too many pictures are being decoded: waited {_DECODE_WAIT_S} s for a turn")
    try:
        return _decode(data, media_type, max_pixels, min_side_px)
    except InvalidInput:
        raise
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        raise InvalidInput(f"the file is damaged or truncated, and no {media_type} can be read: {error}") from error
    finally:
        _decoding.release()


def _decode(data: bytes, media_type: str, max_pixels: int, min_side_px: int) -> Picture:
    with _OPENERS[media_type](BytesIO(data)) as image:
        _check_size(image.size, max_pixels, min_side_px)
        if getattr(image, "is_animated", False):
            raise InvalidInput(f"an animation of {getattr(image, 'n_frames', 2)} frames is not accepted")
        image.load()
        return _encode(_flat_rgb(_upright(image)), media_type, sha256_hex(data))


def _media_type(data: bytes) -> str:
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidInput(f"not a JPEG, PNG or WebP file: it begins with {data[:8]!r}")


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
            tag, _type, _count, value = struct.unpack_from(f"{order}HHIH", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION_TAG:
                return int(value)
    except struct.error:
        return 1
    return 1


def _flat_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit sRGB without transparency."""
    profile = image.info.get("icc_profile")
    if image.mode.startswith("I;16"):
        image = Image.fromarray(((np.asarray(image, np.uint32) * 255 + 32767) // 65535).astype(np.uint8))
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(layered, mask=layered.getchannel("A"))
        image = white
    elif image.mode not in ("RGB", "CMYK", "L"):
        image = image.convert("RGB")
    return _to_srgb(image, profile) if profile else image.convert("RGB")


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours from their ICC profile to sRGB, because the profile is dropped. An invalid one is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if "sRGB" in ImageCms.getProfileDescription(source):
            return image.convert("RGB")
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image.convert("RGB")
    assert converted is not None  # only with `inPlace`
    return converted


def _encode(image: Image.Image, media_type: str, upload_sha256: str) -> Picture:
    image.info = {}  # otherwise Pillow writes the comments and profiles in it
    buffer = BytesIO()
    if media_type == "image/jpeg":
        image.save(buffer, "JPEG", quality=95, subsampling="4:4:4")
    else:
        media_type = "image/png"
        image.save(buffer, "PNG", compress_level=4)
    return Picture(buffer.getvalue(), upload_sha256, media_type, image.width, image.height)
