"""The evidence on a candidate: ratings that it was not trained on, with candidate, active and generic scores of each.

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
class UnseenRatings:
    """Ratings in order of sequence, with three scores of each image, 0-10; a target is NaN if the aspect has no rating.

    `candidate_NA` is NaN where only a training with this rating could give a score. `difference_LLA` is the
    candidate's score of one image minus that of another, for each two of the last L rows; None: the differences are
    those of `candidate_NA`.

    Raises:
        InvalidInput: columns of different lengths, or differences of another shape.
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

    def after(self, sequence: int) -> UnseenRatings:
        """The rows with a higher sequence number."""
        return self._last(int((self.sequence_N > sequence).sum()))

    def gains(self) -> np.ndarray:
        """Squared error of the active version minus that of the candidate: mean over aspects, float64.

        One value per row in which any aspect has a target and both scores.
        """
        target_NA = self.target_NA.astype(np.float64)
        gain_NA = np.square(self.active_NA - target_NA) - np.square(self.candidate_NA - target_NA)
        counted_NA = ~np.isnan(gain_NA)
        gain_NA, counted_NA = gain_NA[counted_NA.any(axis=1)], counted_NA[counted_NA.any(axis=1)]
        return np.where(counted_NA, gain_NA, 0.0).sum(axis=1) / counted_NA.sum(axis=1)

    def _last(self, count: int) -> UnseenRatings:
        start = len(self) - count
        difference_LLA = self.difference_LLA
        if difference_LLA is not None:
            skip = max(len(difference_LLA) - count, 0)
            difference_LLA = difference_LLA[skip:, skip:]
        return UnseenRatings(
            self.sequence_N[start:],
            self.target_NA[start:],
            self.generic_NA[start:],
            self.active_NA[start:],
            self.candidate_NA[start:],
            difference_LLA,
        )


@dataclass(frozen=True)
class Evidence:
    """Everything that the gate decides from.

    `held_out` are ratings that no version is trained on. `new` are training ratings after the active version, which
    was therefore not trained on them; the candidate's scores of them are leave-one-out predictions, its differences
    leave-two-out predictions. Where the strategy has neither, they are NaN and None.

    Raises:
        InvalidInput: pools of different shapes.
    """

    held_out: UnseenRatings
    new: UnseenRatings
    boundary: int  # last sequence that the active version was trained up to; held-out rows up to it are old
    pool_active_PA: np.ndarray
    pool_candidate_PA: np.ndarray

    def __post_init__(self) -> None:
        if self.pool_active_PA.shape != self.pool_candidate_PA.shape:
            raise InvalidInput(f"pool scores of {self.pool_active_PA.shape} and {self.pool_candidate_PA.shape}")

    def gains(self) -> np.ndarray:
        """Gains of all unseen ratings, held-out ones first, see `UnseenRatings.gains`."""
        return np.concatenate([self.held_out.gains(), self.new.gains()])

    def earlier_gains(self) -> np.ndarray:
        """Gains of the held-out ratings of earlier increments."""
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
    """The evidence on the candidate of one training.

    Args:
        request: the training.
        trained: its result, with leave-one-out predictions if the strategy has them.
        reference: the adapter that the candidate would replace; None: the generic scores.
        held_out: the held-out ratings of all increments.
        boundary: the last sequence that the reference was trained up to; 0 for None.
        pool_PR: some images in taste space, on which the size of the change is measured.
        pool_PA: their generic scores.
    """

    def active(taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
        return generic_NA if reference is None else reference.score(taste_NR, generic_NA)

    everything = RatedSet.concatenate(request.past, request.new)
    candidate_NA = np.full(everything.target_NA.shape, np.nan) if trained.loo_NA is None else trained.loo_NA
    training = UnseenRatings(
        everything.sequence_N,
        everything.target_NA,
        everything.generic_NA,
        active(everything.taste_NR, everything.generic_NA),
        candidate_NA,
        trained.loo_difference_LLA,
    )
    return Evidence(
        held_out=UnseenRatings(
            held_out.sequence_N,
            held_out.target_NA,
            held_out.generic_NA,
            active(held_out.taste_NR, held_out.generic_NA),
            trained.adapter.score(held_out.taste_NR, held_out.generic_NA),
        ),
        new=training.after(boundary),  # the reference was trained on the others
        boundary=boundary,
        pool_active_PA=active(pool_PR, pool_PA),
        pool_candidate_PA=trained.adapter.score(pool_PR, pool_PA),
    )
