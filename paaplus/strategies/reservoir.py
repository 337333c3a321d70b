"""The replay buffer: a uniform sample of all feedback seen, kept between increments as sequence numbers.

Shape letters: K = kept rows, N = rows of a dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.strategies.avalanche_names import ReplayPlugin, ReservoirSamplingBuffer
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import Run
from paaplus.strategies.template import RegressionStrategy


class SequenceReservoir(ReservoirSamplingBuffer):
    """Avalanche's reservoir (keep the rows with the largest random keys), with keys that belong to the event.

    A key is drawn from the seed and the row's sequence number alone, so neither the cut into increments nor a
    restart changes who stays. `evicted_key` is the largest key ever turned away: after a purge has made room, a new
    row needs a larger one, or the room would go to the newest rows and the sample would lean to them.
    """

    def __init__(self, max_size: int, seed: int) -> None:
        super().__init__(max_size)
        self.seed = seed
        self.buffer = FeedbackData([])
        self._buffer_weights = torch.zeros(0, dtype=torch.float64)
        self.evicted_key = -1.0
        self.num_seen = 0

    def update_from_dataset(self, new_data: FeedbackData) -> None:
        """Offer rows; a sequence number that is already kept is offered once only."""
        fresh = ~torch.isin(new_data.sequence_N.cpu(), self.buffer.sequence_N.cpu())
        new_data = new_data.subset(fresh.nonzero()[:, 0])
        self.num_seen += len(new_data)
        key_N = torch.cat([_keys(self.seed, new_data.sequence_N), self._buffer_weights])
        data = new_data.concat(self.buffer)
        key_N, order_N = key_N.sort(descending=True, stable=True)
        num_kept = min(self.max_size, int((key_N > self.evicted_key).sum()))
        self.evicted_key = max([self.evicted_key, *key_N[num_kept : num_kept + 1].tolist()])
        self.buffer = data.subset(order_N[:num_kept])
        self._buffer_weights = key_N[:num_kept]

    def arrays(self) -> dict[str, np.ndarray]:
        return {
            "buffer_sequence_K": self.buffer.sequence_N.cpu().numpy(),
            "buffer_evicted_key": np.array([self.evicted_key]),
            "buffer_num_seen": np.array([self.num_seen]),
            "buffer_seed": np.array([self.seed]),
        }

    def restore(self, arrays: Mapping[str, np.ndarray], past: FeedbackData) -> None:
        """Take up the buffer that `arrays` names, out of `past`; what is no longer there has been purged."""
        if "buffer_sequence_K" not in arrays:
            return
        self.seed = int(arrays["buffer_seed"][0])  # of all its keys, though the configured one may have changed
        data = past.of_sequences(torch.from_numpy(arrays["buffer_sequence_K"]))
        key_K, order_K = _keys(self.seed, data.sequence_N).sort(descending=True, stable=True)
        self.evicted_key = float(arrays["buffer_evicted_key"][0])
        self.num_seen = int(arrays["buffer_num_seen"][0])
        if len(key_K) > self.max_size:  # the configured bound has come down
            self.evicted_key = max(self.evicted_key, float(key_K[self.max_size]))
        self.buffer = data.subset(order_K[: self.max_size])
        self._buffer_weights = key_K[: self.max_size]


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


def _keys(seed: int, sequence_N: Tensor) -> Tensor:
    """One number in [0, 1) per event, float64."""
    keys = [np.random.default_rng([seed, sequence]).random() for sequence in sequence_N.tolist()]
    return torch.tensor(keys, dtype=torch.float64)
