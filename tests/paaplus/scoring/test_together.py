"""Scores of many users at once: the very bits of each item alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.scoring.adapters import Adapter, Bottleneck, TasteVector
from paaplus.scoring.together import score_together

TASTE_DIM = 37


def make_adapter(kind: int, seed: int, num_aspects: int) -> Adapter | None:
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    alpha_A, beta_A = 1 + 0.2 * normal(num_aspects), normal(num_aspects)
    if kind == 0:
        return None
    if kind == 1:
        return TasteVector("b", alpha_A, beta_A, normal(TASTE_DIM, num_aspects))
    return Bottleneck("b", alpha_A, beta_A, normal(TASTE_DIM, 4), normal(4), normal(4, num_aspects))


@given(
    kinds=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5)), min_size=1, max_size=12),
    num_aspects=st.integers(1, 3),
    seed=st.integers(0, 2**20),
)
@pytest.mark.slow
def test_every_item_has_the_bits_that_it_has_alone(kinds: list[tuple[int, int]], num_aspects: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    adapters = [
        adapter
        for n, (kind, num_items) in enumerate(kinds)
        for adapter in [make_adapter(kind, seed + n, num_aspects)] * num_items
    ]
    taste_NR = rng.normal(size=(len(adapters), TASTE_DIM)).astype(np.float32)
    generic_NA = rng.uniform(0, 10, (len(adapters), num_aspects)).astype(np.float32)
    found_NA = score_together(adapters, list(taste_NR), generic_NA)
    assert (found_NA.dtype, found_NA.shape) == (np.float32, generic_NA.shape)
    for n, adapter in enumerate(adapters):
        one = slice(n, n + 1)
        alone_1A = generic_NA[one] if adapter is None else adapter.score(taste_NR[one], generic_NA[one])
        assert found_NA[one].tobytes() == alone_1A.tobytes()
