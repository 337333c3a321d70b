"""The loss of a step: minus twice the log likelihood of ratings and comparisons, and the Fisher information of both.

Shape letters: U = users, V = images of a step, P = comparisons of a step, A = aspects. A step's V columns are images of
ratings (and of soft targets), then the first images of P comparisons, then their second ones.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from paaplus.records import DISLIKED, LIKED, PREFERS_FIRST, PREFERS_SECOND
from paaplus.scoring.comparisons import (
    LIKE_TEMPERATURE_PER_NOISE_SD,
    LOG_TIE_SHARE,
    TEMPERATURE_PER_NOISE_SD,
    TIE_WIDTH,
)


class LogLikelihood:
    """Avalanche's criterion: called with a step's scores and targets. `loss_U` are the users' losses of the last call.

    A sum over rows, not their mean, see docs/strategies.md; and over users, so that each has its own gradient.
    """

    loss_U: Tensor

    def __init__(self, noise_sd_A: Tensor, num_pairs: int) -> None:
        self.noise_sd_A, self.num_pairs = noise_sd_A, num_pairs

    def __call__(self, score_UVA: Tensor, target_UVB: Tensor) -> Tensor:
        """The summed loss. `target_UVB` has 2 A numbers an image, a weight of 0 where there is no answer.

        For a rating, the target and its weight over the noise's variance; for the first image of a comparison, the
        preference and its weight; otherwise zeros.
        """
        target_UVA, weight_UVA = target_UVB.chunk(2, dim=-1)
        first = score_UVA.shape[1] - 2 * self.num_pairs
        error_UVA = score_UVA[:, :first] - target_UVA[:, :first]
        loss_U = (weight_UVA[:, :first] * error_UVA * error_UVA).sum((1, 2))  # no square: 0 times infinity is no number
        if self.num_pairs:
            pair, second = slice(first, first + self.num_pairs), slice(first + self.num_pairs, None)
            difference_UPA = score_UVA[:, pair] - score_UVA[:, second]
            log_likelihood_UPA = log_likelihood(difference_UPA, target_UVA[:, pair], self.noise_sd_A)
            loss_U = loss_U - 2.0 * (weight_UVA[:, pair] * log_likelihood_UPA).sum((1, 2))
        self.loss_U = loss_U.detach()
        return loss_U.sum()


def log_likelihood(difference_CA: Tensor, preference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Of each answer about two images with this difference of scores, see `scoring.comparisons`; any leading axes."""
    z_CA = difference_CA / (TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    log_tie_CA = logsigmoid(z_CA + TIE_WIDTH) + logsigmoid(TIE_WIDTH - z_CA) + LOG_TIE_SHARE
    compared_CA = torch.where(
        preference_CA == PREFERS_FIRST,
        logsigmoid(z_CA - TIE_WIDTH),
        torch.where(preference_CA == PREFERS_SECOND, logsigmoid(-z_CA - TIE_WIDTH), log_tie_CA),
    )
    side_CA = (preference_CA == LIKED).to(z_CA.dtype) - (preference_CA == DISLIKED).to(z_CA.dtype)
    like_z_CA = difference_CA / (LIKE_TEMPERATURE_PER_NOISE_SD * noise_sd_A)
    return torch.where(side_CA == 0, compared_CA, logsigmoid(side_CA * like_z_CA))


def information(difference_CA: Tensor, preference_CA: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Fisher information of one answer (a like or not) about the difference: its curvature, mean over the answers."""
    is_like_CA = (preference_CA == LIKED) | (preference_CA == DISLIKED)
    like_temperature_A = LIKE_TEMPERATURE_PER_NOISE_SD * noise_sd_A
    liked_CA = torch.sigmoid(difference_CA / like_temperature_A)
    of_like_CA = liked_CA * (1.0 - liked_CA) / like_temperature_A.square()
    temperature_A = TEMPERATURE_PER_NOISE_SD * noise_sd_A
    z_CA = difference_CA / temperature_A
    over_high_CA, over_low_CA = torch.sigmoid(z_CA - TIE_WIDTH), torch.sigmoid(z_CA + TIE_WIDTH)
    # A first or a tie has the curvature at the upper threshold, a second or a tie that at the lower one.
    high_CA = over_high_CA * (1.0 - over_high_CA) * over_low_CA
    low_CA = over_low_CA * (1.0 - over_low_CA) * (1.0 - over_high_CA)
    return torch.where(is_like_CA, of_like_CA, (high_CA + low_CA) / temperature_A.square())
