"""Files that somebody might send to do harm, made on the spot: images, weights, and bytes that are nearly right."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zlib
from collections.abc import Mapping

import hypothesis.strategies as st
import numpy as np
from PIL import Image

CANARY = b"canary-3f1c"


def noise(size: tuple[int, int] = (48, 32), mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(3)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    return image.convert(mode)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, pixels: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """A PNG of which every part is as given, whether it fits together or not."""
    return png_of_deflated(width, height, zlib.compress(pixels, 9), depth=depth, colour=colour, extra=extra)


def png_of_deflated(
    width: int, height: int, deflated: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b""
) -> bytes:
    """A PNG with these compressed pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), extra, png_chunk(b"IDAT", deflated), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def deflated_zeros(size: int) -> bytes:
    """What zlib makes of that many zero bytes, in whole megabytes, without compressing more than one of them."""
    num_blocks, rest = divmod(size, 1_000_000)
    assert not rest
    deflate = zlib.compressobj(9, wbits=-15)
    block = deflate.compress(bytes(1_000_000)) + deflate.flush(zlib.Z_FULL_FLUSH)  # depends on nothing before it
    checksum = struct.pack(">HH", size % 65_521, 1)  # Adler-32
    return b"\x78\xda" + block * num_blocks + deflate.flush() + checksum


def huge_exif() -> bytes:
    """As much metadata as a JPEG segment holds, with a place in it, and with an orientation."""
    block = Image.Exif()
    block[0x0112] = 6
    block[0x010E] = CANARY.decode() + "x" * 60_000
    return block.tobytes()


