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

    `companion`: a second file. The tool needs it, too; or, with `companion_aspects`, it only adds these.
    """

    names: tuple[str, ...]
    aspects: tuple[str, ...]
    code_version: str
    size_bytes: int | None = None
    sha256: str | None = None
    draws_map: bool = False
    companion: str | None = None
    companion_aspects: tuple[str, ...] = ()

    def version_of(self, *digests: str) -> str:
        """The tool's version with files of these digests."""
        return "-".join([*(one[:12] for one in digests), self.code_version])


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
    "laion": ToolFile(
        names=("sac+logos+ava1-l14-linearMSE.pth", "laion.pth"),
        aspects=("aesthetics",),
        code_version="1",
        size_bytes=3_714_759,
        sha256="21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        companion="clip_vit_large_patch14_openai.safetensors",
    ),
    "mnet": ToolFile(names=("mnet.pth",), aspects=("aesthetics",), code_version="1"),
    "tanet": ToolFile(names=("tanet_tad66k.pth",), aspects=("aesthetics",), code_version="1"),
    "tanet_ava": ToolFile(names=("tanet_ava.pth",), aspects=("aesthetics",), code_version="1-theme-per-sample"),
    "tanet_ava_no_theme": ToolFile(names=("tanet_ava.pth",), aspects=("aesthetics",), code_version="1-theme-off"),
    "eat": ToolFile(names=("eat_ava.pth",), aspects=("aesthetics",), code_version="1"),
    "eat_tad66k": ToolFile(names=("eat_tad66k.pth",), aspects=("aesthetics",), code_version="1"),
    "icaa": ToolFile(names=("icaa.pth",), aspects=("aesthetics", "colour"), code_version="1"),
    "prompt_det": ToolFile(
        names=("prompt_det.pth",),
        aspects=("colour",),
        code_version="1",
        companion="prompt_det_texts.npz",
        companion_aspects=("warmth", "colourfulness", "harmony"),
    ),
    "elta": ToolFile(names=("elta.pth",), aspects=("aesthetics",), code_version="1"),
    "elta_regression": ToolFile(names=("elta.pth",), aspects=("aesthetics",), code_version="1-regression"),
}


def find(home: Path, tool: str) -> Path | None:
    """The tool's file, if it is there, with the companion that it needs."""
    told, folder = TOOL_FILES[tool], home / FOLDER
    if told.companion and not told.companion_aspects and find_companion(home, tool) is None:
        return None
    return next((folder / name for name in told.names if (folder / name).is_file()), None)


def find_companion(home: Path, tool: str) -> Path | None:
    """The tool's second file, if it has one and it is there."""
    name = TOOL_FILES[tool].companion
    file = home / FOLDER / name if name else None
    return file if file is not None and file.is_file() else None


def version(home: Path, tool: str) -> str | None:
    """The version that the tool has with the files that are there; None: it needs one."""
    file, companion = find(home, tool), find_companion(home, tool)
    if file is None:
        return None
    return TOOL_FILES[tool].version_of(*(digest(one) for one in (file, companion) if one is not None))


def aspects(home: Path, tool: str) -> tuple[str, ...]:
    """What the tool scores with the files that are there."""
    told = TOOL_FILES[tool]
    return told.aspects + (told.companion_aspects if find_companion(home, tool) is not None else ())


def needs(tool: str) -> str:
    """What to tell where the file is missing."""
    told = TOOL_FILES[tool]
    first, *others = told.names
    also = f" (or {', '.join(others)})" if others else ""
    second = f" and {told.companion}" if told.companion and not told.companion_aspects else ""
    return f"needs {first}{also}{second} in $PAAPLUS_HOME/{FOLDER}: docs/weights.md"


def digest(file: Path) -> str:
    """SHA-256 of the file, from memory while the file does not change."""
    told = file.stat()
    return _digest(file, told.st_size, told.st_mtime_ns)


@lru_cache(maxsize=32)
def _digest(file: Path, _size_bytes: int, _changed_at_ns: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
