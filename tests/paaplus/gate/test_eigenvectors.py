"""Some eigenvectors beside all of them."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.gate.eigenvectors import some_eigenvectors


@pytest.mark.parametrize("rank", [40, 12], ids=["full rank", "many zeros"])
@pytest.mark.parametrize("chosen", [slice(30, None), slice(15), slice(1), slice(5, None), slice(0, 0)])
def test_some_eigenvectors_are_those_of_all(rank: int, chosen: slice) -> None:
    row_NK = np.random.default_rng(0).normal(size=(rank, 40))
    symmetric_XX = row_NK.T @ row_NK
    value_M, vector_XM = some_eigenvectors(symmetric_XX, chosen)
    expected_M = np.linalg.eigvalsh(symmetric_XX)[chosen]
    np.testing.assert_allclose(value_M, expected_M, atol=1e-11)
    np.testing.assert_allclose(vector_XM.T @ vector_XM, np.eye(len(expected_M)), atol=1e-12)
    np.testing.assert_allclose(symmetric_XX @ vector_XM, vector_XM * value_M, atol=1e-11)


def test_numbers_that_are_not_finite_are_an_error() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        some_eigenvectors(np.full((10, 10), np.nan), slice(3))
