"""Pictures of the report: small copies as data URIs, and which images are unchanged."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from paaplus.data.folder import DataFolder
from paaplus.image_files import decode_image

UNCHANGED = "0"  # of the column `variant` in images.csv: the built-in set's sharp original of a scene


def unchanged(folder: DataFolder, images: Sequence[str]) -> list[str]:
    """Those of the images that are no blurred or recoloured variant; all, if the data do not tell."""
    sharp = [image for image in images if folder.image_columns.get(image, {}).get("variant") == UNCHANGED]
    return sharp or list(images)


def data_uri(folder: DataFolder, image: str, side_px: int) -> str:
    """A small JPEG of the image, its longer side `side_px` pixels at most."""
    picture = decode_image(folder.image_path(image).read_bytes())
    picture.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
