"""The built-in pictures as files: each photograph and each painted scene once, sharp and unchanged."""

from __future__ import annotations

from pathlib import Path

from paaplus.data.builtin_set.photographs import PHOTOGRAPHS, require_installed
from paaplus.data.builtin_set.scenes import SYNTHETIC_SCENES

LONG_SIDE_PX = 480
_JPEG_QUALITY = 92


def write_pictures(folder: Path) -> list[Path]:
    """Write the pictures as JPEG files, named after what they show. A file that is there is not written again.

    Args:
        folder: created if needed.

    Returns:
        The files, photographs first.

    Raises:
        Unavailable: a package that ships one of the photographs is not installed.
    """
    require_installed()
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for scene in (*PHOTOGRAPHS, *SYNTHETIC_SCENES):
        file = folder / f"{scene.name}.jpg"
        if not file.exists():
            temporary = file.with_suffix(".tmp")
            scene.load(LONG_SIDE_PX).save(temporary, "JPEG", quality=_JPEG_QUALITY)
            temporary.replace(file)
        files.append(file)
    return files
