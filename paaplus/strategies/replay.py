"""Experience replay: every step takes rows of a reservoir of earlier feedback beside the new ones.

Avalanche's plugin and reservoir, with one reservoir for each user of a stack, kept as sequence numbers.
Shape letters: K = kept rows, N = rows offered.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import ReplayPlugin, ReservoirSamplingBuffer, SupervisedPlugin
from paaplus.strategies.rows import Part, Rows, selected
from paaplus.strategies.stack import Member, Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a uniform sample of it is trained beside the new",
    remembers=("buffer",),
    settings=("buffer_size", "replay_batch_size"),
)


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config)]


class KeyedSample:
    """Which events one user's reservoir holds: those with the largest keys.

    A key is drawn from the seed and the event's sequence number alone, so neither the cut into increments nor a
    restart changes who stays. `evicted_key` is the largest key ever turned away: after a purge has made room, a new
    event needs a larger one, or the sample would lean to the newest.
    """

    def __init__(self, max_size: int, seed: int) -> None:
        self.max_size, self.seed = max_size, seed
        self.sequence_K = np.empty(0, np.int64)  # the largest key first
        self.evicted_key, self.num_seen = -1.0, 0

    def offer(self, sequence_N: np.ndarray) -> None:
        """Offer events; one that is kept already is not offered again."""
        fresh_N = sequence_N[~np.isin(sequence_N, self.sequence_K)]
        self.num_seen += len(fresh_N)
        self._keep(np.concatenate([fresh_N, self.sequence_K]))

    def key(self, sequence: int) -> float:
        """An event's key, 0-1."""
        return _key(self.seed, sequence)

    def _keep(self, sequence_N: np.ndarray) -> None:
        """Keep those of these events with the largest keys."""
        key_N = np.array([self.key(sequence) for sequence in sequence_N.tolist()], np.float64)
        order_N = np.argsort(-key_N, kind="stable")
        num_kept = min(self.max_size, int((key_N > self.evicted_key).sum()))
        self.evicted_key = max([self.evicted_key, *key_N[order_N[num_kept : num_kept + 1]].tolist()])
        self.sequence_K = sequence_N[order_N[:num_kept]]

    def arrays(self) -> dict[str, np.ndarray]:
        numbers = {"evicted_key": self.evicted_key, "num_seen": self.num_seen, "seed": self.seed}
        single = {f"buffer_{name}": np.array([number]) for name, number in numbers.items()}
        return {"buffer_sequence_K": self.sequence_K, **single}

    def restore(self, arrays: Mapping[str, np.ndarray], past_sequence_N: np.ndarray) -> None:
        """Take up what `arrays` names, as far as it is among the past: what is no longer there has been purged."""
        if "buffer_sequence_K" not in arrays:
            return
        self.seed = int(arrays["buffer_seed"][0])  # of all its keys, though the configured one may have changed
        self.evicted_key = float(arrays["buffer_evicted_key"][0])
        self.num_seen = int(arrays["buffer_num_seen"][0])
        self._keep(past_sequence_N[np.isin(past_sequence_N, arrays["buffer_sequence_K"])])


class UserReservoirs(ReservoirSamplingBuffer):
    """Avalanche's reservoir (the rows with the largest random keys) for every user, with keys that belong to events.

    The stock one keeps the rows themselves, and draws keys from torch's global generator, which nothing repeats.
    """

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config.buffer_size)
        self.seed = config.seed

    def empty(self) -> KeyedSample:
        """A user's reservoir before the first event."""
        return KeyedSample(self.max_size, self.seed)

    def restored(self, member: Member) -> tuple[KeyedSample, Rows]:
        """The reservoir that a user's learner state names, less what has been taken back, and its rows."""
        sample, request = self.empty(), member.request
        sample.restore(member.state, member.past_sequence_N)
        rows = selected(request.past, request.past_compared, sample.sequence_K)
        return sample, rows.take(np.searchsorted(rows.sequence_N, sample.sequence_K))

    def update(self, strategy: Any, **kwargs: Any) -> None:
        self.post_adapt(strategy, strategy.experience)  # stock: deprecated, and changes the global warning filters

    def update_from_dataset(self, new_data: Stack) -> None:
        """Offer every user's new rows to the user's reservoir."""
        for member in new_data.members:
            member.sample.offer(member.new.sequence_N)


class Replay(ReplayPlugin):
    """Stock, but for how the buffer meets the batches: rows are drawn user by user, within a fixed number of steps."""

    def __init__(self, config: TrainingConfig, reservoirs: UserReservoirs | None = None) -> None:
        policy = reservoirs or UserReservoirs(config)
        super().__init__(config.buffer_size, batch_size_mem=config.replay_batch_size, storage_policy=policy)

    def admit(self, member: Member) -> None:
        """Let every step take rows of the user's buffer beside the new ones."""
        member.sample, buffered = self.storage_policy.restored(member)
        member.parts.append(Part(buffered, self.batch_size_mem))

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        """The stock method mixes a user's rows with those of others; here every user's batch holds its own already."""

    def arrays(self, stack: Stack, u: int) -> dict[str, np.ndarray]:
        return stack.members[u].sample.arrays()


@lru_cache(maxsize=2**16)  # everybody's log counts from 1, so that all users under one seed share these
def _key(seed: int, sequence: int) -> float:
    return float(np.random.default_rng([seed, sequence]).random())
