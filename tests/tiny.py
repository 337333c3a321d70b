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
    ones_A = np.ones(num_aspects, np.float32)
    return BaseScorer(
        name="tiny",
        aspects=aspects,
        extractor_digest="e" * 64,
        mean_D=np.zeros(FEATURE_DIM, np.float32),
        components_DP=(rng.normal(size=(FEATURE_DIM, TASTE_DIM)) / np.sqrt(FEATURE_DIM)).astype(np.float32),
        anchors_TP=np.empty((0, TASTE_DIM), np.float32),
        inverse_width=1.0,
        map_QR=(np.eye(TASTE_DIM) / np.sqrt(TASTE_DIM)).astype(np.float32),
        shift_R=np.zeros(TASTE_DIM, np.float32),
        head_weight_RA=(1.0 * rng.normal(size=(TASTE_DIM, num_aspects))).astype(np.float32),
        head_bias_A=5.0 * ones_A,
        prior_sd_A=4.0 * ones_A,
        noise_sd_A=0.5 * ones_A,
        offset_sd_A=1.0 * ones_A,
        slope_sd_A=0.3 * ones_A,
    )
