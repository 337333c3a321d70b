"""The evidence on a candidate: feedback that it was not trained on, with candidate, active and generic scores of each.

Shape letters: N = unseen ratings, C = unseen comparisons, A = aspects, P = images of a pool, R = taste space dim.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.gate.robustness import RobustnessEvidence
from paaplus.gate.verdict import FeedbackVerdict
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring import middles
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.comparisons import log_likelihood
from paaplus.training import Trained, TrainingRequest, middles_of


@dataclass(frozen=True)
class UnseenRatings:
    """Ratings in order of sequence, with three scores of each image, 0-10; a target is NaN if the aspect has no rating.

    `candidate_NA` is NaN where only a training with this rating could give a score.

    Raises:
        InvalidInput: columns of different lengths.
    """

    sequence_N: np.ndarray
    target_NA: np.ndarray
    generic_NA: np.ndarray
    active_NA: np.ndarray
    candidate_NA: np.ndarray

    def __post_init__(self) -> None:
        shapes = [c.shape for c in (self.target_NA, self.generic_NA, self.active_NA, self.candidate_NA)]
        if len(set(shapes)) != 1 or len(shapes[0]) != 2 or shapes[0][0] != len(self.sequence_N):
            raise InvalidInput(f"evidence of {len(self.sequence_N)} sequence numbers, scores and targets of {shapes}")

    def __len__(self) -> int:
        return len(self.sequence_N)

    def after(self, sequence: int) -> UnseenRatings:
        """The rows with a higher sequence number."""
        is_after_N = self.sequence_N > sequence
        if is_after_N.all():
            return self
        return UnseenRatings(*(getattr(self, field.name)[is_after_N] for field in fields(self)))

    def gains(self) -> np.ndarray:
        """Squared error of the active version minus that of the candidate: mean over aspects, float64.

        One value per row in which any aspect has a target and both scores.
        """
        return self._gains

    @cached_property
    def _gains(self) -> np.ndarray:
        target_NA = self.target_NA.astype(np.float64)
        gain_NA = np.square(self.active_NA - target_NA) - np.square(self.candidate_NA - target_NA)
        counted_NA = ~np.isnan(gain_NA)
        gain_NA, counted_NA = gain_NA[counted_NA.any(axis=1)], counted_NA[counted_NA.any(axis=1)]
        return np.where(counted_NA, gain_NA, 0.0).sum(axis=1) / counted_NA.sum(axis=1)


@dataclass(frozen=True)
class UnseenComparisons:
    """Held-out comparisons and likes, with the difference of each version's scores (first less second) beside them.

    The second score of a like is that of the middle, as the training feedback has it. Preferences are those of
    `ComparedSet`.
    """

    preference_CA: np.ndarray
    generic_CA: np.ndarray
    active_CA: np.ndarray
    candidate_CA: np.ndarray
    noise_sd_A: np.ndarray  # of a rating, in score points

    def gains(self) -> np.ndarray:
        """Log loss of the active version minus that of the candidate, in nats: mean over aspects, one per row."""
        if not len(self.preference_CA):
            return np.empty(0)
        candidate_CA = log_likelihood(self.candidate_CA, self.preference_CA, self.noise_sd_A)
        active_CA = log_likelihood(self.active_CA, self.preference_CA, self.noise_sd_A)
        answered_CA = ~np.isnan(self.preference_CA)
        answered_C = answered_CA.any(axis=1)
        return np.asarray((candidate_CA - active_CA)[answered_C].sum(axis=1) / answered_CA[answered_C].sum(axis=1))

    def right_share(self, difference_CA: np.ndarray) -> float | None:
        """Share of preferences for one image that have the order of these scores; None: there are no preferences."""
        side_CA = np.sign(np.nan_to_num(self.preference_CA, nan=0.5) - 0.5)
        preferred = side_CA != 0
        if not preferred.any():
            return None
        return float((np.sign(difference_CA[preferred]) == side_CA[preferred]).mean())


@dataclass(frozen=True)
class Evidence:
    """Everything that the gate decides from.

    `held_out` are ratings that no version is trained on, `compared` such comparisons. `new` are training ratings after
    the active version, which was therefore not trained on them; the candidate's scores of them are leave-one-out
    predictions, NaN where the strategy has none. `verdict` is that on all feedback of the user. `robustness` is None
    where the policy does not ask for it.
    """

    verdict: FeedbackVerdict
    is_live: bool  # a version of this user is active, so that the candidate would not be the first one
    held_out: UnseenRatings
    compared: UnseenComparisons
    new: UnseenRatings
    boundary: int  # last sequence that the active version was trained up to; held-out rows up to it are old
    pool_candidate_PA: np.ndarray
    robustness: RobustnessEvidence | None = None

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
    held_out_compared: ComparedSet,
    boundary: int,
    pool_PR: np.ndarray,
    pool_PA: np.ndarray,
    verdict: FeedbackVerdict,
    is_live: bool,
) -> Evidence:
    """The evidence on the candidate of one training.

    Args:
        request: the training.
        trained: its result, with leave-one-out predictions if the strategy has them.
        reference: the adapter that the candidate would replace; None: the generic scores.
        held_out: the held-out ratings of all increments.
        held_out_compared: the held-out comparisons likewise.
        boundary: the last sequence that the reference was trained up to; 0 for None.
        pool_PR: some images in taste space, whose scores must be numbers too.
        pool_PA: their generic scores.
        verdict: on all feedback of the user.
        is_live: whether any version of the user is active, the reference or another one.
    """

    def active(taste_NR: np.ndarray, generic_NA: np.ndarray) -> np.ndarray:
        return generic_NA if reference is None else reference.score(taste_NR, generic_NA)

    everything, _ = request.everything()
    candidate_NA = np.full(everything.target_NA.shape, np.nan) if trained.loo_NA is None else trained.loo_NA
    is_new_N = everything.sequence_N > boundary  # the reference was trained on the others
    new = everything if is_new_N.all() else everything.select(is_new_N)
    return Evidence(
        verdict=verdict,
        is_live=is_live,
        held_out=UnseenRatings(
            held_out.sequence_N,
            held_out.target_NA,
            held_out.generic_NA,
            active(held_out.taste_NR, held_out.generic_NA),
            trained.adapter.score(held_out.taste_NR, held_out.generic_NA),
        ),
        compared=_unseen_comparisons(
            middles.placed(held_out_compared, middles_of(request)), trained.adapter, reference, request.base.noise_sd_A
        ),
        new=UnseenRatings(
            new.sequence_N,
            new.target_NA,
            new.generic_NA,
            active(new.taste_NR, new.generic_NA),
            candidate_NA[is_new_N],
        ),
        boundary=boundary,
        pool_candidate_PA=trained.adapter.score_together(pool_PR, pool_PA),
    )


def _unseen_comparisons(
    compared: ComparedSet, candidate: Adapter, reference: Adapter | None, noise_sd_A: np.ndarray
) -> UnseenComparisons:
    if not len(compared):
        nothing_CA = np.empty((0, len(noise_sd_A)))
        return UnseenComparisons(nothing_CA, nothing_CA, nothing_CA, nothing_CA, noise_sd_A)

    def difference(adapter: Adapter | None) -> np.ndarray:
        if adapter is None:
            return np.asarray(compared.first_generic_CA - compared.second_generic_CA)
        first_CA = adapter.score(compared.first_taste_CR, compared.first_generic_CA)
        return np.asarray(first_CA - adapter.score(compared.second_taste_CR, compared.second_generic_CA))

    return UnseenComparisons(
        compared.preference_CA, difference(None), difference(reference), difference(candidate), noise_sd_A
    )
