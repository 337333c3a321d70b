"""The closed form (`bayes`): the posterior of one user's taste vector, given all feedback. NumPy only.

The residual of a rating over the generic score is regressed on `[1, generic - center, taste]` under the taste prior
with Gaussian noise: exact. Comparisons enter by their own likelihood (`comparisons.py`); the posterior is then
approximated at its mode (Laplace), which Newton's method finds.

Shape letters: N = ratings, X = some of them, C = comparisons, R = taste space dim, P = R + 2 regressors,
K = coordinates of the prior, M = kept directions, A = aspects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from paaplus.records import SCORE_MAX, SCORE_MIN, ComparedSet, RatedSet, is_like
from paaplus.scoring.adapters import MAX_NUMBERS, TasteVector, Uncertainty
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.comparisons import log_likelihood, slope_and_curvature
from paaplus.scoring.posterior import Posterior
from paaplus.scoring.priors import SCORE_CENTER, OwnPrior, Prior, design
from paaplus.scoring.rating_sums import RatingSums
from paaplus.scoring.row_sums import RowSums

_MAX_NEWTON_STEPS = 50
_TOLERANCE = 1e-10  # size of a step, in prior standard deviations
_NUM_HALVINGS = 30
_SMALLEST_ENERGY = 1e-12


def fit(base: BaseScorer, prior: Prior, rated: RatedSet, compared: ComparedSet) -> Fitted:
    """The posterior over all feedback. The same feedback gives the same bytes, however it was split into increments.

    Args:
        base: the base model of the taste space and of the generic scores.
        prior: a prior of that base model.
        rated: the ratings, in order of sequence.
        compared: the comparisons.

    Raises:
        DivergedError: the squares of some numbers are not finite.
    """
    regressions = [_Regression.of(rated, compared, prior, a) for a in range(len(base.aspects))]
    return _fitted(base, prior, rated.generic_NA, regressions)


def fit_sums(base: BaseScorer, prior: Prior, sums: RatingSums, compared: ComparedSet, told_N: np.ndarray) -> Fitted:
    """The same from sums over the ratings, at a cost that does not grow with their number.

    Args:
        base: the base model.
        prior: a prior of that base model.
        sums: of all ratings.
        compared: the comparisons.
        told_N: mask of the ratings whose leave-one-out predictions may be asked for.

    Raises:
        DivergedError: as `fit`.
    """
    told, regressions = sums.rated.select(told_N), []
    for a in range(len(base.aspects)):
        regression = _Regression.of(told, compared, prior, a)
        used_N = told_N.copy()
        used_N[told_N] = regression.used_N
        regressions.append(replace(regression, used_N=used_N, sums=sums.under(prior, a)))
    return _fitted(base, prior, sums.rated.generic_NA, regressions)


def _fitted(base: BaseScorer, prior: Prior, generic_NA: np.ndarray, regressions: list[_Regression]) -> Fitted:
    posteriors = [regression.solve() for regression in regressions]
    weights = [prior.weights(posterior.mean_K, a) for a, posterior in enumerate(posteriors)]
    return Fitted(base.digest, prior, generic_NA, regressions, posteriors, np.column_stack(weights))


@dataclass(frozen=True, eq=False)
class Fitted:
    """The result of a fit. The weights are computed at once; the rest takes longer and is computed when first used."""

    base_digest: str
    prior: Prior
    generic_NA: np.ndarray
    regressions: list[_Regression]  # one per aspect, like all that follows
    posteriors: list[Posterior]
    weight_PA: np.ndarray  # float64, of `priors.design`

    @cached_property
    def adapter(self) -> TasteVector:
        """The taste vector to serve, with its uncertainty."""
        offset_A, slope_A = self.weight_PA[:2]
        return TasteVector(
            self.base_digest,
            alpha_A=(1.0 + slope_A).astype(np.float32),
            beta_A=(offset_A - slope_A * SCORE_CENTER).astype(np.float32),
            weight_RA=self.weight_PA[2:].astype(np.float32),
            uncertainty=self.uncertainty,
        )

    @cached_property
    def loo_NA(self) -> np.ndarray:
        """Leave-one-out predictions of all ratings whose rows are at hand, see `loo_of`."""
        return self.loo_of(np.ones(len(self.generic_NA), np.bool_))

    def loo_of(self, told_N: np.ndarray) -> np.ndarray:
        """Leave-one-out predictions, 0-10; see `strategies.base.Trained`.

        Args:
            told_N: mask of ratings; the others are NaN, as is what was not rated.
        """
        loo_NA = np.full(self.generic_NA.shape, np.nan, np.float32)
        for a, (regression, posterior) in enumerate(zip(self.regressions, self.posteriors, strict=True)):
            told_X = told_N[regression.used_N]
            error_X = regression.loo_errors(posterior, told_X) * regression.noise_sd_N[told_X]
            without_X = regression.mean_N[told_X] + regression.target_N[told_X] - error_X
            used_N = regression.used_N & told_N
            generic_X = self.generic_NA[used_N, a].astype(np.float64)
            loo_NA[used_N, a] = np.clip(generic_X + without_X, SCORE_MIN, SCORE_MAX)
        return loo_NA

    @cached_property
    def uncertainty(self) -> Uncertainty:
        """The posterior covariance, in as many numbers as a taste vector may have beside its weights.

        A factor corrects the mean variance over images for the directions that are not kept.
        """
        num_aspects = len(self.posteriors)
        free = max((MAX_NUMBERS - self.weight_PA.size - 2 * num_aspects) // num_aspects, 1)
        num_directions = max(free // self.prior.num_coordinates, 1)
        num_kept = min(self.prior.num_coordinates, free // num_directions)
        reduction_KMA = np.zeros((num_kept, num_directions, num_aspects), np.float32)
        variance_scale_A = np.ones(num_aspects, np.float32)
        for a, (regression, posterior) in enumerate(zip(self.regressions, self.posteriors, strict=True)):
            energy_K = _energy(regression)
            variance_K = posterior.variance_K
            if regression.prior_sd_K is None:
                leading_KM = posterior.leading_reduction(energy_K, num_directions)[:num_kept]
            else:  # in the coordinates of the prior that says so little
                energy_K = energy_K / np.square(regression.prior_sd_K)
                variance_K = variance_K * np.square(regression.prior_sd_K)
                widest = float(regression.prior_sd_K.max())
                leading_KM = posterior.scaled_reduction(regression.prior_sd_K / widest, energy_K, num_directions)[
                    :num_kept
                ]
            reduction_KMA[:, : leading_KM.shape[1], a] = leading_KM
            kept = energy_K.sum() - energy_K[:num_kept] @ np.square(leading_KM).sum(1)
            variance_scale_A[a] = variance_K @ energy_K / kept
        noise_sd_A = np.asarray(self.prior.noise_sd_A, np.float32)
        return Uncertainty(self.prior.digest, reduction_KMA, variance_scale_A, noise_sd_A)


def around(
    base: BaseScorer,
    adapter: TasteVector,
    rated: RatedSet,
    compared: ComparedSet,
    precision_PA: np.ndarray,
    soft: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]] = (),
) -> Fitted:
    """How sure a taste vector is that was trained in steps: Laplace's approximation around it.

    Args:
        base: the base model.
        adapter: the taste vector; its weights stay as they are.
        rated: the ratings that its training stood for.
        compared: the comparisons, likewise.
        precision_PA: how firmly prior and penalties hold each weight, in units of the base model's own prior; above 0.
        soft: soft targets: taste (M, R), generic scores (M, A) and weights (M, A), in ratings.

    Raises:
        DivergedError: numbers whose squares are not finite.
    """
    prior, slope_A = OwnPrior(base), adapter.alpha_A.astype(np.float64) - 1.0
    weight_PA = np.vstack([adapter.beta_A + slope_A * SCORE_CENTER, slope_A, adapter.weight_RA]).astype(np.float64)
    regressions, posteriors = [], []
    for a in range(len(base.aspects)):
        unit_K, prior_sd_K = prior.coordinates(np.ones((1, len(weight_PA))), a)[0], precision_PA[:, a] ** -0.5
        at_K = np.divide(weight_PA[:, a], unit_K, out=np.zeros(len(unit_K)), where=unit_K > 0)
        regression = _Regression.of(rated, compared, prior, a).under(prior_sd_K)
        regressions.append(regression)
        more = [np.empty((0, len(at_K)))]
        for taste_MR, generic_MA, weight_MA in soft:
            soft_MK = prior.coordinates_together(design(taste_MR, generic_MA[:, a]), a)
            more.append(soft_MK * prior_sd_K * np.sqrt(weight_MA[:, a : a + 1]) / regression.noise_sd)
        more_MK = np.concatenate(more)
        posteriors.append(regression.at(at_K / prior_sd_K, more_MK))
    return Fitted(base.digest, prior, rated.generic_NA, regressions, posteriors, weight_PA)


def middle_of(rated: RatedSet, compared: ComparedSet, prior: Prior, aspect: int, sd: float) -> float:
    """The posterior mode of a person's middle, in score points above the middle of the scale.

    The middle is one more unknown beside the weights, with its own normal prior of mean zero.

    Args:
        rated: the ratings.
        compared: comparisons and likes; the made-up images of likes stand at the middle of the scale.
        prior: of the weights.
        aspect: which one.
        sd: standard deviation of the middle's prior, in score points.
    """
    regression = _Regression.of(rated, compared, prior, aspect)
    lever_C = np.where(is_like(regression.preference_C), -sd, 0.0)
    zero_N = np.zeros(len(regression.coordinate_NK))
    extended = replace(
        regression,
        coordinate_NK=np.column_stack([regression.coordinate_NK, zero_N]),
        pair_CK=np.column_stack([regression.pair_CK, lever_C]),
    )
    return float(extended.solve().mean_K[-1] * sd)


def posterior_of(rated: RatedSet, compared: ComparedSet, prior: Prior, aspect: int) -> Posterior:
    """Posterior of one aspect's coordinates, given the ratings and comparisons."""
    return _Regression.of(rated, compared, prior, aspect).solve()


