"""The trial of a taste prior that was learned from users: is it better than the one in force, for people it never saw?

People are divided into folds. For each fold, a prior is fitted on the others; everybody in the fold is then trained on
half of their ratings from either prior, and judged on the other half.

Shape letters: U = people, N = ratings, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from scipy.stats import rankdata

from paaplus.fitting.taste_prior import fit_taste_prior
from paaplus.records import NO_COMPARISONS, RatedSet
from paaplus.scoring import closed_form
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.priors import Prior

NUM_FOLDS: Final = 3
NUM_TRAINED: Final = 10  # ratings of a judged person that train, at most: priors matter where little is known
MIN_RATINGS: Final = 10  # of a person who is judged
SRCC_MARGIN: Final = 0.005  # loss of either half of the people that counts as none
_ONE_SIDED_95: Final = 1.645


@dataclass(frozen=True)
class TrialResult:
    """Mean gains over the prior in force, on ratings of people that neither prior was fitted on.

    `mse_gain` is in squared score points; `mse_gain_low` bounds it from below with 95 % probability. The two halves are
    those of the people who came first and last: invented people come late.
    """

    num_judged: int
    mse_gain: float
    mse_gain_low: float
    srcc_gain: float
    srcc_gain_first_half: float
    srcc_gain_last_half: float

    @property
    def refused(self) -> str | None:
        """Why the prior may not come into force; None: it may."""
        if self.mse_gain_low <= 0.0:
            return (
                f"no clear gain over the prior in force: {self.mse_gain:+.3f} squared points, {self.num_judged} people"
            )
        for half, gain in (("first", self.srcc_gain_first_half), ("last", self.srcc_gain_last_half)):
            if gain < -SRCC_MARGIN:
                return f"the order of scores is worse for the people who came {half}: SRCC {gain:+.3f}"
        return None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "refused": self.refused}


def trial(base: BaseScorer, people: Sequence[RatedSet], current: Prior) -> TrialResult:
    """Compare a prior fitted on people like these with the one in force.

    Args:
        base: the base model of both.
        people: each person's ratings; who came first stands first.
        current: the prior in force, or the base model's own.
    """
    gains: list[tuple[int, float, float]] = []  # person, of squared error, of SRCC
    for fold in range(NUM_FOLDS):
        others = [rated for u, rated in enumerate(people) if u % NUM_FOLDS != fold]
        candidate, _ = fit_taste_prior(base, others, min_people=2)
        for u in range(fold, len(people), NUM_FOLDS):
            gains += [(u, *gain) for gain in _gains(base, people[u], candidate, current)]
    if not gains:
        return TrialResult(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    person_U, mse_U, srcc_U = (np.array(column) for column in zip(*sorted(gains), strict=True))
    error = mse_U.std(ddof=1) / np.sqrt(len(mse_U)) if len(mse_U) > 1 else np.inf
    is_first_U = person_U < len(people) / 2
    return TrialResult(
        num_judged=len(gains),
        mse_gain=float(mse_U.mean()),
        mse_gain_low=float(mse_U.mean() - _ONE_SIDED_95 * error),
        srcc_gain=float(srcc_U.mean()),
        srcc_gain_first_half=float(srcc_U[is_first_U].mean()) if is_first_U.any() else 0.0,
        srcc_gain_last_half=float(srcc_U[~is_first_U].mean()) if (~is_first_U).any() else 0.0,
    )


def _gains(base: BaseScorer, rated: RatedSet, candidate: Prior, current: Prior) -> list[tuple[float, float]]:
    """Gain of squared error and SRCC of one person, mean over aspects; empty if the person rated too little."""
    if len(rated) < MIN_RATINGS:
        return []
    is_trained_N = np.arange(len(rated)) % 2 == 0
    is_trained_N &= np.cumsum(is_trained_N) <= NUM_TRAINED
    trained, judged = rated.select(is_trained_N), rated.select(~is_trained_N)
    scores = [
        closed_form.fit(base, prior, trained, NO_COMPARISONS).adapter.score(judged.taste_NR, judged.generic_NA)
        for prior in (candidate, current)
    ]
    new_NA, old_NA = scores
    per_aspect = [
        _difference(new_NA[:, a], old_NA[:, a], judged.target_NA[:, a]) for a in range(judged.target_NA.shape[1])
    ]
    known = [gain for gain in per_aspect if gain is not None]
    return [tuple(np.mean(known, axis=0).tolist())] if known else []


def _difference(new_N: np.ndarray, old_N: np.ndarray, target_N: np.ndarray) -> tuple[float, float] | None:
    given_N = ~np.isnan(target_N)
    new_N, old_N, target_N = (column[given_N].astype(np.float64) for column in (new_N, old_N, target_N))
    if len(target_N) < 2 or np.ptp(target_N) == 0:
        return None
    mse = float(np.mean(np.square(old_N - target_N) - np.square(new_N - target_N)))
    return mse, _srcc(new_N, target_N) - _srcc(old_N, target_N)


def _srcc(score_N: np.ndarray, target_N: np.ndarray) -> float:
    return 0.0 if np.ptp(score_N) == 0 else float(np.corrcoef(rankdata(score_N), rankdata(target_N))[0, 1])
