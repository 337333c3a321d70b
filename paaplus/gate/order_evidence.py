"""Order evidence: how much likelier a stretch of feedback is if it follows an order than if it follows none.

Under *order*, a person's rating is `mean + scale * z`, where z is normal around `gamma * generic / noise` with the
covariance of the taste prior, times `(s / noise)` squared, plus noise of variance 1. `gamma` is 1 for a taste near the
generic scores, -1 for its reverse, 0 for a taste of its own. Under *no order*, z is noise alone. The person's mean and
scale are unknown on both sides, with the same prior: so only the order of the ratings counts, and ratings that are all
alike follow none. Comparisons and likes have their own likelihood (by Laplace's approximation) under order, with an
unknown middle for likes, and unknown shares of answers under no order: so a person who always chooses the first image,
or likes every image, follows none. `gamma`, `s` and the noise are
unknown: the evidence is a mixture over `_ORDERS` and `_NOISES`.

Both sides are probabilities of the same feedback, so under "no order" the likelihood ratio is a martingale: it exceeds
c at any time with a probability of 1/c at most (Ville's inequality), however often one looks.

Ratings enter in at most `NUM_DIRECTIONS` leading directions of the prior: a window of blocks costs the same whatever
the number of ratings in it (`window_products`). Those of a long log are fixed, so that what is known of its old windows
stays true (`long_logs`).

Shape letters: N = ratings, C = comparisons, K = coordinates of the prior, M = leading directions, B = blocks, W =
windows, V = all windows, E = hypotheses (an order and a noise), T = ratios of taste to noise, X = rows or sums.

Source: the ratio under right-Haar priors of location and scale is a test martingale, Perez-Ortiz et al., "E-statistics,
group invariance and anytime-valid testing" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy.special import gammaln, logsumexp

from paaplus.gate.aspects import Feedback, LongLog, Pairs, pairs_of, ratings_of
from paaplus.gate.long_logs import LongRatings
from paaplus.gate.scale_sums import log_sums
from paaplus.gate.window_products import BlockRows
from paaplus.records import DISLIKED, LIKED, PREFERS_FIRST, PREFERS_SECOND, TIE, ComparedSet, RatedSet
from paaplus.scoring.comparisons import log_likelihood, slope_and_curvature
from paaplus.scoring.middles import placed
from paaplus.scoring.priors import SCORE_CENTER, Prior

_ORDERS = (  # gamma, s, probability
    (1.0, 1.0, 0.5),
    (-1.0, 1.0, 0.2),
    (0.0, 1.0, 0.03),
    (0.45, 0.5, 0.2),
    (-0.45, 0.5, 0.06),
    (0.0, 0.5, 0.01),
)
_NOISES = (0.35, 0.5, 0.7, 0.9, 1.15, 1.5)  # in noise sds of the prior, equally probable
_PAIR_NOISES = (0.5, 0.9, 1.5)  # the same for windows with comparisons, which take longer
_NUM_NEWTON_STEPS = 8
_MAX_STEP, _SMALLEST_STEP = 3.0, 1e-5  # of Newton's method, in prior standard deviations


@dataclass(frozen=True, eq=False)
class _Aspect:
    """One aspect's feedback; at least one of the kinds."""

    ratings: BlockRows | LongRatings | None
    pairs: Pairs | None
    noise_sd: float


class OrderEvidence:
    """The evidence of windows of blocks of one user's feedback; for the arguments see `Feedback`."""

    def __init__(
        self,
        rated: RatedSet,
        compared: ComparedSet,
        block_N: np.ndarray,
        block_C: np.ndarray,
        num_blocks: int,
        prior: Prior,
        long: LongLog | None = None,
    ) -> None:
        middle_A = np.full(len(prior.noise_sd_A), SCORE_CENTER)
        if long is not None:
            long = replace(long, compared=placed(long.compared, middle_A))
        feedback = Feedback(rated, placed(compared, middle_A), block_N, block_C, num_blocks, prior, long)
        aspects = [
            _Aspect(ratings_of(feedback, aspect), pairs_of(feedback, aspect), float(noise_sd))
            for aspect, noise_sd in enumerate(prior.noise_sd_A)
        ]
        self.aspects = [each for each in aspects if each.ratings is not None or each.pairs is not None]

    def of_windows(self, window_W2: np.ndarray) -> np.ndarray:
        """Log evidence of each window `[start, end)` of blocks, shape (W,): order against no order.

        With several aspects, the mean over those that the user has ever answered: their feedback need not be
        independent, and a mean of logarithms stays below the logarithm of a mean.
        """
        return evidence_together([(self, window_W2)])[0]


