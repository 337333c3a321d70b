"""Named arrays as safetensors bytes, and their digest. Every artifact of numbers has this format, never pickle."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex


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
    try:
        arrays = load(data)
        header_size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + header_size])
        metadata = json.loads(header["__metadata__"]["paaplus"])
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(f"not an artifact of paaplus ({len(data)} bytes): {str(error)[:200]}") from error
    if not isinstance(metadata, dict):
        raise InvalidInput(f"not an artifact of paaplus: its metadata are a {type(metadata).__name__}")
    return arrays, metadata


def check_names(what: str, found: Collection[str], expected: Collection[str]) -> None:
    """Check the names of an artifact's arrays. The message is short, however many names are wrong.

    Raises:
        InvalidInput: a name is missing or unknown.
    """
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or unknown:
        examples = ", ".join(name[:64] for name in unknown[:8])
        raise InvalidInput(
            f"{what} needs arrays {sorted(expected)}; missing are {missing}, unknown are {len(unknown)}: {examples}"
        )


def digest(data: bytes) -> str:
    """SHA-256 of an artifact's bytes, hexadecimal."""
    return sha256_hex(data)
