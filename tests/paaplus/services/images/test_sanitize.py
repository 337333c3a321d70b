"""Sanitizing uploads: hostile and unusual files, and the result of valid ones."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from paaplus import image_files
from paaplus.errors import InvalidInput, TooLarge, Unavailable
from paaplus.services.images import sanitize

LIMITS: dict[str, int] = {"max_bytes": 2**20, "max_pixels": 1_000_000, "min_side_px": 16}
CANARY = b"canary-51.4769N"


def clean(data: bytes, **limits: int) -> sanitize.Picture:
    return sanitize.clean(data, **{**LIMITS, **limits})


def scene(width: int = 40, height: int = 24, mode: str = "RGB") -> Image.Image:
    """Red to the left, blue to the right, darker below: its orientation can be seen."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(1, 0.2, height))
    pixels = np.stack([255 * (1 - x) * y, 30 * y, 255 * x * y], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(picture: sanitize.Picture) -> Image.Image:
    image = Image.open(BytesIO(picture.data))
    image.load()
    return image


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    width: int, height: int, *, bit_depth: int = 8, color_type: int = 2, rows: bytes = b"", extra: bytes = b""
) -> bytes:
    """A PNG built by hand: its header may lie."""
    header = struct.pack(">IIBBBBB", width, height, bit_depth, color_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def exif(orientation: int, *, order: str = "<", canary: bytes = CANARY) -> bytes:
    """A TIFF block with an orientation and a description, by hand."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    entries += struct.pack(f"{order}HHII", 0x010E, 2, len(canary), 38)
    return b"Exif\0\0" + mark + struct.pack(f"{order}IH", 8, 2) + entries + struct.pack(f"{order}I", 0) + canary


# --- what is accepted


@pytest.mark.parametrize(("kind", "media_type"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/png")])
def test_honest_picture_is_kept(kind: str, media_type: str) -> None:
    data = encoded(scene(), kind, **({"quality": 95} if kind != "PNG" else {}))
    picture = clean(data)
    assert (picture.media_type, picture.width_px, picture.height_px) == (media_type, 40, 24)
    result = decoded(picture)
    assert (result.mode, result.size, result.get_format_mimetype()) == ("RGB", (40, 24), media_type)
    difference = np.abs(np.asarray(result, int) - np.asarray(scene(), int))
    assert difference.max() == 0 if kind == "PNG" else difference.mean() < 8


def test_jpeg_keeps_its_full_colour_resolution() -> None:
    with Image.open(BytesIO(clean(encoded(scene(), "JPEG")).data)) as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # 4:4:4
        assert sum(image.quantization[0]) == sum(_quantization_of_quality_95())


def _quantization_of_quality_95() -> list[int]:
    """The standard luminance table (JPEG annex K.1) at quality 95: scaled by 10 %, rounded, 1 at least."""
    table = (
        "16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62 "
        "18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99"
    )
    return [max(1, (int(value) * 10 + 50) // 100) for value in table.split()]


def test_same_upload_gives_the_same_bytes() -> None:
    data = encoded(scene(), "WEBP")
    assert clean(data) == clean(data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("orientation", "red_corner"),  # where the bright red corner (top left as the sensor saw it) must come to lie
    [(1, "top left"), (2, "top right"), (3, "bottom right"), (4, "bottom left"),
     (5, "top left"), (6, "top right"), (7, "bottom right"), (8, "bottom left")],
)  # fmt: skip
def test_picture_is_turned_upright(orientation: int, red_corner: str, order: str) -> None:
    picture = clean(encoded(scene(), "JPEG", exif=exif(orientation, order=order), quality=95))
    turned = orientation >= 5
    assert (picture.width_px, picture.height_px) == ((24, 40) if turned else (40, 24))
    pixels = np.asarray(decoded(picture), int)
    corners = {
        "top left": pixels[2, 2], "top right": pixels[2, -3],
        "bottom left": pixels[-3, 2], "bottom right": pixels[-3, -3],
    }  # fmt: skip
    redness = {name: int(rgb[0] - rgb[2]) for name, rgb in corners.items()}
    assert max(redness, key=lambda name: redness[name]) == red_corner


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_png_and_webp_are_turned_upright_too(kind: str) -> None:
    picture = clean(encoded(scene(), kind, exif=exif(6)[6:]))
    assert (picture.width_px, picture.height_px) == (24, 40)


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", exif(0), exif(99), exif(6)[:20]])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_broken_exif_does_not_matter(block: bytes) -> None:
    assert clean(encoded(scene(), "JPEG", exif=block)).width_px == 40


def test_metadata_is_gone() -> None:
    jpeg = encoded(scene(), "JPEG", exif=exif(1), comment=CANARY, icc_profile=_srgb(), xmp=b"<x>" + CANARY + b"</x>")
    text = chunk(b"tEXt", b"Location\0" + CANARY)
    whole_png = encoded(scene(), "PNG", exif=exif(1)[6:], icc_profile=_srgb())
    tagged_png = whole_png[:33] + text + whole_png[33:]
    webp = encoded(scene(), "WEBP", exif=exif(1), xmp=CANARY, icc_profile=_srgb())
    for data in (jpeg, tagged_png, webp):
        assert CANARY in data
        picture = clean(data)
        assert CANARY not in picture.data
        info = decoded(picture).info
        assert not {"exif", "icc_profile", "comment", "xmp", "Location"} & set(info), info


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_second_file_behind_the_picture_is_dropped() -> None:
    """A polyglot: a JPEG to one reader, an archive or a page to another."""
    for hidden in (b"PK\x03\x04" + CANARY, b"<script>" + CANARY + b"</script>"):
        picture = clean(encoded(scene(), "JPEG") + hidden)
        assert CANARY not in picture.data
        assert decoded(picture).size == (40, 24)


def test_colours_of_another_profile_become_srgb() -> None:
    """A linear-light profile: mid grey 55 (of 255) is 128 in sRGB (IEC 61966-2-1: .2140 linear is .5 encoded)."""
    linear = _linear_rgb_profile()
    picture = clean(encoded(Image.new("RGB", (32, 32), (55, 55, 55)), "PNG", icc_profile=linear))
    assert np.abs(np.asarray(decoded(picture), int) - 128).max() <= 1


def _linear_rgb_profile() -> bytes:
    """The sRGB profile of littlecms with its three tone curves replaced by the identity. It is still called sRGB."""
    data = bytearray(_srgb())
    count = struct.unpack_from(">I", data, 128)[0]
    for i in range(count):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * i)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = (b"curv" + bytes(8)).ljust(size, b"\0")
    return bytes(data)


def test_profile_that_is_rubbish_is_ignored() -> None:
    picture = clean(encoded(scene(), "PNG", icc_profile=b"not a profile at all"))
    assert (np.asarray(decoded(picture)) == np.asarray(scene())).all()


def test_cmyk_jpeg_becomes_rgb() -> None:
    cmyk = Image.new("CMYK", (32, 32), (0, 255, 255, 0))  # no cyan, all magenta and yellow: red
    pixel = np.asarray(decoded(clean(encoded(cmyk, "JPEG", quality=95))))[16, 16]
    assert pixel[0] > 250
    assert max(pixel[1:]) < 5


def test_grey_jpeg_becomes_rgb() -> None:
    picture = clean(encoded(scene(mode="L"), "JPEG"))
    assert decoded(picture).mode == "RGB"


def test_16_bit_grey_png_keeps_its_brightness() -> None:
    """65535 is white, 0 black, 32896 (128 * 257) exactly 128: not clipped at 255."""
    values = [0, 32896, 65535, 257]
    row = b"\0" + struct.pack(">16H", *(values * 4))
    picture = clean(png(16, 16, bit_depth=16, color_type=0, rows=row * 16))
    assert np.asarray(decoded(picture))[0, :4, 0].tolist() == [0, 128, 255, 1]


def test_16_bit_rgb_png_becomes_8_bit() -> None:
    row = b"\0" + struct.pack(">48H", *([65535, 0, 32896] * 16))
    picture = clean(png(16, 16, bit_depth=16, rows=row * 16))
    assert np.asarray(decoded(picture))[3, 3].tolist() == [255, 0, 128]


def test_transparency_is_laid_on_white() -> None:
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 16, 32))
    palette = image.convert("P")
    palette.info["transparency"] = palette.getpixel((31, 0))
    for data in (encoded(image, "PNG"), encoded(image, "WEBP", lossless=True), encoded(palette, "PNG")):
        pixels = np.asarray(decoded(clean(data)))
        assert pixels[8, 4].tolist() == [0, 0, 255]
        assert pixels[8, 28].tolist() == [255, 255, 255]


def test_phone_jpeg_with_a_preview_behind_is_its_main_picture() -> None:
    """MPO: a JPEG that a camera follows with a smaller one. It is no animation."""
    buffer = BytesIO()
    scene(64, 48).save(buffer, "MPO", save_all=True, append_images=[scene(32, 24)])
    picture = clean(buffer.getvalue())
    assert (picture.width_px, picture.height_px) == (64, 48)
    assert picture.data.count(b"\xff\xd8\xff") == 1


# --- what is refused


def test_more_bytes_than_allowed_are_refused_unread() -> None:
    with pytest.raises(TooLarge, match="1025 bytes; at most 1024"):
        clean(bytes(1025), max_bytes=1024)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"GIF89a" + bytes(100),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"BM" + bytes(100),
        b"II*\0" + bytes(100),
        b"RIFF\x10\0\0\0AVI LIST",
        b"%PDF-1.7",
        encoded(scene(), "GIF"),
        b" " + encoded(scene(), "PNG"),
    ],
)
def test_other_content_is_refused_whatever_it_is_called(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="not a JPEG, PNG or WebP"):
        clean(data)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("size", [(1, 1), (15, 400), (400, 15)])
def test_side_below_the_minimum_is_refused(kind: str, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInput, match=f"{size[0]} x {size[1]} px; each side needs at least 16"):
        clean(encoded(Image.new("RGB", size), kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.15, 0.5, 0.9])
def test_truncated_picture_is_refused(kind: str, share: float) -> None:
    rng = np.random.default_rng(0)
    data = encoded(Image.fromarray(rng.integers(0, 255, (64, 64, 3), np.uint8)), kind)
    with pytest.raises(InvalidInput, match=r"damaged|ends in its header"):
        clean(data[: int(len(data) * share)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_rubbish_behind_an_honest_beginning_never_crashes(kind: str) -> None:
    """Any bytes may be flipped: the picture is refused or decoded, without any other error."""
    rng = np.random.default_rng(1)
    data = np.frombuffer(encoded(scene(), kind), np.uint8)
    for _ in range(150):
        broken = data.copy()
        where = rng.integers(12, len(data), 8)
        broken[where] = rng.integers(0, 256, 8)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of broken EXIF and the like
            try:
                picture = clean(broken.tobytes())
            except InvalidInput:
                continue
        assert decoded(picture).mode == "RGB"


def test_animated_webp_is_refused() -> None:
    data = encoded(scene(), "WEBP", save_all=True, append_images=[Image.new("RGB", (40, 24))], duration=50)
    with pytest.raises(InvalidInput, match="animation of 2 frames"):
        clean(data)


def test_animated_png_is_refused() -> None:
    data = encoded(scene(), "PNG", save_all=True, append_images=[Image.new("RGB", (40, 24))], duration=50)
    with pytest.raises(InvalidInput, match="animation of 2 frames"):
        clean(data)


def test_decompression_bomb_is_refused_before_it_is_decoded() -> None:
    """A PNG of a few kilobytes with 400 million pixels."""
    bomb = png(20_000, 20_000, color_type=0, rows=bytes(10_000))
    with pytest.raises(InvalidInput, match="20000 x 20000 px; at most 1000000 pixels"):
        clean(bomb)


def test_header_that_claims_the_impossible_is_refused() -> None:
    with pytest.raises(InvalidInput, match="px; at most"):
        clean(png(2**31 - 1, 2**31 - 1))


def test_huge_jpeg_header_is_refused() -> None:
    data = bytearray(encoded(scene(), "JPEG"))
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", 65_000, 65_000)
    with pytest.raises(InvalidInput, match="65000 x 65000 px; at most"):
        clean(bytes(data))


@pytest.mark.parametrize("lossless", [False, True])
def test_huge_webp_header_is_refused_before_its_decoder_allocates(
    lossless: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(Image.new("RGB", (2000, 1000)), "WEBP", lossless=lossless)
    extended = encoded(Image.new("RGBA", (2000, 1000), (9, 9, 9, 9)), "WEBP", exif=exif(1))
    monkeypatch.setattr(image_files, "OPENERS", {})  # opening would be a KeyError
    for webp in (data, extended):
        with pytest.raises(InvalidInput, match="2000 x 1000 px; at most 1000000"):
            clean(webp)


@pytest.mark.slow
def test_text_bomb_in_a_png_is_refused() -> None:
    """A compressed text of 100 MB in 100 kB."""
    bomb = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9))
    row = b"\0" + bytes(48)
    with pytest.raises(InvalidInput, match="damaged"):
        clean(png(16, 16, rows=row * 16, extra=bomb))


def test_jpeg_with_endless_scans_is_refused() -> None:
    """Progressive scans repeat: a short file would keep a decoder busy for hours."""
    data = encoded(scene(), "JPEG", progressive=True)
    scan = data[data.index(b"\xff\xda") : -2]
    with pytest.raises(InvalidInput, match="more than 100 scans"):
        clean(data[:-2] + scan * 200 + data[-2:])


def test_size_that_a_picture_only_has_lying_down_is_still_checked_upright() -> None:
    picture = clean(encoded(scene(40, 16), "JPEG", exif=exif(6)))
    assert (picture.width_px, picture.height_px) == (16, 40)


def test_lack_of_memory_is_no_fault_of_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> object:
        raise MemoryError

    monkeypatch.setattr(image_files, "_upright", too_large)
    with pytest.raises(Unavailable, match="not enough memory"):
        clean(encoded(scene(), "JPEG"))


def test_upload_gives_up_when_too_many_others_are_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sanitize, "_DECODE_WAIT_S", 0.05)
    with sanitize._decoding, sanitize._decoding, pytest.raises(Unavailable, match="too many pictures"):
        clean(encoded(scene(), "JPEG"))
    assert clean(encoded(scene(), "JPEG")).width_px == 40


def test_refused_files_do_not_use_up_the_turns() -> None:
    for _ in range(5):
        with pytest.raises(InvalidInput):
            clean(encoded(scene(), "JPEG")[:100])
    assert clean(encoded(scene(), "JPEG")).width_px == 40
