"""Stores of body meshes and joints: safetensors shards with an index, and the conversion of the release's cache.

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

JOINT_SIZE_PX = 224  # joints are in pixels of the picture padded to a square with sides of this length
_INDEX = "index.json"
_SHARD_IMAGES = 1000  # about 125 MB
_TUPLE_LENGTH = 7  # mesh, pose, shape, camera, box, 25 joints, volume
_JOINTS_AT = 5
_EYES = slice(22, 24)  # of the 25 joints


@dataclass(frozen=True, eq=False)
class CachedBody:
    """One person's body.

    Attributes:
        vertices_V3: mesh in camera space, in metres, with all signs reversed.
        joints_K2: joints (x, y) in pixels of the picture padded to a square of 224 x 224.
    """

    vertices_V3: np.ndarray
    joints_K2: np.ndarray


class MeshStore:
    """Bodies by image name, read from their shards on request. A context manager that closes the shards."""

    def __init__(self, folder: Path) -> None:
        """Read the index.

        Raises:
            InvalidInput: there is no index, or it names files outside the folder.
        """
        self._folder = folder
        self._stack = ExitStack()
        self._open: dict[str, Any] = {}
        try:
            shards = json.loads((folder / _INDEX).read_text(encoding="utf-8"))["shards"]
            self._shards: dict[str, str] = {str(image): str(shard) for image, shard in shards.items()}
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise InvalidInput(f"{folder / _INDEX} is not an index of meshes: {error}") from error
        if outside := [shard for shard in self._shards.values() if Path(shard).name != shard]:
            raise InvalidInput(f"{folder / _INDEX} names {outside[0]!r}, which is outside its folder")

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
        """The body of the person in an image; None if the store has none.

        Raises:
            InvalidInput: a shard is missing or damaged, or its arrays are not a body.
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
    """A body from two arrays; `source` names their origin in errors.

    Raises:
        InvalidInput: the shapes are not (V, 3) and (15, 2), or a number is not finite.
    """
    if vertices_V3.ndim != 2 or vertices_V3.shape[1] != 3 or joints_K2.shape != (NUM_GRAPH_JOINTS, 2):
        raise InvalidInput(f"{source}: vertices {vertices_V3.shape} and joints {joints_K2.shape}")
    if not (np.isfinite(vertices_V3).all() and np.isfinite(joints_K2).all()):
        raise InvalidInput(f"{source}: vertices or joints are not finite")
    return CachedBody(vertices_V3.astype(np.float32), joints_K2.astype(np.float32))


def write_meshes(folder: Path, bodies: Iterable[tuple[str, CachedBody]]) -> int:
    """Write (image, body) pairs as a store, shard by shard, then the index; returns the number of bodies."""
    folder.mkdir(parents=True, exist_ok=True)
    shards: dict[str, str] = {}
    for number, part in enumerate(_shard_contents(bodies)):
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
    """Convert the release's cache, a torch file with a dict of 7-tuples, into a store; returns the number of bodies.

    The file is read by torch's restricted unpickler, which is allowed NumPy's plain arrays: no code in it can run. Its
    joints are used as pixels of the 224 x 224 picture, as in the published code. The last of the 15 joints is the mean
    of the two eyes. Coordinates are truncated to whole pixels.

    Raises:
        InvalidInput: another kind of file, contents that are not plain arrays, or arrays of other shapes.
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
        raise InvalidInput(f"{source}: {type(value).__name__}, not a tuple of {_TUPLE_LENGTH} entries")
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
    """The functions and types that a pickled array of numbers refers to, under NumPy 1 and NumPy 2."""
    from numpy._core import multiarray

    names: list[Any] = [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd")]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        names += [(multiarray._reconstruct, f"{module}._reconstruct"), (multiarray.scalar, f"{module}.scalar")]
    return names


def _shard_contents(bodies: Iterable[tuple[str, CachedBody]]) -> Iterator[list[tuple[str, CachedBody]]]:
    """The bodies of each shard."""
    part: list[tuple[str, CachedBody]] = []
    for pair in bodies:
        part.append(pair)
        if len(part) == _SHARD_IMAGES:
            yield part
            part = []
    if part:
        yield part
