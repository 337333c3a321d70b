"""Photographers' files, made by hand: a RAW file with a preview, EXIF with the time of a picture."""

from __future__ import annotations

import struct
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from paaplus.data.builtin_set.photographs import PHOTOGRAPHS

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 10: 8}


def picture(number: int = 0, side_px: int = 256) -> Image.Image:
    """One of the built-in photographs."""
    return PHOTOGRAPHS[number % len(PHOTOGRAPHS)].load(side_px)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def linear_profile() -> bytes:
    """sRGB's primaries with linear tone curves, and still called sRGB."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(data)


def taken(moment: str, orientation: int = 1, digits: str = "") -> Image.Exif:
    """EXIF with a time `2024:05:01 10:11:12`, an orientation, and the digits of a fraction of a second."""
    exif = Image.Exif()
    exif[0x010F] = "By Hand"
    exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = moment
    if digits:
        exif.get_ifd(0x8769)[0x9291] = digits
    return exif


def dng(preview: bytes, orientation: int = 1, moment: str = "2024:05:01 10:11:12") -> bytes:
    """A small DNG (Adobe's specification 1.4): a JPEG preview in the first directory, a sensor of 64 x 48 below it."""
    with Image.open(BytesIO(preview)) as image:
        width, height = image.size
    sensor = np.full((48, 64), 1000, "<u2").tobytes()
    names = (b"Made\0", b"By Hand\0")
    sub: list[tuple[int, int, list[int] | bytes]] = [
        (0x00FE, 4, [0]),
        (0x0100, 4, [64]),
        (0x0101, 4, [48]),
        (0x0102, 3, [16]),
        (0x0103, 3, [1]),
        (0x0106, 3, [32803]),
        (0x0111, 4, [0]),
        (0x0115, 3, [1]),
        (0x0116, 4, [48]),
        (0x0117, 4, [len(sensor)]),
        (0x828D, 3, [2, 2]),
        (0x828E, 1, bytes((0, 1, 1, 2))),
    ]
    exif: list[tuple[int, int, list[int] | bytes]] = [(0x9003, 2, moment.encode() + b"\0")]
    main: list[tuple[int, int, list[int] | bytes]] = [
        (0x00FE, 4, [1]),
        (0x0100, 4, [width]),
        (0x0101, 4, [height]),
        (0x0102, 3, [8, 8, 8]),
        (0x0103, 3, [7]),
        (0x0106, 3, [6]),
        (0x010F, 2, names[0]),
        (0x0110, 2, names[1]),
        (0x0111, 4, [0]),
        (0x0112, 3, [orientation]),
        (0x0115, 3, [3]),
        (0x0116, 4, [height]),
        (0x0117, 4, [len(preview)]),
        (0x014A, 4, [0]),
        (0x8769, 4, [0]),
        (0xC612, 1, bytes((1, 4, 0, 0))),
        (0xC614, 2, b"By Hand\0"),
    ]
    parts = [main, sub, exif]
    starts = [8]
    for part in parts:
        starts.append(starts[-1] + _length(part))
    places = {"sub": starts[1], "exif": starts[2], "preview": starts[3], "sensor": starts[3] + len(preview)}
    main[8], main[13], main[14] = (
        (0x0111, 4, [places["preview"]]),
        (0x014A, 4, [places["sub"]]),
        (0x8769, 4, [places["exif"]]),
    )
    sub[6] = (0x0111, 4, [places["sensor"]])
    body = b"".join(_directory(part, start) for part, start in zip(parts, starts, strict=False))
    return b"II*\0" + struct.pack("<I", 8) + body + preview + sensor


def _bytes(kind: int, values: list[int] | bytes) -> bytes:
    return values if isinstance(values, bytes) else struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)


def _length(part: list[tuple[int, int, list[int] | bytes]]) -> int:
    outside = sum(len(_bytes(kind, values)) for _, kind, values in part if len(_bytes(kind, values)) > 4)
    return 2 + 12 * len(part) + 4 + outside


def _directory(part: list[tuple[int, int, list[int] | bytes]], start: int) -> bytes:
    entries, outside = b"", b""
    after = start + 2 + 12 * len(part) + 4
    for tag, kind, values in part:
        data = _bytes(kind, values)
        if len(data) > 4:
            field = struct.pack("<I", after + len(outside))
            outside += data
        else:
            field = data.ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, kind, len(data) // _SIZES[kind]) + field
    return struct.pack("<H", len(part)) + entries + struct.pack("<I", 0) + outside
