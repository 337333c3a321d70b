"""The tail-weighted reservoir: weights by hand, independent of cuts and later ratings, and rare ratings stay longer."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.strategies.replay import KeyedSample
from paaplus.strategies.replay_tail import TailSample, tail_weights


def skewed(num: int, seed: int = 0) -> np.ndarray:
    """Ratings mostly in the middle, a tenth of them far out, shape (N, 1)."""
    rng = np.random.default_rng(seed)
    rating_N = np.clip(rng.normal(5.0, 0.4, num), 0, 10)
    far_N = rng.random(num) < 0.1
    rating_N[far_N] = rng.choice([1.0, 9.0], far_N.sum())
    return rating_N[:, None]


def test_weights_by_hand() -> None:
    rating_NA = np.array([[5.0], [5.0], [4.0], [6.0], [5.0], [9.0], [5.0], [1.0], [np.nan]])
    assert tail_weights(rating_NA).tolist() == [1, 1, 1, 1, 1, 1.5, 1, 1.5, 1]


def test_equal_ratings_all_weigh_1() -> None:
    assert (tail_weights(np.full((30, 2), 5.0)) == 1.0).all()
    assert len(tail_weights(np.empty((0, 1)))) == 0


def test_a_weight_does_not_change_by_later_ratings() -> None:
    rating_NA = skewed(200)
    whole = tail_weights(rating_NA)
    for end in (10, 57, 120):
        np.testing.assert_array_equal(tail_weights(rating_NA[:end]), whole[:end])


def fed(cuts: list[int], restart: bool = False, max_size: int = 20) -> TailSample:
    rating_NA = skewed(cuts[-1])
    weight_N = tail_weights(rating_NA)
    sample = TailSample(max_size, seed=3)
    for start, end in zip([0, *cuts[:-1]], cuts, strict=True):
        if restart:
            again = TailSample(max_size, seed=3)
            again.restore(sample.arrays() if start else {}, np.arange(1, start + 1))
            sample = again
        sample.offer_weighted(np.arange(start + 1, end + 1), weight_N[start:end])
    return sample


@pytest.mark.parametrize("restart", [False, True])
def test_neither_cuts_nor_restarts_change_who_stays(restart: bool) -> None:
    whole, cut = fed([200]), fed([7, 60, 61, 150, 200], restart)
    np.testing.assert_array_equal(whole.sequence_K, cut.sequence_K)
    np.testing.assert_array_equal(whole.arrays()["buffer_weight_K"], cut.arrays()["buffer_weight_K"])
    assert whole.evicted_key == cut.evicted_key


@pytest.mark.slow
def test_rare_ratings_stay_longer() -> None:
    shares: dict[str, list[float]] = {"tail": [], "uniform": []}
    for seed in range(60):
        rating_NA = skewed(300, seed)
        far_N = np.abs(rating_NA[:, 0] - 5.0) > 3.0
        sequence_N = np.arange(1, 301)
        tail, uniform = TailSample(30, seed), KeyedSample(30, seed)
        tail.offer_weighted(sequence_N, tail_weights(rating_NA))
        uniform.offer(sequence_N)
        for name, sample in (("tail", tail), ("uniform", uniform)):
            shares[name].append(far_N[sample.sequence_K - 1].mean() / far_N.mean())
    assert np.mean(shares["uniform"]) == pytest.approx(1.0, abs=0.15)
    assert np.mean(shares["tail"]) > 1.12


def test_a_state_of_replay_is_taken_up_with_weights_of_1() -> None:
    uniform = KeyedSample(20, 3)
    uniform.offer(np.arange(1, 101))
    tail = TailSample(20, 3)
    tail.restore(uniform.arrays(), np.arange(1, 101))
    np.testing.assert_array_equal(tail.sequence_K, uniform.sequence_K)


def test_a_taken_back_event_leaves_with_its_weight() -> None:
    sample = fed([100])
    gone = int(sample.sequence_K[0])
    restored = TailSample(20, 3)
    restored.restore(sample.arrays(), np.array([s for s in range(1, 101) if s != gone]))
    assert gone not in restored.sequence_K
    assert len(restored.arrays()["buffer_weight_K"]) == len(restored.sequence_K) == 19
