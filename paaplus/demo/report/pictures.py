"""Pictures of the report: small copies as data URIs, and which images are shown."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from paaplus.data.folder import DataFolder
from paaplus.image_files import decode_image


def sharp(folder: DataFolder, images: Sequence[str]) -> list[str]:
    """Those of the images that are not marked as blurred in images.csv, as variants of the built-in set may be."""
    return [image for image in images if folder.image_columns.get(image, {}).get("blurred") != "true"]


def one_a_scene(folder: DataFolder, images: Sequence[str]) -> list[str]:
    """The images in their order, without those whose scene an earlier one shows."""
    scene_of = dict(zip(folder.images, folder.scene_I.tolist(), strict=True))
    seen: set[int] = set()
    chosen = []
    for image in images:
        if scene_of[image] not in seen:
            seen.add(scene_of[image])
            chosen.append(image)
    return chosen


def data_uri(folder: DataFolder, image: str, side_px: int) -> str:
    """A small JPEG of the image, its longer side `side_px` pixels at most."""
    picture = decode_image(folder.image_path(image).read_bytes())
    picture.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=82)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
