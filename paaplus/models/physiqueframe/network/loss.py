"""What PhysiqueFrame is trained to minimise: squared errors of the aspects, weighed by learned uncertainty or not.

Shape letters: B = images, A = aspects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AspectLoss(nn.Module):
    """Mean over images of the sum over aspects of `exp(-s) * (truth - score)^2 + s`.

    `s` is a learned log-variance per aspect: give this module's parameters to the optimiser. (The published training
    does not, so its `s` stay 0 and its loss is the plain sum; `weighted=False` is that, without parameters.)
    An aspect that an image has no label for (NaN) is left out.

    Source: Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses".
    """

    def __init__(self, num_aspects: int, weighted: bool = True) -> None:
        super().__init__()
        self.log_variance_A = nn.Parameter(torch.zeros(num_aspects)) if weighted else None

    def forward(self, score_BA: Tensor, truth_BA: Tensor) -> Tensor:
        known_BA = ~truth_BA.isnan()
        error_BA = (score_BA - torch.where(known_BA, truth_BA, score_BA)) ** 2
        if self.log_variance_A is not None:
            error_BA = torch.exp(-self.log_variance_A) * error_BA + self.log_variance_A
        return torch.where(known_BA, error_BA, 0.0).sum(1).mean()
