"""`python -m tests.developer.measure_decoding [MEGAPIXELS]`: the memory that decoding takes, by kind of file.

Each file is decoded in a process of its own. Printed are bytes per pixel of the peak, and what `decoding_bytes` says.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
from PIL import Image

from paaplus.image_files import PhotographLimits, decode_photograph


def pictures(megapixels: float) -> Iterator[tuple[str, bytes]]:
    """Encoded pictures by name."""
    height = int((megapixels * 1e6 / 1.5) ** 0.5)
    noise = np.random.default_rng(0).integers(0, 256, (height // 64, height * 3 // 2 // 64, 3), np.uint8)
    image = Image.fromarray(noise).resize((height * 3 // 2, height), Image.Resampling.BICUBIC)
    turned = Image.Exif()
    turned[0x0112] = 6
    gray16 = Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257)
    for name, kind, options in (
        ("a.jpg", "JPEG", {}),
        ("progressive_420.jpg", "JPEG", {"progressive": True}),
        ("progressive_444.jpg", "JPEG", {"progressive": True, "subsampling": "4:4:4"}),
        ("a.png", "PNG", {"compress_level": 1}),
        ("a.tif", "TIFF", {}),
        ("turned.tif", "TIFF", {"exif": turned}),
        ("a.webp", "WEBP", {"method": 0}),
        ("a.avif", "AVIF", {"speed": 10}),
    ):
        stream = BytesIO()
        image.save(stream, kind, **options)
        yield name, stream.getvalue()
    stream = BytesIO()
    gray16.save(stream, "PNG", compress_level=1)
    yield "gray16.png", stream.getvalue()
    stream = BytesIO()
    smooth = Image.linear_gradient("L").resize(image.size).convert("RGB")  # the encoder is slow
    pillow_heif.from_pillow(smooth).save(stream, quality=50)
    yield "a.heic", stream.getvalue()


def measure(file: Path) -> tuple[int, int]:
    """Bytes at the peak, above what the process had, and those that were reserved."""
    reserved: list[int] = []

    @contextmanager
    def reserve(num_bytes: int) -> Iterator[None]:
        reserved.append(num_bytes)
        yield

    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory begins anew; Linux
    before = peak_bytes()
    decode_photograph(file, PhotographLimits(1024, max_bytes=2**40), reserve)
    return peak_bytes() - before, reserved[0]


def peak_bytes() -> int:
    """The most memory that this process has used."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def main() -> None:
    megapixels = float(sys.argv[1]) if len(sys.argv) > 1 else 24.0
    processes = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name, data in pictures(megapixels):
            file = Path(folder) / name
            file.write_bytes(data)
            with processes.Pool(1, maxtasksperchild=1) as pool:
                peak, reserved = pool.apply(measure, (file,))
            print(
                f"{name:22} {peak / megapixels / 1e6:6.2f} bytes a pixel; reserved {reserved / megapixels / 1e6:6.2f}"
            )


if __name__ == "__main__":
    main()
