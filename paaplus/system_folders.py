"""Folders that systems make beside people's files: what lies in them is nobody's photograph."""

from __future__ import annotations

from typing import Final

# Synology's and QNAP's thumbnails, what macOS packs into archives, and the bins of Windows, Synology and QNAP.
_OF_SYSTEMS: Final = frozenset(
    {"@eadir", "@tmp", ".@__thumb", "__macosx", "$recycle.bin", "#recycle", "@recycle", "system volume information"}
)


def is_left_out(name: str) -> bool:
    """Whether a folder of this name is passed over: it is hidden, or a system's own."""
    return name.startswith(".") or name.lower() in _OF_SYSTEMS