@dataclass(frozen=True, eq=False)
class _Regression:
    """One aspect's regression. Targets are ratings less the generic score and the part of the prior mean.

    `sums` are those of all ratings; the rows of ratings are then some of these, of which more is to be told.
    """

    coordinate_NK: np.ndarray
    target_N: np.ndarray
    mean_N: np.ndarray  # what the prior mean adds to the generic score
    noise_sd_N: np.ndarray
    used_N: np.ndarray  # bool, over all ratings
    pair_CK: np.ndarray  # coordinates of the first image minus those of the second
    pair_mean_C: np.ndarray  # difference of the scores under the prior mean
    preference_C: np.ndarray
    pair_weight_C: np.ndarray
    noise_sd: float
    prior_sd_K: np.ndarray | None = None  # of the coordinates, which are in units of it; None: 1
    sums: RowSums | None = None

    @classmethod
    def of(cls, rated: RatedSet, compared: ComparedSet, prior: Prior, aspect: int) -> _Regression:
        used_N = ~np.isnan(rated.target_NA[:, aspect]) & (rated.weight_N > 0)
        generic_N = rated.generic_NA[used_N, aspect].astype(np.float64)
        design_NP = design(rated.taste_NR[used_N], generic_N)
        mean_N = design_NP @ prior.mean(aspect)
        noise_sd = float(prior.noise_sd_A[aspect])
        pair_CK, pair_mean_C = np.empty((0, prior.num_coordinates)), np.empty(0)
        preference_C, pair_weight_C = np.empty(0), np.empty(0)
        if len(compared):
            used = compared.select(~np.isnan(compared.preference_CA[:, aspect]) & (compared.weight_C > 0))
            first_C = used.first_generic_CA[:, aspect].astype(np.float64)
            second_C = used.second_generic_CA[:, aspect].astype(np.float64)
            first_CP, second_CP = design(used.first_taste_CR, first_C), design(used.second_taste_CR, second_C)
            pair_CK = prior.coordinates_together(first_CP - second_CP, aspect)
            pair_mean_C = first_C - second_C + (first_CP - second_CP) @ prior.mean(aspect)
            preference_C = used.preference_CA[:, aspect].astype(np.float64)
            pair_weight_C = used.weight_C.astype(np.float64)
        return cls(
            coordinate_NK=prior.coordinates_together(design_NP, aspect),
            target_N=rated.target_NA[used_N, aspect] - generic_N - mean_N,
            mean_N=mean_N,
            noise_sd_N=noise_sd / np.sqrt(rated.weight_N[used_N].astype(np.float64)),
            used_N=used_N,
            pair_CK=pair_CK,
            pair_mean_C=pair_mean_C,
            preference_C=preference_C,
            pair_weight_C=pair_weight_C,
            noise_sd=noise_sd,
        )

    def under(self, prior_sd_K: np.ndarray) -> _Regression:
        """The same under a prior with these standard deviations of the coordinates."""
        coordinate_NK, pair_CK = self.coordinate_NK * prior_sd_K, self.pair_CK * prior_sd_K
        return replace(self, coordinate_NK=coordinate_NK, pair_CK=pair_CK, prior_sd_K=prior_sd_K)

    def at(self, at_K: np.ndarray, more_MK: np.ndarray) -> Posterior:
        """The posterior around a point, with more rows that say nothing against it. Its first rows are the ratings."""
        known = self._around(at_K, *self._scaled_rows())
        scaled_NK = np.concatenate([known.scaled_NK, more_MK])
        return Posterior(scaled_NK, np.concatenate([known.scaled_N, more_MK @ at_K]), around_K=at_K)

    def loo_errors(self, posterior: Posterior, told_X: np.ndarray) -> np.ndarray:
        """Leave-one-out errors of some of the ratings' rows, in noise sds."""
        if posterior.is_dual:
            return posterior.loo_error_N[: len(told_X)][told_X]
        return posterior.loo_errors(*self._scaled_rows(told_X))

    def solve(self) -> Posterior:
        """The posterior; with comparisons, its Gaussian approximation at the mode. Its first rows are the ratings."""
        rows_NK, rows_N = self._scaled_rows()
        if self.sums is not None:
            rows_NK, rows_N = rows_NK[:0], rows_N[:0]
        posterior = Posterior(rows_NK, rows_N, sums=self.sums)
        if not len(self.preference_C):
            return posterior
        mode_K = posterior.mean_K
        posterior = self._around(mode_K, rows_NK, rows_N)
        value = self._log_posterior(mode_K, rows_NK, rows_N)
        for _ in range(_MAX_NEWTON_STEPS):
            step_K = posterior.mean_K - mode_K
            next_value = self._log_posterior(mode_K + step_K, rows_NK, rows_N)
            for _ in range(_NUM_HALVINGS):  # the log posterior is concave, but a full step may overshoot its maximum
                if next_value >= value:
                    break
                step_K = step_K / 2.0
                next_value = self._log_posterior(mode_K + step_K, rows_NK, rows_N)
            mode_K, value = mode_K + step_K, next_value
            posterior = self._around(mode_K, rows_NK, rows_N)
            if np.abs(step_K).max() < _TOLERANCE:
                break
        return posterior

    def _scaled_rows(self, told_X: np.ndarray | slice = slice(None)) -> tuple[np.ndarray, np.ndarray]:
        """The ratings' rows and targets, or some of them, in noise sds."""
        noise_sd_X = self.noise_sd_N[told_X]
        return self.coordinate_NK[told_X] / noise_sd_X[:, None], self.target_N[told_X] / noise_sd_X

    def _around(self, mode_K: np.ndarray, rows_NK: np.ndarray, rows_N: np.ndarray) -> Posterior:
        """The regression with the log posterior's gradient and curvature at a point. Its mean is Newton's next."""
        difference_C = self.pair_mean_C + self.pair_CK @ mode_K
        slope_C, curvature_C = slope_and_curvature(difference_C, self.preference_C, np.array(self.noise_sd))
        precision_C = np.maximum(self.pair_weight_C * curvature_C, np.finfo(np.float64).tiny)
        pseudo_C = self.pair_CK @ mode_K + self.pair_weight_C * slope_C / precision_C
        root_C = np.sqrt(precision_C)
        return Posterior(
            np.concatenate([rows_NK, root_C[:, None] * self.pair_CK]),
            np.concatenate([rows_N, root_C * pseudo_C]),
            sums=self.sums,
        )

    def _log_posterior(self, at_K: np.ndarray, rows_NK: np.ndarray, rows_N: np.ndarray) -> float:
        difference_C = self.pair_mean_C + self.pair_CK @ at_K
        log_likelihood_C = log_likelihood(difference_C, self.preference_C, np.array(self.noise_sd))
        gaussian = np.square(rows_N - rows_NK @ at_K).sum() + at_K @ at_K
        if self.sums is not None:
            gaussian += self.sums.square + at_K @ (self.sums.gram_KK @ at_K - 2.0 * self.sums.moment_K)
        return float(self.pair_weight_C @ log_likelihood_C - 0.5 * gaussian)


def _energy(regression: _Regression) -> np.ndarray:
    """Mean square of every coordinate over the images of the feedback, shape (K,), above 0; without feedback all 1."""
    row_NK, sums = np.concatenate([regression.coordinate_NK, regression.pair_CK]), regression.sums
    if sums is not None and sums.num_rows:
        square_K = sums.gram_KK.diagonal() * regression.noise_sd**2 + np.square(regression.pair_CK).sum(0)
        return np.maximum(square_K / (sums.num_rows + len(regression.pair_CK)), _SMALLEST_ENERGY)
    return np.maximum(np.square(row_NK).mean(0), _SMALLEST_ENERGY) if len(row_NK) else np.ones(row_NK.shape[1])
