"""Fit a preference encoder: from survey answers to a user's deviation from the generic score.

Reduced-rank ridge regression of people's closed-form weights on their answers. Weights are compared by their effect on
scores: the mean over images that a person's deviation adds (its *level*), and its variation from image to image (its
*taste*). Cross-validation over people chooses the penalty of each. A penalty is used only if its gain is more than
`_MIN_STANDARD_ERRORS` above 0; otherwise that part of the shift is 0, so that uninformative answers have no effect.

Shape letters: U = people, Q = columns of answers, F = preference dims, P = regressors of a taste prior, A = aspects,
M = independent directions of deviations, T = targets, L = penalties,
I = images of the pool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from paaplus.errors import InvalidInput
from paaplus.records import RatedSet
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.posterior import Posterior
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.priors import OwnPrior, Prior, design

MIN_PEOPLE = 50
DIM = 5

_NUM_FOLDS = 10
_PENALTIES = tuple(10.0**power for power in np.arange(-2.0, 3.01, 0.5))  # of the ridge, per person
_MIN_STANDARD_ERRORS = 2.0  # a gain must be this far above 0
_FLOOR = 1e-6  # directions with a smaller share of the variation are left out
_NOISE = 1e-12  # variances below this share of the largest are rounding errors
_MAX_POOL = 4096


def fit_preference_encoder(
    base: BaseScorer,
    rated: Sequence[RatedSet],
    answers_UQ: np.ndarray,
    columns: Sequence[str] = (),
    prior: Prior | None = None,
    dim: int = DIM,
    seed: int = 0,
) -> tuple[PreferenceEncoder, dict[str, Any]]:
    """Fit the encoder of one survey for one base model.

    Args:
        base: the base model; ratings are in its taste space.
        rated: the ratings of people who answered. If answers are about images, leave out the ratings of these images:
            both share a person's noise, which would look like information.
        answers_UQ: their answers in the same order; NaN where there is no answer.
        columns: names of the answers' columns; by default their numbers.
        prior: deviations are from its mean; None: the base model's own prior.
        dim: number of values of a preference.
        seed: for the folds of cross-validation.

    Returns:
        The encoder, and its metrics: `gain` is the part of people's mean squared deviation from the generic score (in
        squared score points, mean over images) that the answers explain for people outside of the training folds, with
        its 95 % interval over people; `level` and `taste` have the same for each part.

    Raises:
        InvalidInput: fewer than 50 people rated and answered, or arrays that do not fit together.
    """
    answers_UQ = np.asarray(answers_UQ, np.float64)
    if answers_UQ.ndim != 2 or len(answers_UQ) != len(rated) or np.isinf(answers_UQ).any():
        raise InvalidInput(f"answers of shape {answers_UQ.shape} for {len(rated)} people: a row each, finite or NaN")
    names = tuple(columns) or tuple(str(column) for column in range(answers_UQ.shape[1]))
    if len(names) != answers_UQ.shape[1] or not names:
        raise InvalidInput(f"{len(names)} names for {answers_UQ.shape[1]} columns of answers")
    if dim < 1:
        raise InvalidInput(f"a preference of {dim} values: 1 at least")
    with threadpool_limits(limits=1, user_api="blas"):
        return _fit(base, rated, answers_UQ, names, prior or OwnPrior(base), dim, seed)


@dataclass(frozen=True)
class _Chosen:
    """One part of the deviation: the penalty that cross-validation chose, and each person's gain and total."""

    penalty: float | None  # None: no penalty has a significant gain
    gain_U: np.ndarray
    total_U: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        return {"penalty": self.penalty, **_interval(self.gain_U), "of": float(self.total_U.mean())}


def check_answered(num_people: int) -> None:
    """Check that enough people rated and answered.

    Raises:
        InvalidInput: fewer than 50.
    """
    if num_people < MIN_PEOPLE:
        raise InvalidInput(f"{num_people} people rated and answered; a preference encoder needs {MIN_PEOPLE}")


