"""The generic head: ridge regression from taste space to the mean rating of an image.

Cross-validation over images chooses the kernel, its width and the ridge; images of one scene are in one fold.

Shape letters: I = images, D = feature dim, R = taste space dim, A = aspects, N = ratings, U = people, L = ridges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.models.extractor import FeatureBlock
from paaplus.models.taste_space import fit_taste_spaces

WIDTHS: tuple[float | None, ...] = (None, 2.0, 1.0, 0.5)
RIDGES_L = np.geomspace(1e-3, 30.0, 15)
NUM_FOLDS = 5
MAX_CV_IMAGES = 2048
_HALF_WEIGHT_RATINGS = 3.0  # of an image; with more, the features' error outweighs the noise of its mean rating
_OFFSET_SHRINKAGE_RATINGS = 2.0  # ratings at which a person's mean deviation counts half
_MIN_VARIANCE = 1e-4  # of disagreement and error


@dataclass(frozen=True)
class Crowd:
    """Mean ratings of images over all people, without people's offsets.

    Attributes:
        mean_IA: mean of `rating - offset`; NaN for an image without ratings.
        num_ratings_IA: ratings of each image.
        offset_UA: each person's mean deviation from the mean rating, shrunk where ratings are few.
        disagreement_A: variance of the ratings around their image's mean.
    """

    mean_IA: np.ndarray
    num_ratings_IA: np.ndarray
    offset_UA: np.ndarray
    disagreement_A: np.ndarray

    def weight_I(self, aspect: int) -> np.ndarray:
        """Weight of each image's mean in the fit; 0 without ratings, 1 on average over the rated images."""
        num_I = self.num_ratings_IA[:, aspect]
        raw_I = num_I / (num_I + _HALF_WEIGHT_RATINGS)
        return raw_I / raw_I[num_I > 0].mean()


@dataclass(frozen=True)
class HeadChoice:
    """The choice of cross-validation.

    Attributes:
        width: of the kernel; None: no kernel.
        ridge_A: the ridge of each aspect.
        held_out_IA: each image's generic score by a head that was not fitted on its scene.
        error_variance_A: weighted mean squared error of these scores.
    """

    width: float | None
    ridge_A: np.ndarray
    held_out_IA: np.ndarray
    error_variance_A: np.ndarray

    def others_N(
        self, crowd: Crowd, person_N: np.ndarray, image_N: np.ndarray, score_N: np.ndarray, aspect: int
    ) -> np.ndarray:
        """The other people's mean rating of each rated image, shrunk to the held-out score where they are few.

        Args:
            crowd: mean ratings of the same people and images.
            person_N: position of the person who gave the rating.
            image_N: position of the rated image.
            score_N: the rating, which is left out of the mean.
            aspect: position of the aspect.
        """
        mean_N, count_N = crowd.mean_IA[image_N, aspect], crowd.num_ratings_IA[image_N, aspect] - 1.0
        neutral_N = score_N - crowd.offset_UA[person_N, aspect]
        others_N = mean_N + (mean_N - neutral_N) / np.maximum(count_N, 1.0)
        held_out_N = self.held_out_IA[image_N, aspect]
        held_out_N = np.where(np.isnan(held_out_N), mean_N, held_out_N)
        trust_N = count_N / (count_N + crowd.disagreement_A[aspect] / self.error_variance_A[aspect])
        return held_out_N + trust_N * (others_N - held_out_N)


def crowd_means(person_N: np.ndarray, image_N: np.ndarray, score_NA: np.ndarray, num_images: int) -> Crowd:
    """Fit the mean ratings of `num_images` images.

    Args:
        person_N: position of the person of each rating.
        image_N: position of the image of each rating.
        score_NA: ratings; NaN where an aspect was not rated.
        num_images: number of images, rated or not.
    """
    mean_IA = np.full((num_images, score_NA.shape[1]), np.nan)
    count_IA = np.zeros((num_images, score_NA.shape[1]))
    offset_UA = np.zeros((int(person_N.max()) + 1, score_NA.shape[1]))
    disagreement_A = np.zeros(score_NA.shape[1])
    for a, score_N in enumerate(score_NA.T):
        given = ~np.isnan(score_N)
        person, image, score = person_N[given], image_N[given], score_N[given].astype(np.float64)
        num_by_person_U = np.bincount(person, minlength=len(offset_UA))
        deviation_U = np.bincount(person, score - score.mean(), minlength=len(offset_UA))
        offset_UA[:, a] = deviation_U / (num_by_person_U + _OFFSET_SHRINKAGE_RATINGS)
        neutral = score - offset_UA[person, a]
        count_IA[:, a] = np.bincount(image, minlength=num_images)
        rated_I = count_IA[:, a] > 0
        mean_IA[rated_I, a] = np.bincount(image, neutral, minlength=num_images)[rated_I] / count_IA[rated_I, a]
        num_free = max(len(score) - int(rated_I.sum()), 1)
        disagreement_A[a] = max(np.square(neutral - mean_IA[image, a]).sum() / num_free, _MIN_VARIANCE)
    return Crowd(mean_IA, count_IA, offset_UA, disagreement_A)


