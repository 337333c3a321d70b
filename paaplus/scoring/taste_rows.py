"""Taste vectors as rows of one matrix: the numbers that scoring needs, one after the other.

Many stored adapters are read at once: those with equal headers differ in their numbers only. Shape letters: M =
adapters, R = taste space dim, A = aspects, K = A (R + 2) numbers of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Adapter, TasteVector, adapter_from_bytes
from paaplus.scoring.tensors import head_of, known_places


@dataclass(frozen=True, slots=True)
class RowForm:
    """The form of rows: weights by aspect, then scales, then offsets."""

    num_aspects: int
    taste_dim: int

    @property
    def size(self) -> int:
        return self.num_aspects * (self.taste_dim + 2)

    def weight_MAR(self, number_MK: np.ndarray) -> np.ndarray:
        return number_MK[:, : self.num_aspects * self.taste_dim].reshape(-1, self.num_aspects, self.taste_dim)

    def alpha_MA(self, number_MK: np.ndarray) -> np.ndarray:
        return number_MK[:, -2 * self.num_aspects : -self.num_aspects]

    def beta_MA(self, number_MK: np.ndarray) -> np.ndarray:
        return number_MK[:, -self.num_aspects :]

    def fits(self, adapter: Adapter) -> bool:
        """Whether the adapter is a taste vector of this form."""
        return isinstance(adapter, TasteVector) and adapter.weight_RA.shape == (self.taste_dim, self.num_aspects)

    def write(self, adapter: TasteVector, number_K: np.ndarray) -> None:
        number_1K = number_K[None]
        self.weight_MAR(number_1K)[0] = adapter.weight_RA.T
        self.alpha_MA(number_1K)[0], self.beta_MA(number_1K)[0] = adapter.alpha_A, adapter.beta_A


def read_rows(
    form: RowForm, base_digest: str, data_M: Sequence[bytes], number_MK: np.ndarray
) -> list[Adapter | InvalidInput | None]:
    """Read stored adapters, and write taste vectors into rows.

    Args:
        form: of the rows.
        base_digest: of the base model that they must be for.
        data_M: what `Adapter.to_bytes` wrote.
        number_MK: float32, is written.

    Returns:
        Of each: None, it is in its row; another adapter, whose row is not written; or why it cannot be read.
    """
    found: list[Adapter | InvalidInput | None] = [None] * len(data_M)
    of_heads: dict[bytes, list[int]] = {}
    for place, data in enumerate(data_M):
        of_heads.setdefault(head_of(data), []).append(place)
    for head, places in of_heads.items():
        first = _read(base_digest, data_M[places[0]])
        arrays = known_places(head)
        if isinstance(first, InvalidInput) or not form.fits(first) or arrays is None:
            alone = places
        else:
            alone = _write_alike(form, arrays, len(head), data_M, places, number_MK)
        for place in alone:
            adapter = _read(base_digest, data_M[place])
            if not isinstance(adapter, InvalidInput) and form.fits(adapter):
                assert isinstance(adapter, TasteVector), "it fits"
                form.write(adapter, number_MK[place])
            else:
                found[place] = adapter
    return found


def _read(base_digest: str, data: bytes) -> Adapter | InvalidInput:
    try:
        adapter = adapter_from_bytes(data)
    except InvalidInput as error:
        return error
    if adapter.base_digest != base_digest:
        return InvalidInput(f"it was made for base model {adapter.base_digest}, not {base_digest}")
    return adapter


def _write_alike(
    form: RowForm,
    arrays: dict[str, tuple[int, tuple[int, ...]]],
    head_size: int,
    data_M: Sequence[bytes],
    places: list[int],
    number_MK: np.ndarray,
) -> list[int]:
    """Write the rows of taste vectors that have one header; returns the places of those that must be read alone."""
    size = len(data_M[places[0]])
    if any(len(data_M[place]) != size for place in places):
        return places
    whole = b"".join([data_M[place] for place in places])
    byte_PB = np.frombuffer(whole, np.uint8).reshape(len(places), size)[:, head_size:]
    number_PN = np.ascontiguousarray(byte_PB).view(np.float32)
    if not np.isfinite(number_PN).all():
        return places
    num, dim = form.num_aspects, form.taste_dim

    def columns(name: str) -> np.ndarray:
        start = arrays[name][0] // 4
        return number_PN[:, start : start + int(np.prod(arrays[name][1]))]

    row_PK = np.empty((len(places), form.size), np.float32)
    form.weight_MAR(row_PK)[:] = columns("weight_RA").reshape(-1, dim, num).transpose(0, 2, 1)
    form.alpha_MA(row_PK)[:] = columns("alpha_A")
    form.beta_MA(row_PK)[:] = columns("beta_A")
    number_MK[places] = row_PK
    return []