def hostile_images() -> dict[str, bytes]:
    """Files that must be refused: by name, what they are."""
    photo = encoded(noise(), "JPEG")
    frames = [noise(), noise().rotate(90, expand=False)]
    return {
        "empty": b"",
        "text": b"this is no picture",
        "html": b"<!DOCTYPE html><script>alert(1)</script>",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "svg_with_entities": b'<!DOCTYPE s [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><svg>&b;</svg>',
        "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 48 32\n(x) run\n%%EOF\n",
        "pdf": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF",
        "gif": encoded(noise(), "GIF"),
        "tiff": encoded(noise(), "TIFF"),
        "bmp": encoded(noise(), "BMP"),
        "zip": b"PK\x03\x04" + bytes(60),
        "pickle": pickle.dumps({"image": CANARY}),
        "bomb_png": png_of_deflated(40_000, 40_000, deflated_zeros(1_000_000)),
        "bomb_text_chunk": png(
            48, 32, bytes(32 * 145), extra=png_chunk(b"zTXt", b"k\0\0" + deflated_zeros(200_000_000))
        ),
        "impossible_size": png(2**31 - 1, 2**31 - 1, b"x"),
        "zero_size": png(0, 32, b""),
        "too_small": encoded(noise((4, 4)), "PNG"),
        "animated_png": encoded(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "animated_webp": encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "truncated_jpeg": photo[: len(photo) // 2],
        "truncated_png": encoded(noise(), "PNG")[:-200],
        "truncated_webp": encoded(noise(), "WEBP")[:-100],
        "header_only_jpeg": photo[:30],
        "jpeg_of_zeros": b"\xff\xd8\xff" + bytes(10_000),
        "png_of_zeros": b"\x89PNG\r\n\x1a\n" + bytes(10_000),
        "webp_of_zeros": b"RIFF\x10\x00\x00\x00WEBPVP8 " + bytes(10_000),
        "no_pixels": png(48, 32, b""),
        "endless_scans": photo[:-2] + b"\xff\xda" * 200 + b"\xff\xd9",
    }


def odd_images() -> dict[str, bytes]:
    """Files that are pictures, and carry what must not survive."""
    return {
        "cmyk": encoded(noise(mode="CMYK"), "JPEG"),
        "grey": encoded(noise(mode="L"), "JPEG"),
        "palette": encoded(noise(mode="P"), "PNG"),
        "one_bit": encoded(noise(mode="1"), "PNG"),
        "grey_16_bit": encoded(Image.fromarray(np.full((32, 48), 40_000, np.uint16)), "PNG"),
        "rgb_16_bit": png(48, 32, (b"\0" + b"\x80\x10" * 3 * 48) * 32, depth=16),
        "transparent": encoded(noise(mode="RGBA"), "PNG"),
        "huge_exif": encoded(noise(), "JPEG", exif=huge_exif()),
        "comment": encoded(noise(), "JPEG", comment=CANARY),
        "text_chunk": png(48, 32, bytes(32 * 145), extra=png_chunk(b"tEXt", b"Author\0" + CANARY)),
        "zip_behind_jpeg": encoded(noise(), "JPEG") + b"PK\x03\x04" + CANARY,
        "html_behind_png": encoded(noise(), "PNG") + b"<script>" + CANARY + b"</script>",
        "php_in_comment": encoded(noise(), "JPEG", comment=b"<?php system($_GET['c']); ?>" + CANARY),
        "pixels_without_end": png_of_deflated(48, 32, deflated_zeros(50_000_000)),
        "rubbish_profile": encoded(noise(), "JPEG", icc_profile=CANARY * 100),
    }


def safetensors(header: Mapping[str, object] | bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file whose header says what it likes."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def hostile_artifacts() -> dict[str, bytes]:
    """Files called `.safetensors` that no reader of artifacts may take, nor fall over."""

    class Runs:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (exec, ("raise SystemExit('the pickle ran')",))

    ours = {"__metadata__": {"paaplus": "{}"}}
    deep = b'{"__metadata__":{"paaplus":"' + b"[" * 100_000 + b'"}}'
    return {
        "empty": b"",
        "text": b"not weights",
        "pickle": pickle.dumps(Runs()),
        "html": b"<html>404</html>" * 10,
        "endless_header": safetensors({}, length=2**63),
        "header_beyond_file": safetensors({}, length=10_000),
        "header_is_no_json": safetensors(b"{{{{"),
        "header_is_a_list": safetensors(b"[]"),
        "header_is_not_utf8": safetensors(b'{"\xff\xfe": 1}'),
        "header_too_deep": safetensors(b"[" * 100_000),
        "metadata_too_deep": safetensors(deep),
        "metadata_is_a_list": safetensors({"__metadata__": {"paaplus": "[]"}}),
        "metadata_is_a_number": safetensors({"__metadata__": {"paaplus": "7"}}),
        "metadata_of_others": safetensors({"__metadata__": {"format": "pt"}}),
        "metadata_is_infinite": safetensors({"__metadata__": {"paaplus": '{"inverse_width": Infinity}'}}),
        "key_flood": safetensors(ours | {f"k{i}": tensor([0], 0, 0) for i in range(5_000)}),
        "offsets_overlap": safetensors(ours | {"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, bytes(4)),
        "offsets_beyond": safetensors(ours | {"a": tensor([1], 0, 2**40)}, bytes(4)),
        "offsets_reversed": safetensors(ours | {"a": tensor([1], 4, 0)}, bytes(4)),
        "shape_negative": safetensors(ours | {"a": tensor([-1], 0, 4)}, bytes(4)),
        "shape_overflows": safetensors(ours | {"a": tensor([2**32, 2**32], 0, 4)}, bytes(4)),
        "dtype_unknown": safetensors(ours | {"a": tensor([1], 0, 4, "F31")}, bytes(4)),
        "dtype_unreadable": safetensors(ours | {"a": tensor([2], 0, 4, "BF16")}, bytes(4)),
        "body_left_over": safetensors(ours | {"a": tensor([1], 0, 4)}, bytes(400)),
    }


def nearly(data: bytes) -> st.SearchStrategy[bytes]:
    """The file with a few bytes changed, cut off, doubled or put in: what gets past the first check and no further."""
    place = st.integers(0, len(data))
    change = st.tuples(place, st.integers(0, 8), st.binary(max_size=8))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        changed = bytearray(data)
        for at, num_removed, inserted in changes:
            changed[at : at + num_removed] = inserted
        return bytes(changed)

    cut = place.map(lambda at: data[:at])
    return st.one_of(st.lists(change, min_size=1, max_size=4).map(apply), cut)
