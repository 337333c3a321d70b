"""Thumbnails of stored images: made from the pixels at the first request, and kept beside the image's blob.

They are named by the content of the image, so images with the same pixels share them. They go with the blob.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa
from PIL import Image

from paaplus.db.engine import Database
from paaplus.db.locks import lock_name
from paaplus.db.tables import ImageRow
from paaplus.errors import InvalidInput, NotFound
from paaplus.image_files import decode_image, encoded
from paaplus.services.images.sanitize import decoding_turn
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

SIZES: Final = (128, 256, 512, 1024)
Format = Literal["jpeg", "webp"]
MEDIA_TYPES: Final[dict[Format, str]] = {"jpeg": "image/jpeg", "webp": "image/webp"}
_QUALITY: Final[dict[Format, int]] = {"jpeg": 85, "webp": 80}
_REDUCING_GAP: Final = 3.0  # shrinks by whole numbers first: several times faster, and no difference is seen
MADE_BY: Final = 1  # raised when thumbnails look different, so that those of before are made again


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail, encoded: no side is longer than its size, and none is longer than the image's."""

    data: bytes
    media_type: str


def check_size(size: int) -> int:
    """The size, if thumbnails have it.

    Raises:
        InvalidInput: they do not.
    """
    if size not in SIZES:
        raise InvalidInput(f"thumbnails of size {size}: one of {', '.join(map(str, SIZES))}")
    return size


def version_tag(image: ImageRow, size: int, file_format: Format) -> str:
    """What the bytes of a thumbnail depend on, as one word: it changes when they may."""
    return f"{image.sha256[:32]}-{_kind(size, file_format)}"


def find(blobs: BlobStore, image: ImageRow, size: int, file_format: Format = "jpeg") -> Thumbnail | None:
    """The thumbnail, if it was made before.

    Raises:
        InvalidInput: thumbnails do not have this size.
        Unavailable: the storage does not answer.
    """
    data = blobs.get_derived(image.sha256, _kind(check_size(size), file_format))
    return Thumbnail(data, MEDIA_TYPES[file_format]) if data is not None else None


def get(
    database: Database, blobs: BlobStore, settings: Settings, image: ImageRow, size: int, file_format: Format = "jpeg"
) -> Thumbnail:
    """The thumbnail; it is made if there is none yet, which takes as long as decoding the image.

    Raises:
        InvalidInput: thumbnails do not have this size.
        NotFound: the image was deleted meanwhile, or its file is lost.
        Damaged: the image's file has changed.
        Unavailable: the storage does not answer, too many pictures are being decoded, or there is no memory for it.
    """
    if (found := find(blobs, image, size, file_format)) is not None:
        return found
    source = blobs.get(image.sha256)
    with decoding_turn():
        data = make(decode_image(source, settings.max_image_pixels), size, file_format)
    with database.session() as session:
        lock_name(session, f"blob:{image.sha256}")  # nobody deletes the blob meanwhile: what is derived would stay
        if session.execute(sa.select(ImageRow.id).where(ImageRow.sha256 == image.sha256).limit(1)).first() is None:
            raise NotFound(f"image {image.id} does not exist")
        blobs.put_derived(image.sha256, _kind(size, file_format), data)
    return Thumbnail(data, MEDIA_TYPES[file_format])


def make(image: Image.Image, size: int, file_format: Format = "jpeg") -> bytes:
    """Encode a picture that is upright and in sRGB, made smaller so that no side is longer than `size`."""
    scale = min(1.0, size / max(image.size))
    width, height = (max(1, round(side * scale)) for side in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
    small.info = {}  # otherwise Pillow writes the comments and profiles in it
    return encoded(small, file_format.upper(), quality=_QUALITY[file_format])


def _kind(size: int, file_format: Format) -> str:
    return f"thumbnail-{MADE_BY}-{size}.{file_format}"
