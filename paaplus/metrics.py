"""Metrics: agreement between scores and a person's ratings, and forgetting in continual learning.

Shape letters: N = rated images, K = raters, E = experiences.
"""

from __future__ import annotations

import numpy as np

from paaplus.errors import InvalidInput, UndefinedMetric
from paaplus.records import SCORE_MAX, SCORE_MIN

SCORE_MIDDLE = (SCORE_MIN + SCORE_MAX) / 2


def srcc(score_N: np.ndarray, rating_N: np.ndarray) -> float:
    """Spearman rank correlation (SRCC) between scores and ratings.

    Only the order counts, so the arrays may be on different scales. Tied values share their mean rank.

    Args:
        score_N: predicted scores, shape (N,), N >= 2, any unit.
        rating_N: the user's ratings of the same images in the same order, shape (N,).

    Returns:
        Correlation in [-1, 1], higher is better.

    Raises:
        InvalidInput: the shapes differ, N < 2, or a value is NaN or infinite.
        UndefinedMetric: one array is constant (a user who gives every image a 5). Raised, not returned as 0.0 or
            NaN, so that a mean over users cannot hide it.

    Source:
        scipy.stats.spearmanr; reported as SRCC by NIMA (arXiv:1709.05424).
    """
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=2)
    _refuse_constant("SRCC", score_N, rating_N)
    from scipy import stats  # takes as long to import as SQLAlchemy, and a worker seldom needs it

    return float(stats.spearmanr(score_N, rating_N).statistic)


def srcc_from(least: int, score_N: np.ndarray, rating_N: np.ndarray) -> float | None:
    """SRCC of at least so many pairs; None: there are fewer, or it is undefined."""
    try:
        return srcc(score_N, rating_N) if len(score_N) >= least else None
    except UndefinedMetric:
        return None


def plcc(score_N: np.ndarray, rating_N: np.ndarray) -> float:
    """Pearson linear correlation (PLCC) between scores and ratings, in [-1, 1], higher is better.

    Arguments and errors are those of `srcc`; the arrays may be on different linear scales.

    Source:
        scipy.stats.pearsonr; reported as PLCC (LCC) by NIMA (arXiv:1709.05424).
    """
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=2)
    _refuse_constant("PLCC", score_N, rating_N)
    from scipy import stats

    return float(stats.pearsonr(score_N, rating_N).statistic)


def krcc(score_N: np.ndarray, rating_N: np.ndarray) -> float:
    """Kendall rank correlation (KRCC, tau-b) between scores and ratings, in [-1, 1], higher is better.

    The share of image pairs in the same order minus the share in the opposite order, corrected for ties. Arguments
    and errors are those of `srcc`.

    Source:
        scipy.stats.kendalltau.
    """
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=2)
    _refuse_constant("KRCC", score_N, rating_N)
    from scipy import stats

    return float(stats.kendalltau(score_N, rating_N).statistic)


def rmse(score_N: np.ndarray, rating_N: np.ndarray) -> float:
    """Root mean squared error, in score points; both arrays on the score scale, N >= 1.

    Raises:
        InvalidInput: the shapes differ, N < 1, or a value is NaN or infinite.
    """
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=1)
    return float(np.sqrt(np.mean(np.square(score_N - rating_N))))


def mae(score_N: np.ndarray, rating_N: np.ndarray) -> float:
    """Mean absolute error, in score points. Arguments and errors are those of `rmse`."""
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=1)
    return float(np.mean(np.abs(score_N - rating_N)))


def acc(score_N: np.ndarray, rating_N: np.ndarray, threshold: float = SCORE_MIDDLE) -> float:
    """Share of images whose score and rating agree on being above `threshold` (ACC), in [0, 1].

    Args:
        score_N: predicted scores, shape (N,), N >= 1, on the score scale 0-10.
        rating_N: ratings on the score scale.
        threshold: exactly on it counts as not above.

    Raises:
        InvalidInput: the shapes differ, N < 1, or a value is NaN or infinite.

    Source:
        agreement of `score > 5`, as PAA+ (CVPR 2025) and, on its own scale, NIMA (arXiv:1709.05424) report it.
    """
    score_N, rating_N = _checked_pair(score_N, rating_N, at_least=1)
    return float(np.mean((score_N > threshold) == (rating_N > threshold)))


def negative_flip_rate(
    old_N: np.ndarray, new_N: np.ndarray, rating_N: np.ndarray, threshold: float = SCORE_MIDDLE
) -> float:
    """Share of images that the old scores placed on the right side of `threshold` and the new ones do not.

    Args:
        old_N: scores of the version before, shape (N,), N >= 1, on the score scale 0-10.
        new_N: scores of the version after, for the same images.
        rating_N: the user's ratings on the score scale.
        threshold: exactly on it counts as not above.

    Returns:
        Rate in [0, 1], lower is better.

    Raises:
        InvalidInput: the shapes differ, N < 1, or a value is NaN or infinite.

    Source:
        Yan et al., Positive-Congruent Training (arXiv:2011.09161).
    """
    old_N, rating_N = _checked_pair(old_N, rating_N, at_least=1)
    new_N, rating_N = _checked_pair(new_N, rating_N, at_least=1)
    liked_N = rating_N > threshold
    return float(np.mean(((old_N > threshold) == liked_N) & ((new_N > threshold) != liked_N)))


