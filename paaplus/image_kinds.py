"""Kinds of image files: which kind a file's first bytes say, what opens it, and how much memory its pixels take.

Uploads and data folders may be JPEG, PNG or WebP. A folder of photographs may also have HEIC, AVIF, TIFF and RAW files.
HEIC and RAW need packages of the extra `photos`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from importlib import import_module
from io import BytesIO
from mmap import mmap
from typing import IO, Any, Final

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from paaplus.errors import InvalidInput, Unavailable

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
AVIF, HEIC, TIFF, RAW = "image/avif", "image/heic", "image/tiff", "image/x-raw"
NUM_FIRST_BYTES: Final = 64  # that decide the kind of a JPEG, PNG or WebP

# The plugins are called directly, because `Image.open` also tries other formats, and warns of large files.
OPENERS: dict[str, Callable[[IO[bytes]], ImageFile]] = {
    JPEG: JpegImageFile,
    PNG: PngImageFile,
    WEBP: WebPImageFile,
    AVIF: AvifImageFile,
    TIFF: TiffImageFile,
    HEIC: lambda stream: _package("pillow_heif.as_plugin", "pillow-heif", "HEIC").HeifImageFile(stream),
}

RAW_SUFFIXES = frozenset(
    ("dng", "cr2", "cr3", "nef", "nrw", "arw", "sr2", "raf", "orf", "rw2", "pef", "srw", "x3f"),
)
PHOTO_SUFFIXES = RAW_SUFFIXES | {
    "jpg",
    "jpeg",
    "jpe",
    "jfif",
    "png",
    "webp",
    "avif",
    "heic",
    "heif",
    "hif",
    "tif",
    "tiff",
}
_RAW_BEGINNINGS = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb")
_TIFF_BEGINNINGS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_AVIF_BRANDS = frozenset((b"avif", b"avis"))

ORIENTATION, EXIF_IFD, TAKEN_AT, TAKEN_AT_DIGITS = 0x0112, 0x8769, 0x9003, 0x9291
_IS_MARKER = np.ones(256, bool)  # of the byte after 0xff
_IS_MARKER[[0x00, 0x01, *range(0xD0, 0xD8), 0xFF]] = False  # a stuffed byte, TEM, restart markers, a fill byte
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA

_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 0x00FE, 0x014A, 0xC612
_ASCII, _LONG = 2, 4
_HELD: Final = {3: 3, 5: 8, 6: 6}  # EXIF orientation by libraw's flip

Bytes = bytes | mmap  # a file, or the memory map of one


def media_type_of(data: bytes) -> str:
    """The media type by the first bytes of a file.

    Raises:
        InvalidInput: another one than JPEG, PNG or WebP.
    """
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if not data:
        raise InvalidInput("an empty file: not a JPEG, PNG or WebP file")
    raise InvalidInput(f"not a JPEG, PNG or WebP file: it begins with {_shown(data[:8])}")


def photograph_type_of(data: Bytes, suffix: str) -> str:
    """The media type of a photographer's file.

    Args:
        data: the file, or its first bytes with the first directory of a TIFF.
        suffix: of the file's name, without the dot. It decides between TIFF and RAW only.

    Raises:
        InvalidInput: another one than JPEG, PNG, WebP, AVIF, HEIC, TIFF or RAW.
    """
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {bytes(data[8:12])} | {bytes(data[at : at + 4]) for at in range(16, size, 4)}
        if b"crx " in brands:
            return RAW
        if brands & _AVIF_BRANDS:
            return AVIF
        if brands & _HEIC_BRANDS:
            return HEIC
        raise InvalidInput(f"a film or another file of brand {_shown(data[8:12])}: not a picture")
    if data[:15].startswith(_RAW_BEGINNINGS):
        return RAW
    if data[:4] in _TIFF_BEGINNINGS:
        return RAW if suffix.lower() in RAW_SUFFIXES or _is_raw_tiff(data) else TIFF
    try:
        return media_type_of(data[:NUM_FIRST_BYTES])
    except InvalidInput:
        if not data:
            raise InvalidInput("an empty file") from None
        accepted = "a JPEG, PNG, WebP, AVIF, HEIC, TIFF or RAW file"
        raise InvalidInput(f"not {accepted}: it begins with {_shown(data[:8])}") from None


def _shown(data: Bytes) -> str:
    """The first bytes of a file for whoever reads the message: in quotation marks, as text where they are."""
    return repr(bytes(data)).removeprefix("b")


def _is_raw_tiff(data: Bytes) -> bool:
    """Whether a TIFF is a camera's RAW file: its first picture is a small preview, and the large one lies below it."""
    if data[8:10] == b"CR":
        return True
    found = tiff_values(data, (_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION))
    return _DNG_VERSION in found or (found.get(_SUBFILE_TYPE) == 1 and _SUB_IFDS in found)


