"""Named arrays as safetensors bytes, and their digest. Every artifact of numbers has this format, never pickle."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex

MAX_KEPT_HEADER_BYTES: Final = 2_048
MAX_LAYOUTS: Final = 1_000


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object] | None = None) -> bytes:
    """Arrays and metadata as bytes, which depend only on names, shapes, dtypes, values and metadata, not on order."""
    text = json.dumps(dict(metadata or {}), sort_keys=True, separators=(",", ":"))
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return save(ordered, metadata={"paaplus": text})


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """The arrays and metadata that `pack` wrote.

    Raises:
        InvalidInput: not a safetensors file, or one that `pack` did not write.
    """
    header_size = int.from_bytes(data[:8], "little")
    head = data[: 8 + header_size] if header_size <= MAX_KEPT_HEADER_BYTES else b""
    known = _layouts.get(head)
    if known is not None and known.num_bytes == len(data):
        buffer = bytearray(memoryview(data)[8 + header_size :])  # so that the arrays can be written to
        # Made from the buffer itself: `frombuffer` keeps 400 bytes more for each, which is most of a small array.
        return {
            name: np.ndarray(shape, dtype, buffer, offset) for name, dtype, offset, shape in known.arrays
        }, known.metadata.copy()
    try:
        arrays = load(data)
        header = json.loads(data[8 : 8 + header_size])
        metadata = json.loads(header["__metadata__"]["paaplus"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"not an artifact of paaplus ({len(data)} bytes): {str(error)[:200]}") from error
    if not isinstance(metadata, dict):
        raise InvalidInput(f"not an artifact of paaplus: its metadata are a {type(metadata).__name__}")
    is_flat = not any(isinstance(value, (dict, list)) for value in metadata.values())  # a copy has parts of its own
    if head and is_flat and len(_layouts) < MAX_LAYOUTS:
        places = ((name, array.dtype, header[name]["data_offsets"][0], array.shape) for name, array in arrays.items())
        _layouts[head] = _Layout(len(data), tuple(places), metadata.copy())
    return arrays, metadata


def known_places(head: bytes) -> dict[str, tuple[int, tuple[int, ...]]] | None:
    """Where the arrays of artifacts with this header are, if `unpack` has kept it: offset in bytes after it, shape.

    Args:
        head: of an artifact of float32 arrays, see `head_of`.
    """
    known = _layouts.get(head)
    return {name: (offset, shape) for name, _, offset, shape in known.arrays} if known is not None else None


def head_of(data: bytes) -> bytes:
    """What an artifact says of its arrays: all bytes before their numbers."""
    return data[: 8 + int.from_bytes(data[:8], "little")]


def float32_numbers(data: bytes) -> np.ndarray:
    """All numbers of an artifact that `unpack` has read, if all its arrays are float32, shape (N,)."""
    return np.frombuffer(data, np.float32, offset=8 + int.from_bytes(data[:8], "little"))


class _Layout(NamedTuple):
    """Where the arrays of an artifact are: name, dtype, offset in bytes after the header, shape."""

    num_bytes: int
    arrays: tuple[tuple[str, np.dtype[Any], int, tuple[int, ...]], ...]
    metadata: dict[str, object]


# By the header, of what the library has read: adapters of one kind differ in their numbers only.
_layouts: dict[bytes, _Layout] = {}


def check_names(what: str, found: Collection[str], expected: Collection[str]) -> None:
    """Check the names of an artifact's arrays. The message is short, however many names are wrong.

    Raises:
        InvalidInput: a name is missing or unknown.
    """
    if set(found) == set(expected):
        return
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        examples = ", ".join(name[:64] for name in unknown[:8])
        raise InvalidInput(
            f"{what} needs arrays {sorted(expected)}; missing are {missing}, unknown are {len(unknown)}: {examples}"
        )


def digest(data: bytes) -> str:
    """SHA-256 of an artifact's bytes, hexadecimal."""
    return sha256_hex(data)