def evidence_together(asked: Sequence[tuple[OrderEvidence, np.ndarray]]) -> list[np.ndarray]:
    """The evidence of many users, each in windows of their own, see `OrderEvidence.of_windows`."""
    of_ratings = iter(
        _of_ratings(
            [
                (aspect.ratings, aspect.noise_sd, window_W2)
                for evidence, window_W2 in asked
                for aspect in evidence.aspects
                if aspect.ratings is not None
            ]
        )
    )
    found = []
    for evidence, window_W2 in asked:
        per_aspect = [np.zeros(len(window_W2))] if not evidence.aspects else []
        for aspect in evidence.aspects:
            log_W = next(of_ratings) if aspect.ratings is not None else np.zeros(len(window_W2))
            if aspect.pairs is not None:  # as if each kind had a taste of its own, which is valid and simple
                log_W = log_W + _of_comparisons(aspect.pairs, aspect.noise_sd, window_W2)
            per_aspect.append(log_W)
        found.append(np.mean(per_aspect, axis=0))
    return found


@dataclass(frozen=True, eq=False)
class _Hypotheses:
    """What each hypothesis says of z, in noise sds: its mean per point of the generic score, and its ratio's place.

    The last one is no order, whose place is after all ratios.
    """

    gamma_E: np.ndarray
    place_E: np.ndarray
    ratio_T: np.ndarray
    log_probability_E: np.ndarray


@lru_cache(16)
def _orders(noise_sd: float) -> _Hypotheses:
    gamma_E, ratio_E, probability_E = np.array(
        [
            (gamma / (noise * noise_sd), (scale / (noise * noise_sd)) ** 2, probability / len(_NOISES))
            for gamma, scale, probability in _ORDERS
            for noise in _NOISES
        ]
    ).T
    ratio_T, place_E = np.unique(ratio_E, return_inverse=True)
    return _Hypotheses(
        np.append(gamma_E, 0.0), np.append(place_E, len(ratio_T)), ratio_T, np.append(np.log(probability_E), 0.0)
    )


@dataclass(frozen=True, eq=False)
class _Densities:
    """Log densities of one aspect's ratings in each window with several, for every hypothesis and, last, no order.

    The person's mean, with a flat prior, is integrated out. At a scale of the person the log density is `constant` and
    what `scale_sums` says of curve and slope. All are up to a constant that order and no order have in common.
    """

    constant_EW: np.ndarray
    curve_EW: np.ndarray
    slope_EW: np.ndarray
    num_W: np.ndarray  # of ratings, above 1
    several_V: np.ndarray  # which of all windows these are

    @classmethod
    def of(cls, ratings: BlockRows, noise_sd: float, window_V2: np.ndarray) -> _Densities:
        moment_V33 = ratings.moments(window_V2)
        several_V = moment_V33[:, 0, 0] > 1.5
        orders, moment_W33 = _orders(noise_sd), moment_V33[several_V]
        num_orders, num_windows = len(orders.ratio_T), len(moment_W33)
        solved_TW33, log_det_TW = np.empty((num_orders + 1, num_windows, 3, 3)), np.zeros((num_orders + 1, num_windows))
        solved_TW33[:-1], log_det_TW[:-1] = ratings.products(window_V2[several_V], orders.ratio_T)
        solved_TW33[-1] = moment_W33  # without an order: as with a ratio of 0
        safe_TW = np.maximum(solved_TW33[..., 0, 0], 1e-12)
        mean_TW, target_TW = solved_TW33[..., 0, 1], solved_TW33[..., 0, 2]
        curve_TW = solved_TW33[..., 2, 2] - np.square(target_TW) / safe_TW
        cross_TW = solved_TW33[..., 1, 2] - mean_TW * target_TW / safe_TW
        mean_square_TW = solved_TW33[..., 1, 1] - np.square(mean_TW) / safe_TW
        place_E, gamma_E1 = orders.place_E, orders.gamma_E[:, None]
        constant_EW = (-0.5 * (log_det_TW + np.log(safe_TW)))[place_E]
        constant_EW -= 0.5 * np.square(gamma_E1) * mean_square_TW[place_E]
        constant_EW += orders.log_probability_E[:, None]
        return cls(constant_EW, curve_TW[place_E], gamma_E1 * cross_TW[place_E], moment_W33[:, 0, 0], several_V)

    def evidence(self, log_sum_X: np.ndarray) -> np.ndarray:
        """Of order against no order, in each of all windows, given the sums over the scales in order."""
        log_EW = self.constant_EW + log_sum_X.reshape(self.constant_EW.shape)
        highest_W = log_EW[:-1].max(axis=0)
        evidence_V = np.zeros(len(self.several_V))
        evidence_V[self.several_V] = highest_W + np.log(np.exp(log_EW[:-1] - highest_W).sum(axis=0)) - log_EW[-1]
        return evidence_V


