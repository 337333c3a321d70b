"""Decode image files to upright RGB pixels within a size limit."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, UnidentifiedImageError

from paaplus.errors import InvalidInput

MAX_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP")


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The first frame of an image file as RGB, turned upright by its EXIF orientation.

    Transparent pixels are blended over white, because their hidden colours are not part of the picture.

    Raises:
        InvalidInput: not a JPEG, PNG or WebP file, a truncated file, or more than `max_pixels` pixels.
    """
    try:
        # Only these formats: Pillow's code for others is old, and for PostScript it starts a program.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        width_px, height_px = image.size  # from the header, before anything is decoded
        if width_px * height_px > max_pixels:
            raise InvalidInput(f"image of {width_px} x {height_px} pixels; at most {max_pixels} are decoded")
        image.load()
        upright = ImageOps.exif_transpose(image)
    except InvalidInput:
        raise
    except Exception as error:  # a decoder may raise anything on hostile bytes
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error
        raise InvalidInput(f"not an image that can be read ({len(data)} bytes): {reason}") from error
    if upright.has_transparency_data:
        rgba = upright.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return upright.convert("RGB")
