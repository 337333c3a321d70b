"""Fit taste space without ratings: principal components of the features, optionally with a linearised RBF kernel.

Shape letters: I = images, D = feature dim, P = principal dims, T = anchors of the kernel (0 without a kernel), Q = T
or, without a kernel, P, R = taste space dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import eigh

from paaplus.errors import InvalidInput
from paaplus.models.extractor import FeatureBlock

MAX_PRINCIPAL_DIM = 256
MAX_ANCHORS = 768
MAX_FITTED_IMAGES = 4096
_RELATIVE_RANK = 1e-7  # eigenvalues below this share of the largest are rounding errors
_SAME_DISTANCE = 1e-9  # squared; two images closer than this count as the same


@dataclass(frozen=True)
class TasteSpace:
    """The part of a `BaseScorer` that is fitted without ratings; the arrays are described there."""

    mean_D: np.ndarray
    components_DP: np.ndarray
    anchors_TP: np.ndarray
    inverse_width: float
    map_QR: np.ndarray
    shift_R: np.ndarray

    def project(self, features_ID: np.ndarray) -> np.ndarray:
        """The taste space coordinates of images as by `BaseScorer.project`, shape (I, R), float64."""
        value_IQ = (features_ID.astype(np.float64) - self.mean_D) @ self.components_DP
        if len(self.anchors_TP):
            value_IQ = np.exp(-self.inverse_width * _squared_distances(value_IQ, self.anchors_TP))
        return value_IQ @ self.map_QR + self.shift_R

    def transformed(self, matrix_RR: np.ndarray) -> TasteSpace:
        """The space with all coordinates multiplied by a matrix."""
        return replace(self, map_QR=self.map_QR @ matrix_RR, shift_R=self.shift_R @ matrix_RR)


def fit_taste_spaces(
    features_ID: np.ndarray,
    widths: tuple[float | None, ...],
    max_taste_dim: int,
    seed: int = 0,
    blocks: Sequence[FeatureBlock] = (),
) -> list[TasteSpace]:
    """One taste space per width, scaled so that the mean squared norm of the images is 1.

    Args:
        features_ID: cached features.
        widths: of the RBF kernel, in units of the median squared distance between images; None: no kernel.
        max_taste_dim: the largest R; R is smaller if the images span fewer dimensions.
        seed: of the sample of images and anchors, if there are more than `MAX_FITTED_IMAGES` or `MAX_ANCHORS`.
        blocks: of the features, all of the same weight; empty: all features are one block.

    Raises:
        InvalidInput: all images have the same features.
    """
    rng = np.random.default_rng(seed)
    if len(features_ID) > MAX_FITTED_IMAGES:
        features_ID = features_ID[np.sort(rng.choice(len(features_ID), MAX_FITTED_IMAGES, replace=False))]
    if (features_ID == features_ID[0]).all():
        raise InvalidInput(f"all {len(features_ID)} images have the same features")
    mean_D = features_ID.mean(0, dtype=np.float64)
    centered_ID = features_ID.astype(np.float64) - mean_D
    scale_D = block_scales(centered_ID, blocks)
    components_DP = scale_D[:, None] * _principal_components(centered_ID * scale_D)
    principal_IP = centered_ID @ components_DP
    anchors_TP = principal_IP
    if len(principal_IP) > MAX_ANCHORS:
        anchors_TP = principal_IP[np.sort(rng.choice(len(principal_IP), MAX_ANCHORS, replace=False))]
    return [
        _linear(mean_D, components_DP, max_taste_dim)
        if width is None
        else _kernel(mean_D, components_DP, anchors_TP, width, max_taste_dim)
        for width in widths
    ]


def block_scales(centered_ID: np.ndarray, blocks: Sequence[FeatureBlock]) -> np.ndarray:
    """The factor of each feature, shape (D,), so that each block has a mean squared norm of 1.

    A feature or block that is the same in all images gets 0.

    Raises:
        InvalidInput: the sizes of the blocks do not add up to the number of features.
    """
    feature_dim = centered_ID.shape[1]
    blocks = blocks or (FeatureBlock(feature_dim),)
    if sum(block.size for block in blocks) != feature_dim:
        raise InvalidInput(f"blocks of {[block.size for block in blocks]} features, {feature_dim} in all")
    variance_D = np.square(centered_ID).mean(0)
    scale_D, start = np.empty(feature_dim), 0
    for block in blocks:
        part = slice(start, start + block.size)
        varies = variance_D[part] > 0
        if block.standardize:
            scale_D[part] = np.where(varies, 1.0 / np.sqrt(np.where(varies, variance_D[part], 1.0) * varies.sum()), 0.0)
        else:
            total = variance_D[part].sum()
            scale_D[part] = 1.0 / np.sqrt(total) if total > 0 else 0.0
        start += block.size
    return scale_D


def _principal_components(centered_ID: np.ndarray) -> np.ndarray:
    """The leading principal directions, shape (D, P), scaled so that the mean squared norm of the images is 1."""
    num_images, feature_dim = centered_ID.shape
    if num_images < feature_dim:  # the smaller of the two symmetric matrices has the same spectrum
        value_P, vector_IP = _leading(centered_ID @ centered_ID.T, MAX_PRINCIPAL_DIM)
        direction_DP = centered_ID.T @ (vector_IP / np.sqrt(value_P))
    else:
        value_P, direction_DP = _leading(centered_ID.T @ centered_ID, MAX_PRINCIPAL_DIM)
    return direction_DP / np.sqrt(value_P.sum() / num_images)


def _linear(mean_D: np.ndarray, components_DP: np.ndarray, max_taste_dim: int) -> TasteSpace:
    kept_DP = components_DP[:, :max_taste_dim]
    dim = kept_DP.shape[1]
    return TasteSpace(mean_D, kept_DP, np.empty((0, dim)), 0.0, np.eye(dim), np.zeros(dim))


def _kernel(
    mean_D: np.ndarray, components_DP: np.ndarray, anchors_TP: np.ndarray, width: float, max_taste_dim: int
) -> TasteSpace:
    """Kernel principal components of the anchors; the Nystroem approximation for all other images."""
    distance_TT = _squared_distances(anchors_TP, anchors_TP)
    num_anchors = len(anchors_TP)
    pairs = distance_TT[np.triu_indices(num_anchors, 1)]
    inverse_width = 1.0 / (width * float(np.median(pairs[pairs > _SAME_DISTANCE])))
    kernel_TT = np.exp(-inverse_width * distance_TT)
    mean_T = kernel_TT.mean(0)
    centered_TT = kernel_TT - mean_T - mean_T[:, None] + mean_T.mean()
    value_R, vector_TR = _leading(centered_TT, max_taste_dim)
    map_TR = vector_TR / np.sqrt(value_R * np.trace(centered_TT) / num_anchors)
    map_TR -= map_TR.mean(0)  # with the shift, this centres the images in the kernel's space
    return TasteSpace(mean_D, components_DP, anchors_TP, inverse_width, map_TR, -mean_T @ map_TR)


def _leading(symmetric_NN: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest eigenvalues, in decreasing order, and their vectors; each vector's largest entry is positive."""
    size = len(symmetric_NN)
    value_K, vector_NK = eigh(symmetric_NN, subset_by_index=(max(0, size - count), size - 1))
    value_K, vector_NK = value_K[::-1], vector_NK[:, ::-1]
    real_K = value_K > max(value_K[0], 0.0) * _RELATIVE_RANK
    value_K, vector_NK = value_K[real_K], vector_NK[:, real_K]
    largest_K = np.abs(vector_NK).argmax(0)
    return value_K, vector_NK * np.sign(vector_NK[largest_K, np.arange(len(value_K))])


def _squared_distances(x_NP: np.ndarray, y_MP: np.ndarray) -> np.ndarray:
    norm_NM = np.square(x_NP).sum(1)[:, None] + np.square(y_MP).sum(1)
    return np.maximum(norm_NM - 2.0 * x_NP @ y_MP.T, 0.0)
