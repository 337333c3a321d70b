"""Named arrays as safetensors bytes, and their digest. The only serial format of numbers here; never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex


def pack(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, object] | None = None) -> bytes:
    """Bytes that depend only on names, shapes, dtypes, values and metadata (keys in order)."""
    text = json.dumps(dict(metadata or {}), sort_keys=True, separators=(",", ":"))
    ordered = {name: np.ascontiguousarray(arrays[name]) for name in sorted(arrays)}
    return save(ordered, metadata={"paaplus": text})


def unpack(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    """What `pack` packed.

    Raises:
        InvalidInput: not a safetensors file, or one that `pack` did not write.
    """
    try:
        arrays = load(data)
        header_size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + header_size])
        metadata = json.loads(header["__metadata__"]["paaplus"])
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"not an artifact of paaplus ({len(data)} bytes): {error}") from error
    return arrays, metadata


def digest(data: bytes) -> str:
    return sha256_hex(data)
