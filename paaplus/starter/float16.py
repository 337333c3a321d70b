"""Artifacts with their large arrays as float16: half as large, read back as float32."""

from __future__ import annotations

from typing import Any, Final, cast

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.tensors import pack, unpack

LARGE: Final = 4096  # numbers; smaller arrays stay float32


def to_float16(data: bytes) -> bytes:
    """An artifact of `paaplus.scoring.tensors` with its large arrays as float16.

    A large array is divided by a power of two first, so that its largest number is between 1 and 2: numbers below
    6e-5 would lose digits.
    """
    arrays, metadata = unpack(data)
    exponents = {name: _exponent(array) for name, array in arrays.items() if array.size >= LARGE}
    for name, exponent in exponents.items():
        arrays[name] = np.ldexp(arrays[name].astype(np.float64), -exponent).astype(np.float16)
    return pack(arrays, {"artifact": metadata, "exponents": exponents})


def from_float16(data: bytes) -> bytes:
    """The artifact, all arrays as float32. Its bytes, and so its digest, are the same on every machine.

    Raises:
        InvalidInput: not such bytes.
    """
    arrays, metadata = unpack(data)
    if set(metadata) != {"artifact", "exponents"}:
        raise InvalidInput(f"not an artifact with float16 arrays: metadata {sorted(metadata)}")
    exponents = cast(dict[str, int], metadata["exponents"])
    whole = {name: np.ldexp(array.astype(np.float32), exponents.get(name, 0)) for name, array in arrays.items()}
    return pack(whole, cast(dict[str, Any], metadata["artifact"]))


def _exponent(array: np.ndarray) -> int:
    largest = float(np.abs(array).max())
    return int(np.floor(np.log2(largest))) if largest > 0 else 0