def _of_ratings(asked: Sequence[tuple[BlockRows | LongRatings, float, np.ndarray]]) -> list[np.ndarray]:
    """The evidence of ratings with these noise sds in windows. Of long logs, only what is not known is measured."""
    to_measure: list[tuple[BlockRows, float, np.ndarray]] = []
    for ratings, noise_sd, window_W2 in asked:
        if isinstance(ratings, LongRatings):
            unknown_X2 = window_W2[ratings.unknown(window_W2)]
            to_measure.append((ratings.block_rows(unknown_X2), noise_sd, unknown_X2))
        else:
            to_measure.append((ratings, noise_sd, window_W2))
    measured = _measured(to_measure)
    return [
        ratings.with_known(window_W2, log_X) if isinstance(ratings, LongRatings) else log_X
        for (ratings, _, window_W2), log_X in zip(asked, measured, strict=True)
    ]


def _measured(asked: Sequence[tuple[BlockRows, float, np.ndarray]]) -> list[np.ndarray]:
    """All sums over scales are taken together."""
    parts = [_Densities.of(*each) for each in asked]
    if not parts:
        return []
    log_sum_X = log_sums(
        np.concatenate([part.curve_EW.ravel() for part in parts]),
        np.concatenate([part.slope_EW.ravel() for part in parts]),
        np.concatenate([np.tile(part.num_W, len(part.curve_EW)) for part in parts]),
    )
    ends = np.cumsum([part.curve_EW.size for part in parts])
    return [part.evidence(sums) for part, sums in zip(parts, np.split(log_sum_X, ends[:-1]), strict=True)]


def _of_comparisons(pairs: Pairs, noise_sd: float, window_W2: np.ndarray) -> np.ndarray:
    """The evidence of each window's comparisons. Windows with the same ones are worked out once."""
    asked_X2 = window_W2 if pairs.long is None else window_W2[pairs.long.unknown(window_W2)]
    ranges = [(first, end) for first, end in np.searchsorted(pairs.block_C, asked_X2).tolist()]
    found = {each: _of_range(pairs, noise_sd, slice(*each)) for each in set(ranges)}
    log_X = np.array([found[each] for each in ranges])
    return log_X if pairs.long is None else pairs.long.with_known(window_W2, log_X)


def _of_range(pairs: Pairs, noise_sd: float, in_window_C: slice) -> float:
    """Evidence of some comparisons that follow each other: Laplace's approximation for each hypothesis."""
    preference_C = pairs.preference_C[in_window_C]
    if not len(preference_C):
        return 0.0
    pair_CM, pair_mean_C = pairs.row_CM[in_window_C], pairs.mean_C[in_window_C]
    hypotheses = [(g, s, n * noise_sd, p / len(_PAIR_NOISES)) for g, s, p in _ORDERS for n in _PAIR_NOISES]
    gamma_E, scale_E, noise_E, probability_E = np.array(hypotheses).T
    preference_CE = np.repeat(preference_C[:, None], len(noise_E), axis=1)
    pair_ECM = scale_E[:, None, None] * pair_CM
    weight_EM = np.zeros((len(noise_E), pair_CM.shape[1]))
    for step in range(_NUM_NEWTON_STEPS + 1):
        difference_EC = gamma_E[:, None] * pair_mean_C + (weight_EM @ pair_CM.T) * scale_E[:, None]
        slope_CE, curvature_CE = slope_and_curvature(difference_EC.T, preference_CE, noise_E)
        weighted_ECM = pair_ECM * curvature_CE.T[:, :, None]
        hessian_EMM = np.eye(pair_CM.shape[1]) + weighted_ECM.transpose(0, 2, 1) @ pair_ECM
        gradient_EM = np.einsum("ecm,ce->em", pair_ECM, slope_CE) - weight_EM
        move_EM = np.linalg.solve(hessian_EMM, gradient_EM[:, :, None])[:, :, 0]
        length = float(np.abs(move_EM).max(initial=0.0))
        if step == _NUM_NEWTON_STEPS or length < _SMALLEST_STEP:
            break
        weight_EM = weight_EM + move_EM * min(1.0, _MAX_STEP / length)
    else:
        raise AssertionError("the last step always breaks")
    log_E = log_likelihood(difference_EC.T, preference_CE, noise_E).sum(0) - 0.5 * np.square(weight_EM).sum(1)
    log_E = log_E - 0.5 * np.linalg.slogdet(hessian_EMM)[1]
    return float(logsumexp(log_E, b=probability_E)) - _no_order_of_pairs(preference_C)


def _no_order_of_pairs(preference_C: np.ndarray) -> float:
    """Log probability of answers with unknown shares: of first, second and tie, and of liked and disliked."""
    return _with_unknown_shares(preference_C, PREFERS_FIRST, PREFERS_SECOND, TIE) + _with_unknown_shares(
        preference_C, LIKED, DISLIKED
    )


def _with_unknown_shares(preference_C: np.ndarray, *answers: float) -> float:
    """Log probability of these answers in their order, if their shares have a flat Dirichlet prior."""
    counts = np.array([(preference_C == answer).sum() for answer in answers])
    return float(gammaln(len(answers)) - gammaln(len(answers) + counts.sum()) + gammaln(1.0 + counts).sum())
