"""The replay buffer: a uniform sample of all feedback seen, kept between increments as sequence numbers.

Shape letters: K = kept rows, N = rows of a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from paaplus.strategies.avalanche_names import ReplayPlugin, ReservoirSamplingBuffer
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import Run
from paaplus.strategies.template import RegressionStrategy


class KeyedSample:
    """Which events a reservoir holds: those with the largest keys, and a key belongs to the event.

    A key is drawn from the seed and the event's sequence number alone, so neither the cut into increments nor a
    restart changes who stays. `evicted_key` is the largest key ever turned away: after a purge has made room, a new
    event needs a larger one, or the room would go to the newest and the sample would lean to them.
    """

    def __init__(self, max_size: int, seed: int) -> None:
        self.max_size = max_size
        self.seed = seed
        self.sequence_K = np.empty(0, np.int64)  # the largest key first
        self.key_K = np.empty(0)
        self.evicted_key = -1.0
        self.num_seen = 0

    def offer(self, sequence_N: np.ndarray) -> None:
        """Offer events; one that is kept already is not offered again."""
        fresh_N = sequence_N[~np.isin(sequence_N, self.sequence_K)]
        self.num_seen += len(fresh_N)
        key_N = np.concatenate([_keys(self.seed, fresh_N), self.key_K])
        order_N = np.argsort(-key_N, kind="stable")
        key_N = key_N[order_N]
        num_kept = min(self.max_size, int((key_N > self.evicted_key).sum()))
        self.evicted_key = max([self.evicted_key, *key_N[num_kept : num_kept + 1].tolist()])
        self.sequence_K = np.concatenate([fresh_N, self.sequence_K])[order_N[:num_kept]]
        self.key_K = key_N[:num_kept]

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "buffer_sequence_K": self.sequence_K,
            "buffer_evicted_key": np.array([self.evicted_key]),
            "buffer_num_seen": np.array([self.num_seen]),
            "buffer_seed": np.array([self.seed]),
        }

    def restore(self, arrays: Mapping[str, np.ndarray], past_sequence_N: np.ndarray) -> None:
        """Take up what `arrays` names, as far as it is among the past: what is no longer there has been purged."""
        if "buffer_sequence_K" not in arrays:
            return
        self.seed = int(arrays["buffer_seed"][0])  # of all its keys, though the configured one may have changed
        kept_K = past_sequence_N[np.isin(past_sequence_N, arrays["buffer_sequence_K"])]
        key_K = _keys(self.seed, kept_K)
        order_K = np.argsort(-key_K, kind="stable")
        key_K = key_K[order_K]
        self.evicted_key = float(arrays["buffer_evicted_key"][0])
        self.num_seen = int(arrays["buffer_num_seen"][0])
        if len(key_K) > self.max_size:  # the configured bound has come down
            self.evicted_key = max(self.evicted_key, float(key_K[self.max_size]))
        self.sequence_K = kept_K[order_K[: self.max_size]]
        self.key_K = key_K[: self.max_size]


class SequenceReservoir(ReservoirSamplingBuffer):
    """Avalanche's reservoir (keep the rows with the largest random keys), with the keys of a `KeyedSample`."""

    def __init__(self, max_size: int, seed: int) -> None:
        super().__init__(max_size)
        self.sample = KeyedSample(max_size, seed)
        self.buffer = FeedbackData([])

    @property
    def num_seen(self) -> int:
        return self.sample.num_seen

    def update_from_dataset(self, new_data: FeedbackData) -> None:
        """Offer rows; a sequence number that is already kept is offered once only."""
        self.sample.offer(new_data.sequence_N.cpu().numpy())
        self.buffer = _in_order(new_data.concat(self.buffer), self.sample.sequence_K)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.sample.arrays()

    def restore(self, arrays: Mapping[str, np.ndarray], past: FeedbackData) -> None:
        """Take up the buffer that `arrays` names, out of `past`; what is no longer there has been purged."""
        self.sample.restore(arrays, past.sequence_N.cpu().numpy())
        self.buffer = _in_order(past, self.sample.sequence_K)


def restored_reservoir(run: Run) -> SequenceReservoir:
    """The reservoir that the parent's state names, less what has been taken back."""
    reservoir = SequenceReservoir(run.config.buffer_size, run.config.seed)
    reservoir.restore(run.state, run.past)
    return reservoir


class Replay(ReplayPlugin):
    """ReplayPlugin on a step budget: every step takes `replay_batch_size` buffered rows beside the new ones."""

    def __init__(self, reservoir: SequenceReservoir, replay_batch_size: int) -> None:
        super().__init__(reservoir.max_size, batch_size_mem=replay_batch_size, storage_policy=reservoir)

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        strategy.load_from(
            [
                (strategy.adapted_dataset, strategy.config.batch_size),
                (self.storage_policy.buffer, self.batch_size_mem),
            ]
        )

    def after_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        self.storage_policy.post_adapt(strategy, strategy.experience)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.storage_policy.arrays()


def _in_order(data: FeedbackData, sequence_K: np.ndarray) -> FeedbackData:
    """The rows with these sequence numbers, in this order; all are there."""
    sequence_N = data.sequence_N.cpu().numpy()
    order_N = np.argsort(sequence_N, kind="stable")
    return data.subset(torch.from_numpy(order_N[np.searchsorted(sequence_N, sequence_K, sorter=order_N)]))


def _keys(seed: int, sequence_N: np.ndarray) -> np.ndarray:
    """One number in [0, 1) per event, float64."""
    return np.array([_key(seed, sequence) for sequence in sequence_N.tolist()], np.float64)


@lru_cache(maxsize=2**16)  # everybody's log counts from 1, so that all users under one seed share these
def _key(seed: int, sequence: int) -> float:
    return float(np.random.default_rng([seed, sequence]).random())
