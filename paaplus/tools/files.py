"""The weight files that tools read: one table of names, sizes and digests, and where they are looked for.

A file lies in `$PAAPLUS_HOME/weights/`; nothing is downloaded (docs/weights.md says where each comes from). A tool
without its file is not broken: it needs the file. A digest that is not the table's is allowed, and `doctor` tells it:
somebody may have trained the network again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

FOLDER = "weights"  # of PAAPLUS_HOME


@dataclass(frozen=True)
class ToolFile:
    """One tool's file.

    `names`: what the file may be called, the first that is there is read. `code_version`: of the code around the
    network; together with the file's digest it is the tool's version. Size and digest are those of the official file;
    None: the official file was not at hand when the tool was written, and is not tested.
    """

    names: tuple[str, ...]
    aspects: tuple[str, ...]
    code_version: str
    size_bytes: int | None = None
    sha256: str | None = None
    draws_map: bool = False

    def version(self, digest: str) -> str:
        return f"{digest[:12]}-{self.code_version}"


TOOL_FILES: Mapping[str, ToolFile] = {
    "exposure_map": ToolFile(
        names=("wavelet_epoch_2_val_loss0.03022034629540784.pth", "exposure_map.pth"),
        aspects=(
            "under",
            "over",
            "exposure",
            "exposure_portrait",
            "exposure_landscape",
            "exposure_street",
            "exposure_night",
            "exposure_product",
        ),
        code_version="1",
        size_bytes=2_712_690,
        sha256="6f1cf2a5ca446235120252c51faf1463b55514acf8822b96d6275d885ba02700",
        draws_map=True,
    ),
}


def find(home: Path, tool: str) -> Path | None:
    """The tool's file, if it is there."""
    folder = home / FOLDER
    return next((folder / name for name in TOOL_FILES[tool].names if (folder / name).is_file()), None)


def needs(tool: str) -> str:
    """What to tell where the file is missing."""
    first, *others = TOOL_FILES[tool].names
    also = f" (or {', '.join(others)})" if others else ""
    return f"needs {first}{also} in $PAAPLUS_HOME/{FOLDER}: docs/weights.md"


def digest(file: Path) -> str:
    """SHA-256 of the file, from memory while the file does not change."""
    told = file.stat()
    return _digest(file, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(file: Path, _size_bytes: int, _changed_at_ns: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
