"""A base model of a few numbers, with the real class, for tests that need one but not its quality."""

from __future__ import annotations

import numpy as np

from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.frame_heads import FrameHeads

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


def tiny_heads(feature_dim: int = FEATURE_DIM) -> FrameHeads:
    """PhysiqueFrame's three heads, random but fixed, with a preference of 5 values; branches of 4, 4 and the rest."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in (
        (3, feature_dim + 5, 8), (3, 8), (3, 8, 6), (3, 6), (3, 6), (3,)
    )]  # fmt: skip
    absent_E = rng.normal(size=feature_dim - 4).astype(np.float16)
    branches = (("image", 4), ("posture", 4), ("mesh", feature_dim - 8))
    return FrameHeads(("appearance", "health", "posture"), 5, *arrays, branches=branches, absent_E=absent_E)


def frame_base(aspects: tuple[str, ...] = ("appearance", "posture")) -> BaseScorer:
    """The tiny base model with PhysiqueFrame's heads, so that its scores take a preference."""
    return tiny_base(aspects).with_heads(tiny_heads())
