"""Read the user's SMPL-X model file without unpickling anything, check it, and write a clean copy.

SMPL-X files are .npz archives in which some members are pickled objects. The package `smplx` opens them with
`allow_pickle=True`. Here nothing is unpickled: the members that body meshes need are plain arrays of numbers.

Shape letters: V = vertices, F = faces, J = joints, S = shape and expression directions, P = pose directions (9 a joint
but the root).
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.scoring.tensors import pack

NUM_VERTICES = 10_475
NUM_JOINTS = 55
NUM_HAND_JOINTS = 15  # per hand; the last 30 joints are those of the left hand, then of the right hand
NUM_DIRECTIONS = 10  # of shape and of expression each, as SMPLer-X regresses them
_FIRST_EXPRESSION = {20: 10, 400: 300}  # by the number of directions in the file
_MAX_MEMBER_BYTES = 200 * 2**20  # posedirs in float64 is 122 MB, shapedirs with 400 directions 101 MB

_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "weights", "kintree_table", "hands_meanl",
           "hands_meanr", "f")  # fmt: skip
_FOR_THE_PACKAGE = ("hands_componentsl", "hands_componentsr", "lmk_faces_idx", "lmk_bary_coords",
                    "dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords")  # fmt: skip
_INTEGERS = ("kintree_table", "f", "lmk_faces_idx", "dynamic_lmk_faces_idx")


@dataclass(frozen=True, eq=False)
class BodyModelData:
    """The arrays of a body model, float32, in metres; joint 0 is the root, and every parent comes before its child."""

    template_V3: np.ndarray
    shape_directions_V3S: np.ndarray  # (V, 3, 10)
    expression_directions_V3S: np.ndarray  # (V, 3, 10)
    pose_directions_V3P: np.ndarray  # (V, 3, 486)
    joint_regressor_JV: np.ndarray
    skinning_VJ: np.ndarray  # every row sums to 1
    parent_J: np.ndarray  # int64, -1 for the root
    mean_hands_J3: np.ndarray  # (30, 3) axis-angle in radians: left hand, right hand
    faces_F3: np.ndarray  # int64
    digest: str  # SHA-256 of everything above

    @property
    def num_vertices(self) -> int:
        return len(self.template_V3)


def read_model_file(path: Path) -> BodyModelData:
    """A body model from an SMPL-X .npz file. Nothing in it is unpickled.

    Raises:
        InvalidInput: the file is not an .npz archive, an array is missing, pickled, too large or of another shape, or a
            number is not finite.
    """
    arrays = _read_arrays(path)
    num_directions = arrays["shapedirs"].shape[2]
    first = _FIRST_EXPRESSION.get(num_directions)
    if first is None:
        raise InvalidInput(f"{path}: {num_directions} shape directions; an SMPL-X file has 20 or 400")
    directions_V3S = arrays["shapedirs"].astype(np.float32)
    parts = {
        "template_V3": arrays["v_template"].astype(np.float32),
        "shape_directions_V3S": directions_V3S[..., :NUM_DIRECTIONS].copy(),
        "expression_directions_V3S": directions_V3S[..., first : first + NUM_DIRECTIONS].copy(),
        "pose_directions_V3P": arrays["posedirs"].astype(np.float32),
        "joint_regressor_JV": arrays["J_regressor"].astype(np.float32),
        "skinning_VJ": arrays["weights"].astype(np.float32),
        "parent_J": _parents(path, arrays["kintree_table"]),
        "mean_hands_J3": np.concatenate([arrays["hands_meanl"], arrays["hands_meanr"]])
        .astype(np.float32)
        .reshape(2 * NUM_HAND_JOINTS, 3),
        "faces_F3": arrays["f"].astype(np.int64),
    }
    if not np.allclose(parts["skinning_VJ"].sum(axis=1), 1, atol=1e-3):
        raise InvalidInput(f"{path}: skinning weights do not sum to 1 at every vertex")
    return BodyModelData(**parts, digest=sha256_hex(pack(parts)))


def write_clean_file(source: Path, target: Path) -> None:
    """Write a copy of a model file with its known numeric arrays only, the form that the package `smplx` reads here.

    Raises:
        InvalidInput: as `read_model_file`, or an array that only the package needs is missing.
    """
    arrays = _read_arrays(source, (*_NEEDED, *_FOR_THE_PACKAGE))
    _parents(source, arrays["kintree_table"])
    kept = {name: array if name in _INTEGERS else array.astype(np.float32) for name, array in arrays.items()}
    temporary = target.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez_compressed(temporary, **kept)  # type: ignore[arg-type]  # numpy types a keyword `allow_pickle` here
    temporary.replace(target)


def _read_arrays(path: Path, names: tuple[str, ...] = _NEEDED) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InvalidInput(f"body model file {path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            size_bytes = {info.filename.removesuffix(".npy"): info.file_size for info in archive.infolist()}
        if missing := [name for name in names if name not in size_bytes]:
            raise InvalidInput(f"body model file {path} has no {', '.join(missing)}")
        if large := [name for name in names if size_bytes[name] > _MAX_MEMBER_BYTES]:
            raise InvalidInput(f"body model file {path}: {large[0]} has {size_bytes[large[0]]} bytes unpacked")
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in names}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InvalidInput(f"body model file {path} cannot be read as plain arrays: {error}") from error
    for name, array in arrays.items():
        _check_array(path, name, array)
    return arrays


_SHAPES: dict[str, tuple[int | None, ...]] = {
    "v_template": (NUM_VERTICES, 3),
    "shapedirs": (NUM_VERTICES, 3, None),
    "posedirs": (NUM_VERTICES, 3, 9 * (NUM_JOINTS - 1)),
    "J_regressor": (NUM_JOINTS, NUM_VERTICES),
    "weights": (NUM_VERTICES, NUM_JOINTS),
    "kintree_table": (2, NUM_JOINTS),
    "hands_meanl": (3 * NUM_HAND_JOINTS,),
    "hands_meanr": (3 * NUM_HAND_JOINTS,),
    "f": (None, 3),
}


def _check_array(path: Path, name: str, array: np.ndarray) -> None:
    wanted = _SHAPES.get(name, (None,) * array.ndim)
    fits = array.ndim == len(wanted) and all(w in (None, size) for w, size in zip(wanted, array.shape, strict=True))
    if not fits:
        raise InvalidInput(f"body model file {path}: {name} has shape {array.shape}, not {wanted}")
    if not np.issubdtype(array.dtype, np.number) or np.issubdtype(array.dtype, np.complexfloating):
        raise InvalidInput(f"body model file {path}: {name} holds {array.dtype}, not real numbers")
    if not np.isfinite(array).all():
        raise InvalidInput(f"body model file {path}: {name} holds numbers that are not finite")
    if name == "f" and (array.min() < 0 or array.max() >= NUM_VERTICES):
        raise InvalidInput(f"body model file {path}: faces name vertices {array.min()} to {array.max()}")


def _parents(path: Path, kintree: np.ndarray) -> np.ndarray:
    parent_J = kintree[0].astype(np.int64)
    parent_J[0] = -1  # files with unsigned numbers have 2^32 - 1
    late = np.flatnonzero((parent_J < 0) | (parent_J >= np.arange(NUM_JOINTS)))[1:]
    if len(late):
        raise InvalidInput(f"body model file {path}: joint {late[0]} has parent {parent_J[late[0]]}")
    return parent_J
