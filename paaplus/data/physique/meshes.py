"""Meshes and joints of a data set's people: safetensors shards, and the release's cache converted into them, once.

    meshes/index.json            {"shards": {"<image>": "meshes-00000.safetensors", ...}}
    meshes/meshes-00000.safetensors    "<image>/vertices" (V, 3) and "<image>/joints" (15, 2), float32

Shape letters: V = vertices, K = the 15 joints of the graph.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.mesh import GRAPH_JOINTS, NUM_GRAPH_JOINTS

JOINT_SIZE_PX = 224  # joints are in pixels of the picture padded to a square of this side
_INDEX = "index.json"
_SHARD_IMAGES = 1000  # about 125 MB
_TUPLE_LENGTH = 7  # mesh, pose, shape, camera, box, 25 joints, volume
_JOINTS_AT = 5
_EYES = slice(22, 24)  # of the 25 joints


@dataclass(frozen=True, eq=False)
class CachedBody:
    """One person. Vertices in metres before the camera with all signs turned; joints in pixels of a 224 px square."""

    vertices_V3: np.ndarray
    joints_K2: np.ndarray


class MeshStore:
    """Bodies by image name, read from their shards when asked for. Use it with `with`."""

    def __init__(self, folder: Path) -> None:
        """Open the index.

        Raises:
            InvalidInput: no index, or one that names files outside the folder.
        """
        self._folder = folder
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}
        try:
            shards = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["shards"]
            self._shards: dict[str, str] = {str(image): str(shard) for image, shard in shards.items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InvalidInput(f"{folder / _INDEX} is no index of meshes: {error}") from error
        if outside := [shard for shard in self._shards.values() if Path(shard).name != shard]:
            raise InvalidInput(f"{folder / _INDEX} names {outside[0]!r}: a file beside it")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        self._open = {}

    def __contains__(self, image: str) -> bool:
        return image in self._shards

    def __len__(self) -> int:
        return len(self._shards)

    def get(self, image: str) -> CachedBody | None:
        """The body in an image, None where the store has none.

        Raises:
            InvalidInput: a shard is missing or damaged, or holds arrays that are no body.
        """
        shard = self._shards.get(image)
        if shard is None:
            return None
        try:
            if shard not in self._open:
                self._open[shard] = self._stack.enter_context(safe_open(self._folder / shard, framework="numpy"))
            vertices_V3 = self._open[shard].get_tensor(f"{image}/vertices")
            joints_K2 = self._open[shard].get_tensor(f"{image}/joints")
        except (OSError, SafetensorError) as error:
            raise InvalidInput(f"{self._folder / shard}: the mesh of {image} cannot be read: {error}") from error
        return checked_body(vertices_V3, joints_K2, f"{self._folder / shard}: {image}")


def checked_body(vertices_V3: np.ndarray, joints_K2: np.ndarray, source: str) -> CachedBody:
    """A body from two arrays.

    Raises:
        InvalidInput: other shapes than (V, 3) and (15, 2), or numbers that are not finite.
    """
    if vertices_V3.ndim != 2 or vertices_V3.shape[1] != 3 or joints_K2.shape != (NUM_GRAPH_JOINTS, 2):
        raise InvalidInput(f"{source}: vertices {vertices_V3.shape} and joints {joints_K2.shape}")
    if not (np.isfinite(vertices_V3).all() and np.isfinite(joints_K2).all()):
        raise InvalidInput(f"{source}: vertices or joints that are not finite")
    return CachedBody(vertices_V3.astype(np.float32), joints_K2.astype(np.float32))


def write_meshes(folder: Path, bodies: Iterable[tuple[str, CachedBody]]) -> int:
    """Write a store of (image, body) pairs, a shard at a time; returns how many. The index comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: dict[str, str] = {}
    for number, part in enumerate(_parts(bodies)):
        name = f"meshes-{number:05d}.safetensors"
        arrays = {}
        for image, body in part:
            arrays[f"{image}/vertices"] = np.ascontiguousarray(body.vertices_V3, np.float32)
            arrays[f"{image}/joints"] = np.ascontiguousarray(body.joints_K2, np.float32)
            shards[image] = name
        save_file(arrays, folder / name)
    temporary = folder / f"{_INDEX}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps({"shards": shards}, sort_keys=True), encoding="utf-8")
    temporary.replace(folder / _INDEX)
    return len(shards)


def convert_cache(source: Path, folder: Path) -> int:
    """Convert the release's cache, a torch file of a dict of 7-tuples, into a store; returns how many bodies.

    Read by torch's restricted unpickler with NumPy's plain arrays allowed: nothing else in the file can run.
    The tuple's joints are taken to be in pixels of the 224 px picture, as the published code hands them on; the last of
    our 15 is the middle of the two eyes, and all are cut to whole pixels.

    Raises:
        InvalidInput: not such a file, something in it that is no plain array, or arrays of other shapes.
    """
    if not source.is_file():
        raise InvalidInput(f"mesh cache {source} does not exist")
    try:
        with torch.serialization.safe_globals(_numpy_globals()):
            content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, TypeError) as error:
        raise InvalidInput(f"mesh cache {source} cannot be read as plain arrays: {error}") from error
    if not isinstance(content, dict) or not content:
        raise InvalidInput(f"mesh cache {source} holds {type(content).__name__}, not a dict of image names")
    return write_meshes(
        folder, ((str(name), _from_tuple(value, f"{source}: {name}")) for name, value in content.items())
    )


def _from_tuple(value: Any, source: str) -> CachedBody:
    if not isinstance(value, tuple | list) or len(value) != _TUPLE_LENGTH:
        raise InvalidInput(f"{source}: {type(value).__name__}, not a tuple of {_TUPLE_LENGTH}")
    vertices_V3, joints_J2 = (_plain(value[at], source).reshape(-1, size) for at, size in ((0, 3), (_JOINTS_AT, 2)))
    if len(joints_J2) < _EYES.stop:
        raise InvalidInput(f"{source}: {len(joints_J2)} joints, not 25")
    eyes_12 = joints_J2[_EYES].mean(axis=0, keepdims=True)
    joints_K2 = np.trunc(np.concatenate([joints_J2[: len(GRAPH_JOINTS)], eyes_12]))
    return checked_body(vertices_V3, joints_K2, source)


def _plain(value: Any, source: str) -> np.ndarray:
    array = value.numpy() if isinstance(value, torch.Tensor) else value
    if not isinstance(array, np.ndarray) or not np.issubdtype(array.dtype, np.number):
        raise InvalidInput(f"{source}: {type(value).__name__} where numbers are expected")
    return array


def _numpy_globals() -> list[Any]:
    """What a pickled array of numbers names, under NumPy 1 and NumPy 2."""
    from numpy._core import multiarray

    names: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names += [(multiarray._reconstruct, f"{module}._reconstruct"), (multiarray.scalar, f"{module}.scalar")]
    return names


def _parts(bodies: Iterable[tuple[str, CachedBody]]) -> Iterator[list[tuple[str, CachedBody]]]:
    part: list[tuple[str, CachedBody]] = []
    for pair in bodies:
        part.append(pair)
        if len(part) == _SHARD_IMAGES:
            yield part
            part = []
    if part:
        yield part
