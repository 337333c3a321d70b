"""A reservoir in which rare ratings stay longer: the lowest and highest fifth of what the user has given.

People rate mostly in the middle, and a uniform sample is of the middle too. Here an event's key is
`key ** (1 / weight)` (Efraimidis and Spirakis), which makes a uniform sample a weighted one. A weight is fixed when the
event is offered, from the user's ratings up to that event alone. So neither the cut into increments nor a restart
changes it, and later ratings do not either. It is kept beside the event's number.

Shape letters: K = kept rows, N = rows, A = aspects.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence

import numpy as np

from paaplus.strategies.reservoir import KeyedSample, UserReservoirs
from paaplus.strategies.stack import Member, Stack

TAIL_SHARE = 0.2  # of a user's ratings, at each end
MIN_EARLIER = 5  # ratings of an aspect: before, nothing is rare
TAIL, THEME, BOTH = 0.5, 0.5, 0.5  # added to a weight of 1
RARE_THEME_SHARE = 0.2  # of the ratings of the most frequent theme


class TailSample(KeyedSample):
    """Which events a user's reservoir holds, where some events have a weight above 1."""

    def __init__(self, max_size: int, seed: int) -> None:
        super().__init__(max_size, seed)
        self.weights: dict[int, float] = {}  # of kept and of offered events; 1 where there is none

    def key(self, sequence: int) -> float:
        return super().key(sequence) ** (1.0 / self.weights.get(sequence, 1.0))

    def offer_weighted(self, sequence_N: np.ndarray, weight_N: np.ndarray) -> None:
        """Offer events with their weights; one that is kept already keeps its own."""
        for sequence, weight in zip(sequence_N.tolist(), weight_N.tolist(), strict=True):
            self.weights.setdefault(sequence, weight)
        self.offer(sequence_N)
        self.weights = {sequence: self.weights.get(sequence, 1.0) for sequence in self.sequence_K.tolist()}

    def arrays(self) -> dict[str, np.ndarray]:
        weight_K = np.array([self.weights.get(sequence, 1.0) for sequence in self.sequence_K.tolist()], np.float64)
        return {**super().arrays(), "buffer_weight_K": weight_K}

    def restore(self, arrays: Mapping[str, np.ndarray], past_sequence_N: np.ndarray) -> None:
        if "buffer_weight_K" in arrays:  # a state of `replay` has none: all weigh 1
            pairs = zip(arrays["buffer_sequence_K"].tolist(), arrays["buffer_weight_K"].tolist(), strict=True)
            self.weights = dict(pairs)
        super().restore(arrays, past_sequence_N)


class TailReservoirs(UserReservoirs):
    """Every user's weighted reservoir."""

    def empty(self) -> KeyedSample:
        return TailSample(self.max_size, self.seed)

    def update_from_dataset(self, new_data: Stack) -> None:
        for member in new_data.members:
            member.sample.offer_weighted(member.new_sequence_N, weights_of(member))


def weights_of(member: Member) -> np.ndarray:
    """The weights of a user's new rows, in their order; a comparison weighs 1."""
    past, new = member.request.past, member.request.new
    weight_N = tail_weights(np.concatenate([past.target_NA, new.target_NA]))[len(past) :]
    weight_of = dict(zip(new.sequence_N.tolist(), weight_N.tolist(), strict=True))
    return np.array([weight_of.get(sequence, 1.0) for sequence in member.new_sequence_N.tolist()], np.float64)


def tail_weights(target_NA: np.ndarray, theme_N: Sequence[str | None] | None = None) -> np.ndarray:
    """1, plus .5 for a rating in the tails, .5 for one of a rare theme, and .5 more for both; shape (N,).

    Args:
        target_NA: ratings in their order, NaN where an aspect was not rated. A rating is in the tails if at most a
            fifth of the ratings up to it, itself included, are as low or lower, or as high or higher, for any aspect.
            So a rating that somebody gives to half of the images is never rare, whatever its percentile.
        theme_N: themes of the images; None: unknown.
    """
    tail_N = np.zeros(len(target_NA), bool)
    for target_N in target_NA.T:
        known: list[float] = []
        for n, target in enumerate(target_N.tolist()):
            if np.isnan(target):
                continue
            insort(known, target)
            if len(known) > MIN_EARLIER:
                num_as_low = bisect_right(known, target)
                num_as_high = len(known) - bisect_left(known, target)
                tail_N[n] |= min(num_as_low, num_as_high) <= TAIL_SHARE * len(known)
    rare_N = np.array(_rare_themes(theme_N)) if theme_N is not None else np.zeros(len(target_NA), bool)
    return 1.0 + TAIL * tail_N + THEME * rare_N + BOTH * (tail_N & rare_N)


def _rare_themes(theme_N: Sequence[str | None]) -> list[bool]:
    """Whether each image's theme is rare among the images up to it."""
    counts: dict[str, int] = {}
    rare = []
    for theme in theme_N:
        if theme is not None:
            counts[theme] = counts.get(theme, 0) + 1
        rare.append(theme is not None and counts[theme] < RARE_THEME_SHARE * max(counts.values()))
    return rare