def choose_head(
    features_ID: np.ndarray,
    crowd: Crowd,
    fold_I: np.ndarray,
    max_taste_dim: int,
    blocks: Sequence[FeatureBlock] = (),
) -> HeadChoice:
    """Choose width and ridge by cross-validation: the lowest weighted squared error relative to the aspect's variance.

    Args:
        features_ID: cached features.
        crowd: mean ratings of the same images.
        fold_I: the fold in which an image is held out, the same for images of one scene. -1: never held out.
        max_taste_dim: the largest R.
        blocks: of the features, see `fit_taste_spaces`.
    """
    num_images, num_aspects = crowd.mean_IA.shape
    held_out_WLIA = np.full((len(WIDTHS), len(RIDGES_L), num_images, num_aspects), np.nan)
    for fold in np.unique(fold_I[fold_I >= 0]):
        out_I = fold_I == fold
        spaces = fit_taste_spaces(features_ID[~out_I], WIDTHS, max_taste_dim, blocks=blocks)
        for w, space in enumerate(spaces):
            taste_IR = space.project(features_ID)
            for a in range(num_aspects):
                train_I = ~out_I & (crowd.num_ratings_IA[:, a] > 0)
                weight_RL, bias_L = ridge_regression(
                    taste_IR[train_I], crowd.mean_IA[train_I, a], crowd.weight_I(a)[train_I], RIDGES_L
                )
                held_out_WLIA[w, :, out_I, a] = taste_IR[out_I] @ weight_RL + bias_L
    error_WLA = np.empty((*held_out_WLIA.shape[:2], num_aspects))
    variance_A = np.empty(num_aspects)
    for a in range(num_aspects):
        measured_I = (fold_I >= 0) & (crowd.num_ratings_IA[:, a] > 0)
        weight_I, mean_I = crowd.weight_I(a)[measured_I], crowd.mean_IA[measured_I, a]
        error_WLI = np.square(held_out_WLIA[:, :, measured_I, a] - mean_I)
        error_WLA[:, :, a] = np.average(error_WLI, axis=2, weights=weight_I)
        variance_A[a] = np.average(np.square(mean_I - np.average(mean_I, weights=weight_I)), weights=weight_I)
    best_WA = error_WLA.min(1)
    best = int((best_WA / np.maximum(variance_A, 1e-9)).sum(1).argmin())
    ridge_A = error_WLA[best].argmin(0)
    held_out_IA = np.stack([held_out_WLIA[best, ridge_A[a], :, a] for a in range(num_aspects)], axis=1)
    return HeadChoice(WIDTHS[best], RIDGES_L[ridge_A], held_out_IA, np.maximum(best_WA[best], _MIN_VARIANCE))


def fit_head(taste_IR: np.ndarray, crowd: Crowd, ridge_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit the generic head on all rated images: weights (R, A) and biases (A,)."""
    heads = []
    for a, ridge in enumerate(ridge_A):
        rated_I = crowd.num_ratings_IA[:, a] > 0
        heads.append(
            ridge_regression(
                taste_IR[rated_I], crowd.mean_IA[rated_I, a], crowd.weight_I(a)[rated_I], np.array([ridge])
            )
        )
    return np.concatenate([weight for weight, _ in heads], axis=1), np.concatenate([bias for _, bias in heads])


def ridge_regression(
    x_IR: np.ndarray, y_I: np.ndarray, weight_I: np.ndarray, ridge_L: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted ridge regression with an unpenalised intercept, for every ridge: weights (R, L), intercepts (L,)."""
    mean_R, mean = np.average(x_IR, axis=0, weights=weight_I), np.average(y_I, weights=weight_I)
    centered_IR = x_IR - mean_R
    value_R, vector_RR = np.linalg.eigh(centered_IR.T @ (weight_I[:, None] * centered_IR))
    moment_R = vector_RR.T @ (centered_IR.T @ (weight_I * (y_I - mean)))
    weight_RL = vector_RR @ (moment_R[:, None] / (np.maximum(value_R, 0.0)[:, None] + ridge_L))
    return weight_RL, mean - mean_R @ weight_RL


def assign_folds(group_I: np.ndarray, seed: int = 0) -> np.ndarray:
    """Assign each image to a fold so that scenes stay together and folds have similar sizes; -1 beyond `MAX_CV_IMAGES`.

    Args:
        group_I: the scene of each image, any integers.
        seed: of the order in which scenes are assigned.
    """
    groups, index_I, size_G = np.unique(group_I, return_inverse=True, return_counts=True)
    num_folds = min(NUM_FOLDS, len(groups))
    fold_G = np.full(len(groups), -1)
    size_F = np.zeros(num_folds)
    for group in np.random.default_rng(seed).permutation(len(groups)):
        if size_F.sum() >= MAX_CV_IMAGES:
            break
        fold_G[group] = size_F.argmin()
        size_F[fold_G[group]] += size_G[group]
    return fold_G[index_I]
