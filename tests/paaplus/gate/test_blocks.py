"""Blocks: fine for new feedback, coarse for old."""

from __future__ import annotations

import numpy as np

from paaplus.gate.blocks import BLOCK_SIZE, block_starts


def test_blocks_cover_all_answers_once_and_coarse_ones_are_unions_of_fine_ones() -> None:
    for num in range(1, 900):
        starts, before = block_starts(num), block_starts(num - 1)
        assert starts[0] == 0
        assert starts[-1] == num
        assert (np.diff(starts) > 0).all()
        assert set(starts[:-1]) <= set(before), "a boundary is never drawn anew through old answers"


def test_few_answers_have_blocks_of_one_size() -> None:
    np.testing.assert_array_equal(block_starts(25), [0, 10, 20, 25])
    assert len(block_starts(0)) == 1
    newest = np.diff(block_starts(5000))[-8:]
    assert (newest == BLOCK_SIZE).all()


def test_number_of_blocks_grows_with_the_logarithm() -> None:
    numbers = [len(block_starts(num)) for num in (1_000, 10_000, 100_000)]
    assert numbers[1] - numbers[0] < 15
    assert numbers[2] - numbers[1] < 15
