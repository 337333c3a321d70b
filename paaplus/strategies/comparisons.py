"""The likelihood of a comparison (`scoring.comparisons`) for training: with gradients, and its Fisher information.

Shape letters: C = comparisons, A = aspects. Preferences are 1 (first), 0 (second), 0.5 (tie), NaN (nothing said).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paaplus.records import PREFERS_FIRST, PREFERS_SECOND
from paaplus.scoring.comparisons import LOG_TIE_SHARE, TEMPERATURE_PER_NOISE_SD, TIE_WIDTH


def comparison_loss(difference_CA: Tensor, preference_CA: Tensor, weight_C: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Minus twice the weighted log likelihood, summed; what was not said adds nothing and has no gradient.

    Args:
        difference_CA: score of the first image minus that of the second.
        preference_CA: what the person said.
        weight_C: how much each comparison counts.
        noise_sd_A: of a rating.
    """
    return -2.0 * (weight_C[:, None] * log_likelihood_of_said(difference_CA, preference_CA, noise_sd_A)).sum()


def log_likelihood_of_said(difference_CA: Tensor, preference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Of each answer, with a gradient; 0 where nothing was said. Any number of axes before that of aspects."""
    said_CA = ~torch.isnan(preference_CA)
    z_CA = torch.where(said_CA, difference_CA, 0.0) / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    log_tie_CA = logsigmoid(z_CA + TIE_WIDTH) + logsigmoid(TIE_WIDTH - z_CA) + LOG_TIE_SHARE
    log_likelihood_CA = torch.where(
        preference_CA == PREFERS_FIRST,
        logsigmoid(z_CA - TIE_WIDTH),
        torch.where(preference_CA == PREFERS_SECOND, logsigmoid(-z_CA - TIE_WIDTH), log_tie_CA),
    )
    return torch.where(said_CA, log_likelihood_CA, 0.0)


def information(difference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Fisher information of one comparison about the difference: the curvature, mean over the three answers."""
    temperature_A = TEMPERATURE_PER_NOISE_SD * noise_sd_A
    z_CA = difference_CA / temperature_A
    over_high_CA, over_low_CA = torch.sigmoid(z_CA - TIE_WIDTH), torch.sigmoid(z_CA + TIE_WIDTH)
    # A first or a tie has the curvature at the upper threshold, a second or a tie that at the lower one.
    high_CA = over_high_CA * (1.0 - over_high_CA) * over_low_CA
    low_CA = over_low_CA * (1.0 - over_low_CA) * (1.0 - over_high_CA)
    return (high_CA + low_CA) / temperature_A.square()
