"""Stacks of taste vectors: the bits of each alone."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.scoring.adapters import TasteVector
from paaplus.scoring.stacked import BLOCK, score_grid, score_pairs, score_stack
from paaplus.scoring.taste_rows import RowForm


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


@pytest.mark.parametrize("num_aspects", [1, 3])
@pytest.mark.parametrize("taste_dim", [1, 7, 255, 256])
def test_many_users_and_images_have_the_bits_of_each_alone(taste_dim: int, num_aspects: int) -> None:
    rng = np.random.default_rng(taste_dim * num_aspects)
    form = RowForm(num_aspects, taste_dim)
    num_users, num_images = BLOCK + 9, 3
    number_UK = rng.normal(size=(num_users, form.size)).astype(np.float32)
    rows = form.weight_MAR(number_UK), form.alpha_MA(number_UK), form.beta_MA(number_UK)
    taste_IR = (rng.normal(size=(num_images, taste_dim)) / np.sqrt(taste_dim)).astype(np.float32)
    generic_IA = rng.uniform(0, 10, size=(num_images, num_aspects)).astype(np.float32)
    grid_UIA = score_grid(*rows, taste_IR, generic_IA)
    user_N, image_N = rng.integers(num_users, size=700), rng.integers(num_images, size=700)
    pairs_NA = score_pairs(*rows, user_N, taste_IR[image_N], generic_IA[image_N])
    for n, (user, image) in enumerate(zip(user_N, image_N, strict=True)):
        weight_RA = np.ascontiguousarray(rows[0][user].T)
        alone = TasteVector("base", rows[1][user], rows[2][user], weight_RA)
        expected = alone.score(taste_IR[image][None], generic_IA[image][None])[0].tobytes()
        assert pairs_NA[n].tobytes() == grid_UIA[user, image].tobytes() == expected
