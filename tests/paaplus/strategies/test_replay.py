"""The replay buffer: bounded, uniform, indifferent to restarts, purged of what was taken back."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.strategies.replay import KeyedSample


def data_of(low: int, high: int) -> np.ndarray:
    """Sequence numbers from low to high, both included."""
    return np.arange(low, high + 1)


def kept(reservoir: KeyedSample) -> list[int]:
    return sorted(reservoir.sequence_K.tolist())


def fed(seed: int, *parts: tuple[int, int], max_size: int = 20) -> KeyedSample:
    reservoir = KeyedSample(max_size, seed)
    for low, high in parts:
        reservoir.offer(data_of(low, high))
    return reservoir


def test_everything_is_kept_up_to_the_bound_and_no_more() -> None:
    assert kept(fed(0, (1, 20))) == list(range(1, 21))
    reservoir = fed(0, (1, 20), (21, 60))
    assert len(kept(reservoir)) == 20
    assert reservoir.num_seen == 60


def test_a_bound_of_zero_keeps_nothing() -> None:
    reservoir = fed(0, (1, 20), max_size=0)
    assert kept(reservoir) == []
    assert reservoir.num_seen == 20


def test_the_cut_into_increments_does_not_matter() -> None:
    at_once = kept(fed(3, (1, 60)))
    assert kept(fed(3, (1, 7), (8, 8), (9, 60))) == at_once
    assert kept(fed(4, (1, 60))) != at_once


@pytest.mark.slow
def test_every_rating_stays_equally_often() -> None:
    counts = np.zeros(61)
    for seed in range(300):
        counts[kept(fed(seed, (1, 30), (31, 60)))] += 1
    # 300 draws at 1/3 each: sd 8.2, so 60 of them lie within four sd
    assert np.abs(counts[1:] - 100).max() < 33
    assert counts[1:31].sum() == pytest.approx(3000, abs=200)


@pytest.mark.slow
def test_old_and_new_stay_equally_often_after_a_purge() -> None:
    old = new = 0
    for seed in range(300):
        reservoir = KeyedSample(10, seed)
        # 40 seen, then 1 to 20 are taken back, then 20 more come
        reservoir.restore(fed(seed, (1, 40), max_size=10).arrays(), data_of(21, 40))
        reservoir.offer(data_of(41, 60))
        assert len(kept(reservoir)) <= 10
        old += sum(s <= 40 for s in kept(reservoir))
        new += sum(s > 40 for s in kept(reservoir))
    # 20 valid ratings on either side; filling the freed room with new ones would give a third to the old
    assert old / (old + new) == pytest.approx(0.5, abs=0.03)


def test_a_restored_buffer_is_the_same_and_goes_on_the_same() -> None:
    reservoir = fed(5, (1, 40))
    restored = KeyedSample(20, 5)
    restored.restore(reservoir.arrays(), data_of(1, 40))
    assert restored.sequence_K.tolist() == reservoir.sequence_K.tolist()
    for each in (reservoir, restored):
        each.offer(data_of(41, 60))
    for name, array in reservoir.arrays().items():
        assert np.array_equal(restored.arrays()[name], array)


def test_a_buffer_goes_on_with_its_own_seed() -> None:
    restored = KeyedSample(20, 6)
    restored.restore(fed(5, (1, 40)).arrays(), data_of(1, 40))
    restored.offer(data_of(41, 60))
    assert kept(restored) == kept(fed(5, (1, 60)))


def test_ratings_that_are_gone_are_purged() -> None:
    arrays = fed(0, (1, 20)).arrays()
    restored = KeyedSample(20, 0)
    restored.restore(arrays, data_of(6, 20))
    assert kept(restored) == list(range(6, 21))


def test_a_smaller_bound_keeps_what_it_would_have_kept() -> None:
    restored = KeyedSample(5, 2)
    restored.restore(fed(2, (1, 40)).arrays(), data_of(1, 40))
    assert kept(restored) == kept(fed(2, (1, 40), max_size=5))
    restored.offer(data_of(41, 60))
    assert kept(restored) == kept(fed(2, (1, 60), max_size=5))


def test_the_same_rating_offered_twice_is_kept_once() -> None:
    assert kept(fed(0, (1, 10), (1, 12))) == list(range(1, 13))