def tiff_values(data: Bytes, tags: tuple[int, ...], directory: int | None = None) -> dict[int, int | str]:
    """Numbers and texts of one directory of a TIFF structure, which EXIF is too. What is damaged is left out.

    Parsed here, because Pillow warns of other invalid tags.

    Args:
        data: begins with the header of the TIFF structure.
        tags: those that are wanted.
        directory: its place in the data; None: the first one.
    """
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    found: dict[int, int | str] = {}
    if order is None:
        return found
    try:
        start = struct.unpack_from(f"{order}I", data, 4)[0] if directory is None else directory
        for entry in range(struct.unpack_from(f"{order}H", data, start)[0]):
            at = start + 2 + 12 * entry
            tag, kind, count = struct.unpack_from(f"{order}HHI", data, at)
            if tag not in tags or tag in found:
                continue
            if kind == _ASCII:
                place = at + 8 if count <= 4 else struct.unpack_from(f"{order}I", data, at + 8)[0]
                found[tag] = bytes(data[place : place + min(count, 64)]).rstrip(b"\0 ").decode("ascii", "replace")
            else:
                found[tag] = struct.unpack_from(f"{order}{'I' if kind == _LONG else 'H'}", data, at + 8)[0]
    except struct.error:
        return found
    return found


def num_jpeg_scans(data: Bytes) -> int:
    """The number of scans of a JPEG's first image, as ITU T.81 (annex B) delimits it.

    Segments are skipped by their length, because a thumbnail in one has scans too. What follows EOI is not read.
    """
    marker_M = _marker_places(data)
    scans, position = 0, 2
    while (number := int(np.searchsorted(marker_M, position))) < len(marker_M):
        position = int(marker_M[number]) + 2
        marker = data[position - 1]
        if marker == _EOI:
            break
        if marker == _SOI:
            continue
        scans += marker == _SOS
        position += max(int.from_bytes(data[position : position + 2], "big"), 2)
    return scans


def _marker_places(data: Bytes) -> np.ndarray:
    """Places of what may be a marker, which begins with 0xff. Found without a loop in which no other thread runs."""
    octets = np.frombuffer(data, np.uint8)
    place_M = np.flatnonzero(octets[:-1] == 0xFF)
    return place_M[_IS_MARKER[octets[place_M + 1]]]


def webp_size(data: Bytes) -> tuple[int, int]:
    """Width and height, by the header of a WebP.

    Raises:
        InvalidInput: the header is damaged.
    """
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


def webp_may_move(data: Bytes) -> bool:
    """Whether the header of a WebP says that it may be an animation, perhaps of one frame."""
    return data[12:16] == b"VP8X" and bool(int.from_bytes(data[20:21], "little") & 2)


def raw_preview(path: str) -> tuple[bytes, int]:
    """The largest preview inside a RAW file, as a JPEG or PNG, and how the camera was held (EXIF orientation).

    The pixels of the sensor are not read.

    Raises:
        InvalidInput: the file has no preview, or is damaged.
        Unavailable: the package that reads RAW files is not installed.
    """
    rawpy = _package("rawpy", "rawpy", "RAW")
    try:
        with rawpy.imread(path) as raw:
            orientation = _HELD.get(raw.sizes.flip, 1)
            preview = raw.extract_thumb()
    except rawpy.LibRawError as error:
        raise InvalidInput(f"the RAW file is damaged, or has no preview: {_words(error)}") from error
    if preview.format == rawpy.ThumbFormat.JPEG:
        return bytes(preview.data), orientation
    encoded = BytesIO()
    Image.fromarray(preview.data).save(encoded, "PNG", compress_level=1)
    return encoded.getvalue(), orientation


def _words(error: Exception) -> str:
    told = error.args[0] if error.args else error
    return told.decode("ascii", "replace") if isinstance(told, bytes) else str(told)


# What decoding takes at its peak, measured with tests/developer/measure_decoding.py: the library's own pictures, and
# Pillow's, which has four bytes a pixel. A JPEG of one scan is not here, because it is decoded at a fraction.
BYTES_PER_PIXEL: Mapping[str, int] = {PNG: 4, WEBP: 16, TIFF: 4, AVIF: 10, HEIC: 8}
_BYTES_PER_PIXEL_16_BIT_GRAY: Final = 16


def decoding_bytes(image: ImageFile, media_type: str, num_pixels: int, num_scans: int) -> int:
    """About how much memory the decoding of an opened file takes.

    Args:
        image: opened, and set to a fraction of its size if it is a JPEG.
        media_type: of the file.
        num_pixels: of the whole picture.
        num_scans: of a JPEG. With several, all coefficients are kept.
    """
    if media_type == JPEG:
        sampled = [layer[1] * layer[2] for layer in getattr(image, "layer", [])]  # one of each channel
        kept = 2 * num_pixels * sum(sampled) // max(sampled, default=1) if num_scans > 1 else 0
        return kept + 4 * image.width * image.height
    if image.mode.startswith("I"):
        return _BYTES_PER_PIXEL_16_BIT_GRAY * num_pixels
    turned = media_type == TIFF and image.tag_v2.get(ORIENTATION, 1) != 1  # type: ignore[attr-defined]
    return BYTES_PER_PIXEL[media_type] * num_pixels * (2 if turned else 1)  # Pillow turns a TIFF itself


def _package(module: str, package: str, kind: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise Unavailable(f"{kind} files need the package {package}: pip install 'paaplus[photos]'") from error
