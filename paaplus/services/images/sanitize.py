"""Sanitize uploaded files: decode within limits (`paaplus.image_files`), and encode again.

The result is encoded from pixels only. So metadata, locations and data hidden behind the image are dropped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image

from paaplus import pauses
from paaplus.errors import TooLarge, Unavailable
from paaplus.ids import sha256_hex
from paaplus.image_files import check_header, decode_image, encoded
from paaplus.image_kinds import media_type_of

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
        Unavailable: too many pictures are being decoded, or there is not enough memory.
    """
    if len(data) > max_bytes:
        raise TooLarge(f"the file has {len(data)} bytes; at most {max_bytes} are accepted")
    media_type = media_type_of(data)
    check_header(data, media_type, max_pixels, min_side_px)  # waits for no turn
    pauses.pause()
    with decoding_turn():
        return _encode(decode_image(data, max_pixels, min_side_px), media_type, sha256_hex(data))


def of_photograph(image: Image.Image, upload_sha256: str) -> Picture:
    """Encode a photograph that `image_files.decode_photograph` has scaled down, as a JPEG of quality 90."""
    return _encode(image, "image/jpeg", upload_sha256, quality=90)


@contextmanager
def decoding_turn() -> Iterator[None]:
    """Run the block, which decodes a picture, when few others are being decoded in this process.

    Raises:
        Unavailable: too many pictures are being decoded, or there is not enough memory.
    """
    if not _decoding.acquire(timeout=_DECODE_WAIT_S):
        raise Unavailable(f"too many pictures are being decoded: waited {_DECODE_WAIT_S} s for a turn")
    try:
        yield
    except MemoryError as error:  # no fault of the file
        raise Unavailable("there is not enough memory to decode the picture now") from error
    finally:
        _decoding.release()


def _encode(image: Image.Image, media_type: str, upload_sha256: str, quality: int = 95) -> Picture:
    image.info = {}  # otherwise Pillow writes the comments and profiles in it
    if media_type == "image/jpeg":
        data = encoded(image, "JPEG", quality=quality, subsampling="4:4:4")
    else:
        media_type = "image/png"
        data = encoded(image, "PNG", compress_level=4)
    return Picture(data, upload_sha256, media_type, image.width, image.height)
