"""Products of windows through the inverse covariance, beside the matrices worked out directly."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.gate import window_products
from paaplus.gate.window_products import BlockRows

RATIOS = np.array([0.1, 1.0, 8.0])


def rows(sizes: list[int], num_directions: int, seed: int = 0) -> BlockRows:
    rng = np.random.default_rng(seed)
    block_N = np.repeat(np.arange(len(sizes)), sizes)
    row_NM = rng.normal(size=(len(block_N), num_directions))
    column_ND = np.column_stack([np.ones(len(block_N)), rng.normal(size=(len(block_N), 2))])
    shuffled = rng.permutation(len(block_N))
    return BlockRows.of(row_NM[shuffled], column_ND[shuffled], block_N[shuffled], len(sizes))


def directly(blocks: BlockRows, window: tuple[int, int], ratio: float) -> tuple[np.ndarray, float]:
    part = slice(blocks.start_B[window[0]], blocks.start_B[window[1]])
    row_NM, column_ND = blocks.row_NM[part], blocks.column_ND[part]
    covariance_NN = np.eye(len(row_NM)) + ratio * row_NM @ row_NM.T
    return column_ND.T @ np.linalg.solve(covariance_NN, column_ND), float(np.linalg.slogdet(covariance_NN)[1])


@pytest.mark.parametrize("num_by_rows", [0, 12, 1000], ids=["by directions", "both ways", "by rows"])
@pytest.mark.parametrize("num_directions", [1, 2, 7])
def test_every_window_is_as_worked_out_directly(
    num_by_rows: int, num_directions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(window_products, "NUM_BY_ROWS", num_by_rows)
    sizes = [3, 10, 0, 1, 9]
    blocks = rows(sizes, num_directions)
    windows = [(start, end) for start in range(5) for end in range(start + 1, 6)]
    solved_TWDD, log_det_TW = blocks.products(np.array(windows), RATIOS)
    for w, window in enumerate(windows):
        for t, ratio in enumerate(RATIOS):
            expected, log_det = directly(blocks, window, float(ratio))
            np.testing.assert_allclose(solved_TWDD[t, w], expected, atol=1e-11)
            assert log_det_TW[t, w] == pytest.approx(log_det, abs=1e-11)


@pytest.mark.parametrize("with_kernel", [False, True])
def test_windows_with_one_end_are_as_worked_out_directly(with_kernel: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    factors: list[int] = []
    factor = BlockRows._factor

    def counted(self: BlockRows, first: int, num: int, ratio_T: np.ndarray) -> np.ndarray:
        factors.append(num)
        return factor(self, first, num, ratio_T)

    monkeypatch.setattr(BlockRows, "_factor", counted)
    blocks = rows([3, 40, 0, 1, 9], 4)
    if with_kernel:
        blocks = BlockRows(blocks.row_NM, blocks.column_ND, blocks.start_B, blocks.row_NM @ blocks.row_NM.T)
    windows = [(start, 5) for start in range(5)]
    solved_TWDD, log_det_TW = blocks.products(np.array(windows), RATIOS)
    for w, window in enumerate(windows):
        for t, ratio in enumerate(RATIOS):
            expected, log_det = directly(blocks, window, float(ratio))
            np.testing.assert_allclose(solved_TWDD[t, w], expected, atol=1e-10)
            assert log_det_TW[t, w] == pytest.approx(log_det, abs=1e-10)
    assert factors == [53], "one factor for all of them"


def test_moments_are_sums_over_the_window() -> None:
    blocks = rows([4, 0, 6], 2)
    [first, nothing, everything] = blocks.moments(np.array([(0, 1), (1, 2), (0, 3)]))
    np.testing.assert_allclose(first, blocks.column_ND[:4].T @ blocks.column_ND[:4])
    assert not nothing.any()
    np.testing.assert_allclose(everything, blocks.column_ND.T @ blocks.column_ND)