def _fit(
    base: BaseScorer,
    rated: Sequence[RatedSet],
    answers_UQ: np.ndarray,
    names: tuple[str, ...],
    prior: Prior,
    dim: int,
    seed: int,
) -> tuple[PreferenceEncoder, dict[str, Any]]:
    answered_U = ~np.isnan(answers_UQ).all(1)
    given_U = np.array([bool((~np.isnan(one.target_NA)).any()) for one in rated], bool)
    kept = np.flatnonzero(answered_U & given_U).tolist()
    check_answered(len(kept))
    rated, answers_UQ = [rated[u] for u in kept], answers_UQ[kept]
    mean_Q, scale_Q = _moments(answers_UQ)
    standard_UQ = np.nan_to_num((answers_UQ - mean_Q) / scale_Q, nan=0.0)
    deviation_UPA = np.stack([_deviation(one, prior, len(base.aspects)) for one in rated])
    effects = [_ScoreEffect.of(rated, a) for a in range(len(base.aspects))]
    level_UT = np.stack([deviation_UPA[:, :, a] @ one.mean_P for a, one in enumerate(effects)], axis=1)
    taste_UT = np.concatenate([deviation_UPA[:, :, a] @ one.root_PM for a, one in enumerate(effects)], axis=1)
    fold_U = np.random.default_rng(seed).permutation(len(kept)) % _NUM_FOLDS
    parts = {name: _choose(standard_UQ, target_UT, fold_U, dim)
             for name, target_UT in (("level", level_UT), ("taste", taste_UT))}  # fmt: skip
    level_QT = _ridge(standard_UQ, level_UT, parts["level"].penalty)
    taste_QT = _reduced(standard_UQ, _ridge(standard_UQ, taste_UT, parts["taste"].penalty), dim)
    weight_QF, loading_FT = _factors(standard_UQ, np.concatenate([level_QT, taste_QT], axis=1), dim)
    encoder = PreferenceEncoder(
        base.digest,
        names,
        mean_Q.astype(np.float32),
        scale_Q.astype(np.float32),
        weight_QF.astype(np.float32),
        _shift(effects, loading_FT).astype(np.float32),
    )
    gain_U, total_U = (sum(getattr(part, name) for part in parts.values()) for name in ("gain_U", "total_U"))
    return encoder, {
        "num_people": len(kept),
        "num_columns": len(names),
        "dim": dim,
        **_interval(gain_U),
        "of": float(total_U.mean()),
        "says_something": encoder.is_informative,
        **{name: part.to_dict() for name, part in parts.items()},
    }


