"""Replay with a reservoir in which rare ratings stay longer: the lowest and highest fifth of what the user has given.

An event's key is `key ** (1 / weight)` (Efraimidis and Spirakis), which makes a uniform sample a weighted one. A weight
is fixed when the event is offered, from the user's ratings up to that event alone, and kept beside the event's number:
neither the cut into increments, nor a restart, nor later ratings change it.

Shape letters: K = kept rows, N = rows, A = aspects.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping

import numpy as np

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedPlugin
from paaplus.strategies.replay import KeyedSample, Replay, UserReservoirs
from paaplus.strategies.stack import Member, Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="start",
    earlier="a sample of it, in which rare ratings stay longer, is trained beside the new",
    remembers=("buffer",),
    settings=("buffer_size", "replay_batch_size"),
)

_TAIL_SHARE = 0.2  # of a user's ratings, at each end
_MIN_EARLIER = 5  # ratings of an aspect: before, nothing is rare
_TAIL = 0.5  # added to a weight of 1


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [Replay(config, TailReservoirs(config))]


class TailReservoirs(UserReservoirs):
    """Every user's weighted reservoir."""

    def empty(self) -> KeyedSample:
        return TailSample(self.max_size, self.seed)

    def update_from_dataset(self, new_data: Stack) -> None:
        for member in new_data.members:
            member.sample.offer_weighted(member.new.sequence_N, _weights_of(member))


class TailSample(KeyedSample):
    """Which events a user's reservoir holds, where some have a weight above 1."""

    def __init__(self, max_size: int, seed: int) -> None:
        super().__init__(max_size, seed)
        self.weights: dict[int, float] = {}  # of kept and of offered events; 1 where there is none

    def key(self, sequence: int) -> float:
        return super().key(sequence) ** (1.0 / self.weights.get(sequence, 1.0))

    def offer_weighted(self, sequence_N: np.ndarray, weight_N: np.ndarray) -> None:
        """Offer events with their weights; one that is kept already keeps its own."""
        self.weights = dict(zip(sequence_N.tolist(), weight_N.tolist(), strict=True)) | self.weights
        self.offer(sequence_N)
        self.weights = dict(zip(self.sequence_K.tolist(), self._weight_K().tolist(), strict=True))

    def arrays(self) -> dict[str, np.ndarray]:
        return {**super().arrays(), "buffer_weight_K": self._weight_K()}

    def restore(self, arrays: Mapping[str, np.ndarray], past_sequence_N: np.ndarray) -> None:
        if "buffer_weight_K" in arrays:  # a state of `replay` has none: all weigh 1
            weights = zip(arrays["buffer_sequence_K"].tolist(), arrays["buffer_weight_K"].tolist(), strict=True)
            self.weights = dict(weights)
        super().restore(arrays, past_sequence_N)

    def _weight_K(self) -> np.ndarray:
        return np.array([self.weights.get(sequence, 1.0) for sequence in self.sequence_K.tolist()], np.float64)


def _weights_of(member: Member) -> np.ndarray:
    """The weights of a user's new rows, in their order; a comparison weighs 1."""
    past, new = member.request.past, member.request.new
    weight_N = tail_weights(np.concatenate([past.target_NA, new.target_NA]))[len(past) :]
    all_N = np.ones(len(member.new))
    all_N[np.isin(member.new.sequence_N, new.sequence_N)] = weight_N  # both are in order of sequence
    return all_N


def tail_weights(target_NA: np.ndarray) -> np.ndarray:
    """1, and 1.5 for a rating in the tails, of ratings in their order, NaN where there is none; shape (N,).

    A rating is in the tails if at most a fifth of the ratings up to it, itself included, are as low or lower, or as
    high or higher, for any aspect. So one that somebody gives to half of the images is never rare.
    """
    tail_N = np.zeros(len(target_NA), bool)
    for target_N in target_NA.T:
        known: list[float] = []
        for n in np.flatnonzero(~np.isnan(target_N)).tolist():
            target = float(target_N[n])
            insort(known, target)
            if len(known) > _MIN_EARLIER:
                fewest = min(bisect_right(known, target), len(known) - bisect_left(known, target))
                tail_N[n] |= fewest <= _TAIL_SHARE * len(known)
    return 1.0 + _TAIL * tail_N