def icc(rating_NK: np.ndarray) -> float:
    """Intraclass correlation ICC(2,1): how far single ratings agree, offsets between raters included.

    Two-way random effects, absolute agreement, single rater: images and raters are random samples.

    Args:
        rating_NK: ratings of N images by the same K raters, shape (N, K), N >= 2, K >= 2, none missing.

    Returns:
        1 for perfect agreement; about 0 for none; it can be a little below.

    Raises:
        InvalidInput: fewer than 2 images or raters, or a value that is NaN or infinite.
        UndefinedMetric: all ratings are the same.

    Source:
        Shrout & Fleiss, Intraclass correlations: uses in assessing rater reliability (Psychological Bulletin 86, 1979).
    """
    rating_NK = np.asarray(rating_NK, np.float64)
    if rating_NK.ndim != 2 or min(rating_NK.shape) < 2 or not np.isfinite(rating_NK).all():
        raise InvalidInput(f"ratings {rating_NK.shape} of images by raters: 2 or more of both, all finite")
    num_images, num_raters = rating_NK.shape
    mean, mean_N1, mean_K = rating_NK.mean(), rating_NK.mean(1, keepdims=True), rating_NK.mean(0)
    between_images = num_raters * float(np.square(mean_N1 - mean).sum()) / (num_images - 1)
    between_raters = num_images * float(np.square(mean_K - mean).sum()) / (num_raters - 1)
    left = float(np.square(rating_NK - mean_N1 - mean_K + mean).sum()) / ((num_images - 1) * (num_raters - 1))
    whole = between_images + (num_raters - 1) * left + num_raters * (between_raters - left) / num_images
    if np.ptp(rating_NK) == 0 or whole == 0:
        raise UndefinedMetric(f"ICC of {num_images} x {num_raters} ratings that do not differ")
    return float((between_images - left) / whole)


def forgetting(metric_EE: np.ndarray) -> float:
    """Mean loss on earlier experiences: the best value reached minus the value at the end.

    Args:
        metric_EE: row i, column j: a metric (higher is better) on experience j after learning experience i, E >= 2;
            read on and below the diagonal only.

    Returns:
        Mean over all but the last experience of (best value ever - last value); 0 or less: nothing was forgotten.

    Raises:
        InvalidInput: not a square of side 2 or more, or NaN or infinite where it is read.

    Source:
        Chaudhry et al., Riemannian Walk (arXiv:1801.10112). The last experience cannot be forgotten yet.
    """
    metric_EE = _checked_square(metric_EE)
    last = len(metric_EE) - 1
    return float(np.mean([metric_EE[j:last, j].max() - metric_EE[last, j] for j in range(last)]))


def bwt(metric_EE: np.ndarray) -> float:
    """Backward transfer: the effect of later training on earlier experiences; negative means forgetting.

    Arguments and errors are those of `forgetting`.

    Returns:
        Mean over all but the last experience of (last value - value right after learning it).

    Source:
        Lopez-Paz & Ranzato, Gradient Episodic Memory (arXiv:1706.08840).
    """
    metric_EE = _checked_square(metric_EE)
    last = len(metric_EE) - 1
    return float(np.mean([metric_EE[last, j] - metric_EE[j, j] for j in range(last)]))


def _checked_pair(score_N: np.ndarray, rating_N: np.ndarray, at_least: int) -> tuple[np.ndarray, np.ndarray]:
    score_N, rating_N = np.asarray(score_N, np.float64), np.asarray(rating_N, np.float64)
    if score_N.ndim != 1 or score_N.shape != rating_N.shape or len(score_N) < at_least:
        raise InvalidInput(
            f"scores {score_N.shape} and ratings {rating_N.shape}: one length, {at_least} or more values each"
        )
    if not (np.isfinite(score_N).all() and np.isfinite(rating_N).all()):
        raise InvalidInput("scores or ratings that are NaN or infinite")
    return score_N, rating_N


def _refuse_constant(metric: str, score_N: np.ndarray, rating_N: np.ndarray) -> None:
    for name, value_N in (("scores", score_N), ("ratings", rating_N)):
        if (value_N == value_N[0]).all():
            raise UndefinedMetric(f"{metric} of {len(value_N)} {name} that are all {value_N[0]:g}")


def _checked_square(metric_EE: np.ndarray) -> np.ndarray:
    metric_EE = np.asarray(metric_EE, np.float64)
    if metric_EE.ndim != 2 or metric_EE.shape[0] != metric_EE.shape[1] or len(metric_EE) < 2:
        raise InvalidInput(f"metrics of experiences {metric_EE.shape}: a square of side 2 or more")
    if not np.isfinite(metric_EE[np.tril_indices(len(metric_EE))]).all():
        raise InvalidInput("metrics of experiences that are NaN or infinite on or below the diagonal")
    return metric_EE
