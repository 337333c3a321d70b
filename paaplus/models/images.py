"""Image files as pixels: upright, RGB, within a size limit."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from paaplus.errors import InvalidInput

MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP")


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an image file, turned upright by its EXIF orientation, as RGB.

    Transparent pixels are laid over white: what lies under them was never meant to be seen.

    Raises:
        InvalidInput: not a JPEG, PNG or WebP, a truncated one, or one of more than `max_pixels`.
    """
    try:
        # These formats only: for others Pillow has old code, and for PostScript it starts a program.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width_px, height_px = image.size  # known from the header: nothing is decoded yet
        if width_px * height_px > max_pixels:
            raise InvalidInput(f"image of {width_px} x {height_px} pixels; at most {max_pixels} are decoded")
        image.load()
        upright = ImageOps.exif_transpose(image)
    except (InvalidInput, MemoryError):  # too little memory is no fault of the file
        raise
    except Exception as error:  # a decoder that meets hostile bytes may raise anything
        reason = "of no known format" if isinstance(error, UnidentifiedImageError) else error
        raise InvalidInput(f"not an image that can be read ({len(data)} bytes): {reason}") from error
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return upright.convert("RGB")
