"""A verbal scale read as a number: shares of five levels, from logits or answers, and their expectation.

Source:
    The read-out of the NTIRE 2024 champion on the quality of generated images; as in LIQE and Q-Align.
Shape letters: V = views of an image, 5 = levels from the worst to the best.
"""

from __future__ import annotations

import numpy as np

NUM_LEVELS = 5
MAX_SCORE = 5.0


def level_shares(patch_V5: np.ndarray, whole_5: np.ndarray) -> np.ndarray:
    """Shares of the levels: the mean of what the patches say together and of what the whole view says, shape (5,)."""
    return (_softmax(patch_V5.astype(np.float64).mean(0)) + _softmax(whole_5.astype(np.float64))) / 2.0


def expected_level(share_5: np.ndarray) -> float:
    """The expectation, 0 (all in the worst level) to 5."""
    return float((share_5 @ np.arange(NUM_LEVELS)) / (NUM_LEVELS - 1) * MAX_SCORE)


def _softmax(logit_5: np.ndarray) -> np.ndarray:
    share_5 = np.exp(logit_5 - logit_5.max())
    return share_5 / share_5.sum()
