"""What a candidate is judged by: ratings that neither side had learned from, beside what was scored for them.

Shape letters: N = unseen ratings, L = the latest of them, A = aspects, P = images of a pool, R = taste space dim.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.records import RatedSet
from paaplus.scoring.adapters import Adapter
from paaplus.training import Trained, TrainingRequest


@dataclass(frozen=True)
class Unseen:
    """Ratings that were not learned from, beside three scores of each; NaN targets where nothing was said.

    `candidate_NA` is NaN where the candidate did learn from the rating. `difference_LLA` is the candidate's score of
    one image minus that of another, for each two of the last L rows; None: what `candidate_NA` says.

    Raises:
        InvalidInput: columns of different lengths.
    """

    sequence_N: np.ndarray
    target_NA: np.ndarray
    generic_NA: np.ndarray
    active_NA: np.ndarray
    candidate_NA: np.ndarray
    difference_LLA: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = [c.shape for c in (self.target_NA, self.generic_NA, self.active_NA, self.candidate_NA)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][0] != len(self.sequence_N):
            raise InvalidInput(f"evidence of {len(self.sequence_N)} sequence numbers, scores and targets of {shapes}")
        if self.difference_LLA is not None:
            latest, other, num_aspects = self.difference_LLA.shape
            if latest != other or latest > len(self.sequence_N) or num_aspects != shapes[0][1]:
                raise InvalidInput(f"differences of {self.difference_LLA.shape} beside targets of {shapes[0]}")

    def __len__(self) -> int:
        return len(self.sequence_N)

    def after(self, sequence: int) -> Unseen:
        """The rows after a sequence number; rows are in order of it."""
        return self._last(int((self.sequence_N > sequence).sum()))

    def gains(self) -> np.ndarray:
        """Active's squared error minus the candidate's, mean over aspects, of the rows where any aspect counts."""
        target_NA = self.target_NA.astype(np.float64)
        gain_NA = np.square(self.active_NA - target_NA) - np.square(self.candidate_NA - target_NA)
        counted_NA = ~np.isnan(gain_NA)
        gain_NA, counted_NA = gain_NA[counted_NA.any(axis=1)], counted_NA[counted_NA.any(axis=1)]
        return np.where(counted_NA, gain_NA, 0.0).sum(axis=1) / counted_NA.sum(axis=1)

    def _last(self, count: int) -> Unseen:
        start = len(self) - count
        difference_LLA = self.difference_LLA
        if difference_LLA is not None:
            skip = max(len(difference_LLA) - count, 0)
            difference_LLA = difference_LLA[skip:, skip:]
        return Unseen(
            self.sequence_N[start:],
            self.target_NA[start:],
            self.generic_NA[start:],
            self.active_NA[start:],
            self.candidate_NA[start:],
            difference_LLA,
        )


@dataclass(frozen=True)
class Evidence:
    """All that a judgement stands on.

    `held_out` never trains. `fresh` are training ratings that came after the active version, whose active scores were
    fixed before anything learned from them; candidate scores there are leave-one-out predictions, differences are
    leave-two-out, both NaN or None where the strategy has none.

    Raises:
        InvalidInput: pools of different shapes.
    """

    held_out: Unseen
    fresh: Unseen
    boundary: int  # the active version's high-water mark: held-out rows up to it belong to earlier increments
    pool_active_PA: np.ndarray
    pool_candidate_PA: np.ndarray

    def __post_init__(self) -> None:
        if self.pool_active_PA.shape != self.pool_candidate_PA.shape:
            raise InvalidInput(f"pool scores of {self.pool_active_PA.shape} and {self.pool_candidate_PA.shape}")

    def gains(self) -> np.ndarray:
        """Squared error of the active minus that of the candidate per unseen rating, mean over its aspects."""
        return np.concatenate([self.held_out.gains(), self.fresh.gains()])

    def earlier_gains(self) -> np.ndarray:
        """The same for held-out ratings of earlier increments."""
        return self.held_out.gains()[: self._num_earlier_gains()]

    def _num_earlier_gains(self) -> int:
        return len(self.held_out.gains()) - len(self.held_out.after(self.boundary).gains())


def gather(
    request: TrainingRequest,
    trained: Trained,
    reference: Adapter | None,
    held_out: RatedSet,
    boundary: int,
    pool_PR: np.ndarray,
    pool_PA: np.ndarray,
) -> Evidence:
    """What there is to judge a training by.

    Args:
        request: what was trained on.
        trained: what came of it.
        reference: what the candidate would replace; None: the generic scores.
        held_out: the held-out ratings of all increments.
        boundary: the last event that the reference has seen; 0 for None.
        pool_PR: some images in taste space, for the size of the change.
        pool_PA: their generic scores.
    """

    def active(taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
        return generic_NA if reference is None else reference.score(taste_NR, generic_NA)

    everything = RatedSet.concatenate(request.past, request.new)
    candidate_NA = np.full(everything.target_NA.shape, np.nan) if trained.loo_NA is None else trained.loo_NA
    learned = Unseen(
        everything.sequence_N,
        everything.target_NA,
        everything.generic_NA,
        active(everything.taste_NR, everything.generic_NA),
        candidate_NA,
        trained.loo_difference_LLA,
    )
    return Evidence(
        held_out=Unseen(
            held_out.sequence_N,
            held_out.target_NA,
            held_out.generic_NA,
            active(held_out.taste_NR, held_out.generic_NA),
            trained.adapter.score(held_out.taste_NR, held_out.generic_NA),
        ),
        fresh=learned.after(boundary),  # earlier ones the reference has seen
        boundary=boundary,
        pool_active_PA=active(pool_PR, pool_PA),
        pool_candidate_PA=trained.adapter.score(pool_PR, pool_PA),
    )