def _moments(answers_UQ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column's answers; 1 instead of a deviation of 0."""
    known_UQ = ~np.isnan(answers_UQ)
    count_Q = np.maximum(known_UQ.sum(0), 1)
    mean_Q = np.nansum(answers_UQ, 0) / count_Q
    sd_Q = np.sqrt(np.nansum(np.square(answers_UQ - mean_Q), 0) / count_Q)
    return mean_Q, np.where(sd_Q > 1e-9, sd_Q, 1.0)


def _deviation(rated: RatedSet, prior: Prior, num_aspects: int) -> np.ndarray:
    """A person's closed-form weights less the prior's mean, shape (P, A)."""
    columns = []
    for a in range(num_aspects):
        used_N = ~np.isnan(rated.target_NA[:, a])
        generic_N = rated.generic_NA[used_N, a].astype(np.float64)
        design_NP = design(rated.taste_NR[used_N], generic_N)
        residual_N = rated.target_NA[used_N, a] - generic_N - design_NP @ prior.mean(a)
        noise_sd = float(prior.noise_sd_A[a])
        posterior = Posterior(prior.coordinates(design_NP, a) / noise_sd, residual_N / noise_sd)
        columns.append(prior.weights(posterior.mean_K, a) - prior.mean(a))
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class _ScoreEffect:
    """The effect of one aspect's weights on the scores of images, in score points."""

    mean_P: np.ndarray  # weights @ mean: the mean over images of what they add
    root_PM: np.ndarray  # |weights @ root|^2: the variance over images of what they add
    inverse_MP: np.ndarray

    @classmethod
    def of(cls, rated: Sequence[RatedSet], aspect: int) -> _ScoreEffect:
        pool_IP = np.concatenate([design(one.taste_NR, one.generic_NA[:, aspect]) for one in rated])
        pool_IP = pool_IP[:: -(-len(pool_IP) // _MAX_POOL)]
        mean_P = pool_IP.mean(0)
        value_M, vector_PM = np.linalg.eigh(np.cov(pool_IP.T, bias=True))
        kept_M = value_M > _FLOOR * value_M[-1]
        root_M, vector_PM = np.sqrt(value_M[kept_M]), vector_PM[:, kept_M]
        return cls(mean_P, vector_PM * root_M, (vector_PM / root_M).T)


def _choose(standard_UQ: np.ndarray, target_UT: np.ndarray, fold_U: np.ndarray, dim: int) -> _Chosen:
    """The penalty with the largest gain for people outside of the training folds, if that gain is significant."""
    gain_LU = np.zeros((len(_PENALTIES), len(target_UT)))
    for fold in range(_NUM_FOLDS):
        out_U = fold_U == fold
        for i, penalty in enumerate(_PENALTIES):
            weight_QT = _ridge(standard_UQ[~out_U], target_UT[~out_U], penalty)
            weight_QT = _reduced(standard_UQ[~out_U], weight_QT, dim)
            error_UT = target_UT[out_U] - standard_UQ[out_U] @ weight_QT
            gain_LU[i, out_U] = np.square(target_UT[out_U]).sum(1) - np.square(error_UT).sum(1)
    total_U = np.square(target_UT).sum(1)
    mean_L = gain_LU.mean(1)
    error_L = gain_LU.std(1, ddof=1) / np.sqrt(len(target_UT))
    best = int(mean_L.argmax())
    if mean_L[best] <= _MIN_STANDARD_ERRORS * error_L[best]:
        return _Chosen(None, np.zeros(len(target_UT)), total_U)
    return _Chosen(_PENALTIES[best], gain_LU[best], total_U)


def _ridge(standard_UQ: np.ndarray, target_UT: np.ndarray, penalty: float | None) -> np.ndarray:
    """Weights of a ridge regression without an intercept, shape (Q, T); all 0 without a penalty."""
    if penalty is None:
        return np.zeros((standard_UQ.shape[1], target_UT.shape[1]))
    gram_QQ = standard_UQ.T @ standard_UQ / len(standard_UQ) + penalty * np.eye(standard_UQ.shape[1])
    return np.asarray(np.linalg.solve(gram_QQ, standard_UQ.T @ target_UT / len(standard_UQ)))


def _reduced(standard_UQ: np.ndarray, weight_QT: np.ndarray, dim: int) -> np.ndarray:
    """The weights reduced to rank `dim`: the directions along which predictions vary most are kept."""
    if min(weight_QT.shape) <= dim:
        return weight_QT
    weight_QF, loading_FT = _factors(standard_UQ, weight_QT, dim)
    return np.asarray(weight_QF @ loading_FT)


def _factors(standard_UQ: np.ndarray, weight_QT: np.ndarray, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """`weight` as (Q, F) @ (F, T), where each of the F values has a variance of 1 over people, or is 0."""
    predicted_UT = standard_UQ @ weight_QT
    # eigenvectors of the products: LAPACK's SVD did not converge on predictions of low rank
    variance_T, vector_TT = np.linalg.eigh(predicted_UT.T @ predicted_UT / len(predicted_UT))
    variance_F, vector_FT = variance_T[::-1][:dim], vector_TT[:, ::-1][:, :dim].T
    num_kept = int((variance_F > _NOISE * max(variance_F[0], _NOISE)).sum())
    vector_FT = vector_FT[:num_kept]
    vector_FT = vector_FT * np.sign(vector_FT[np.arange(num_kept), np.abs(vector_FT).argmax(1)])[:, None]
    sd_F = np.sqrt(variance_F[:num_kept])
    weight_QF = np.zeros((weight_QT.shape[0], dim))
    loading_FT = np.zeros((dim, weight_QT.shape[1]))
    weight_QF[:, :num_kept] = weight_QT @ vector_FT.T / sd_F
    loading_FT[:num_kept] = sd_F[:, None] * vector_FT
    return weight_QF, loading_FT


def _shift(effects: Sequence[_ScoreEffect], loading_FT: np.ndarray) -> np.ndarray:
    """Convert levels and directions back to weights of the regressors, shape (F, P, A)."""
    num_aspects = len(effects)
    shifts, start = [], num_aspects
    for a, effect in enumerate(effects):
        num_directions = effect.root_PM.shape[1]
        shift_FP = loading_FT[:, start : start + num_directions] @ effect.inverse_MP
        # the level already includes the mean of what the directions add
        shift_FP[:, 0] += loading_FT[:, a] - shift_FP @ effect.mean_P
        shifts.append(shift_FP)
        start += num_directions
    return np.stack(shifts, axis=2)


def _interval(gain_U: np.ndarray) -> dict[str, float]:
    half = 1.96 * float(gain_U.std(ddof=1)) / np.sqrt(len(gain_U))
    return {
        "gain": float(gain_U.mean()),
        "gain_low": float(gain_U.mean()) - half,
        "gain_high": float(gain_U.mean()) + half,
    }
