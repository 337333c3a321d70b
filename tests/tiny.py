"""A base model of a few numbers, with the real class, for tests that need one but not its quality."""

from __future__ import annotations

import numpy as np

from paaplus.scoring.base import BaseScorer

FEATURE_DIM = 12
TASTE_DIM = 6


def tiny_base(aspects: tuple[str, ...] = ("beauty",), seed: int = 0) -> BaseScorer:
    """Random but fixed: features of dim 12, taste space of dim 6."""
    rng = np.random.default_rng(seed)
    num_aspects = len(aspects)
    ones_A = np.ones(num_aspects)
    return BaseScorer(
        name="tiny",
        aspects=aspects,
        extractor_digest="e" * 64,
        mean_D=np.zeros(FEATURE_DIM),
        scale_D=np.ones(FEATURE_DIM),
        projection_DR=rng.normal(size=(FEATURE_DIM, TASTE_DIM)) / np.sqrt(FEATURE_DIM * TASTE_DIM),
        head_weight_RA=2.0 * rng.normal(size=(TASTE_DIM, num_aspects)),
        head_bias_A=5.0 * ones_A,
        prior_sd_A=3.0 * ones_A,
        noise_sd_A=0.5 * ones_A,
        offset_sd_A=1.0 * ones_A,
        slope_sd_A=0.3 * ones_A,
        anchors_TR=np.empty((0, TASTE_DIM)),
        anchor_weight_TA=np.empty((0, num_aspects)),
        anchor_inverse_width=1.0,
    )
