"""All that the closed form needs of many ratings, as exact sums: their order, and how they came, cannot matter.

What is known of some ratings need not be summed again: rows that are gone are taken away, new ones are added. The bits
are those of sums that are made anew, so this is no approximation, and nothing that has to be kept.

Shape letters: N = ratings, P = regressors, Q = regressors and the residual, K = coordinates of a prior, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from paaplus.records import RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.exact_sums import ExactSums
from paaplus.scoring.priors import OwnPrior, Prior, design
from paaplus.scoring.row_sums import RowSums

FEWEST: Final = 256  # ratings that are summed row by row, in an order of their content
_WIDEST_UNIT: Final = 20  # bits by which a regressor may be scaled
_OF_RESIDUAL: Final = 2.0**-3  # a residual is 10 score points at most


@dataclass(frozen=True, eq=False, slots=True)
class RatingSums:
    """The sums of some ratings' regressors and residuals (rating less generic score), of each aspect.

    Attributes:
        base_digest: the base model that the images are in the taste space of.
        rated: the ratings.
        sums: of each aspect, in its units.
        unit_QA: what a regressor, and the residual, is multiplied by before it is rounded: powers of 2.
    """

    base_digest: str
    rated: RatedSet
    sums: list[ExactSums]
    unit_QA: np.ndarray

    @classmethod
    def of(cls, base: BaseScorer, rated: RatedSet) -> RatingSums | None:
        """Those of ratings of weight 1; None: they are too many or too large for exact sums."""
        unit_QA = _units(base)
        sums = [ExactSums.of(_rows(rated, unit_QA, aspect)) for aspect in range(rated.num_aspects)]
        return _of_all(base, rated, sums, unit_QA)

    def changed_to(self, base: BaseScorer, rated: RatedSet) -> RatingSums | None:
        """The same of other ratings, most of which are known here; None as above, or if most are not."""
        if self.base_digest != base.digest:
            return None
        removed, added = _difference(self.rated, rated)
        if 2 * (len(removed) + len(added)) > len(rated):
            return None
        sums = [
            each.changed(_rows(removed, self.unit_QA, aspect), _rows(added, self.unit_QA, aspect))
            for aspect, each in enumerate(self.sums)
        ]
        return _of_all(base, rated, sums, self.unit_QA)

    def under(self, prior: Prior, aspect: int) -> RowSums:
        """Those of the rows of the closed form: in coordinates of a prior, in units of the noise's sd."""
        unit_Q = self.unit_QA[:, aspect]
        gram_QQ = self.sums[aspect].gram() / unit_Q / unit_Q[:, None] / float(prior.noise_sd_A[aspect]) ** 2
        gram_PP, moment_P, mean_P = gram_QQ[:-1, :-1], gram_QQ[:-1, -1], prior.mean(aspect)
        moved_P = gram_PP @ mean_P  # targets are less what the prior mean adds
        half_PK = prior.coordinates_together(gram_PP, aspect)
        return RowSums(
            gram_KK=prior.coordinates_together(half_PK.T, aspect),
            moment_K=prior.coordinates_together((moment_P - moved_P)[None], aspect)[0],
            square=float(gram_QQ[-1, -1] - 2.0 * (mean_P @ moment_P) + mean_P @ moved_P),
            num_rows=int((~np.isnan(self.rated.target_NA[:, aspect])).sum()),
        )

    @property
    def num_bytes(self) -> int:
        columns = self.rated.taste_NR, self.rated.generic_NA, self.rated.target_NA, self.rated.sequence_N
        return sum(each.num_bytes for each in self.sums) + sum(column.nbytes for column in columns)


class SumsMemory(Protocol):
    """Keeps the sums of one user's ratings that were made last."""

    def get(self) -> RatingSums | None:
        """What is known; None: nothing."""

    def put(self, sums: RatingSums) -> None:
        """Replace it."""


def sums_of(base: BaseScorer, prior: Prior, rated: RatedSet, memory: SumsMemory | None) -> RatingSums | None:
    """The sums of a training's ratings; None: it must take them row by row.

    Whether there are sums depends on the ratings alone, and so does every bit of them; the memory saves time only.
    """
    if len(rated) <= max(FEWEST, prior.num_coordinates) or not (rated.weight_N == 1.0).all():
        return None
    known = memory.get() if memory is not None else None
    sums = known.changed_to(base, rated) if known is not None else None
    sums = sums or RatingSums.of(base, rated)
    if memory is not None and sums is not None:
        memory.put(sums)
    return sums


def _of_all(
    base: BaseScorer, rated: RatedSet, sums: Sequence[ExactSums | None], unit_QA: np.ndarray
) -> RatingSums | None:
    exact = [each for each in sums if each is not None]
    return RatingSums(base.digest, rated, exact, unit_QA) if len(exact) == len(sums) else None


def _units(base: BaseScorer) -> np.ndarray:
    """The powers of 2 next to the base model's prior sds, so that the grid is one of score points or so."""
    num_regressors, num_aspects = base.taste_dim + 2, len(base.aspects)
    sd_PA = np.column_stack(
        [OwnPrior(base).coordinates(np.ones((1, num_regressors)), a)[0] for a in range(num_aspects)]
    )
    bits_PA = np.log2(sd_PA, out=np.zeros_like(sd_PA), where=sd_PA > 0)
    bits_PA = np.clip(np.rint(bits_PA), -_WIDEST_UNIT, _WIDEST_UNIT)
    return np.vstack([np.exp2(bits_PA), np.full((1, num_aspects), _OF_RESIDUAL)])


def _rows(rated: RatedSet, unit_QA: np.ndarray, aspect: int) -> np.ndarray:
    """Regressors and residuals of one aspect in its units, shape (N, Q); zeros where it is not rated."""
    generic_N = rated.generic_NA[:, aspect].astype(np.float64)
    residual_N = rated.target_NA[:, aspect] - generic_N
    row_NQ = np.column_stack([design(rated.taste_NR, generic_N), residual_N])
    row_NQ *= unit_QA[:, aspect]
    row_NQ[np.isnan(residual_N)] = 0.0
    return row_NQ


def _difference(before: RatedSet, now: RatedSet) -> tuple[RatedSet, RatedSet]:
    """Which ratings were there before and are not now, and which are new; the others are the same to the bit."""
    shared = slice(_num_shared(before, now), None)  # ratings to which newer ones are added stay where they are
    before, now = before.select(shared), now.select(shared)
    both_X = np.isin(before.sequence_N, now.sequence_N, assume_unique=True)
    both_Y = np.isin(now.sequence_N, before.sequence_N, assume_unique=True)
    is_same = np.ones(int(both_X.sum()), np.bool_)
    for name in ("taste_NR", "generic_NA", "target_NA"):
        first_NX, second_NX = getattr(before, name)[both_X], getattr(now, name)[both_Y]
        is_same &= (first_NX.view(np.uint32) == second_NX.view(np.uint32)).all(axis=1)
    both_X[both_X], both_Y[both_Y] = is_same, is_same
    return before.select(~both_X), now.select(~both_Y)


def _num_shared(before: RatedSet, now: RatedSet) -> int:
    """How many of the first ratings lie at the same places of the memory, whose numbers never change."""
    names = "sequence_N", "taste_NR", "generic_NA", "target_NA"
    pairs = [(getattr(before, name), getattr(now, name)) for name in names]
    at_one_place = all(
        (x.ctypes.data, x.strides, x.shape[1:]) == (y.ctypes.data, y.strides, y.shape[1:]) for x, y in pairs
    )
    return min(len(before), len(now)) if at_one_place else 0
