"""Stacks of taste vectors: the bits of each alone."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.stacked import BLOCK, score_stack


@pytest.mark.parametrize("num_aspects", [1, 2, 3, 5])
@pytest.mark.parametrize("taste_dim", [1, 7, 64, 255, 256, 300])
def test_a_stack_gives_the_bits_of_each_taste_vector_alone(taste_dim: int, num_aspects: int) -> None:
    rng = np.random.default_rng(taste_dim * num_aspects)
    num = BLOCK + 77
    weight_SAR = rng.normal(size=(num, num_aspects, taste_dim)).astype(np.float32)
    alpha_SA = (1 + 0.1 * rng.normal(size=(num, num_aspects))).astype(np.float32)
    beta_SA = rng.normal(size=(num, num_aspects)).astype(np.float32)
    taste_R = (rng.normal(size=taste_dim) / np.sqrt(taste_dim)).astype(np.float32)
    generic_A = rng.uniform(0, 10, size=num_aspects).astype(np.float32)
    found_SA = score_stack(weight_SAR, alpha_SA, beta_SA, taste_R, generic_A)
    for s in range(num):
        alone = TasteVector("base", alpha_SA[s], beta_SA[s], np.ascontiguousarray(weight_SAR[s].T))
        assert found_SA[s].tobytes() == alone.score(taste_R[None], generic_A[None])[0].tobytes(), s
    assert score_stack(weight_SAR[:0], alpha_SA[:0], beta_SA[:0], taste_R, generic_A).shape == (0, num_aspects)
