"""Copies of one image file under several names. They are one scene: else a half would be tested on its own training."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.data.image_folder import first_of
from paaplus.ids import sha256_hex

_END_BYTES = 4096  # files of one size seldom have the same end


def with_copies_together(folder: DataFolder) -> DataFolder:
    """The folder with all copies of a file in one scene; scenes that share a file become one.

    Warns:
        UserWarning: there are copies in different scenes.
    """
    positions: Iterable[list[int]] = [list(range(len(folder.images)))]
    for read in (_size, _end, _digest):  # each one reads only the files that the one before found alike
        positions = [alike for group in positions for alike in _alike(group, folder, read)]
    scene_I = folder.scene_I.copy()
    apart: list[str] = []
    for group in positions:
        scenes = np.unique(scene_I[group])
        if len(scenes) > 1:
            apart.append(" and ".join(repr(folder.images[position]) for position in group))
            scene_I[np.isin(scene_I, scenes)] = scenes[0]
    if not apart:
        return folder
    warnings.warn(f"{len(apart)} image(s) with copies in other scenes, now one: {first_of(apart)}", stacklevel=3)
    return replace(folder, scene_I=np.unique(scene_I, return_inverse=True)[1])


def _alike(group: list[int], folder: DataFolder, read: Callable[[Path], Hashable]) -> list[list[int]]:
    found: defaultdict[Hashable, list[int]] = defaultdict(list)
    for position in group:
        found[read(folder.image_path(folder.images[position]))].append(position)
    return [alike for alike in found.values() if len(alike) > 1]


def _size(file: Path) -> int:
    return file.stat().st_size


def _end(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _END_BYTES))
        return stream.read()


def _digest(file: Path) -> str:
    return sha256_hex(file.read_bytes())
