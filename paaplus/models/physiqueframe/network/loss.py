"""The training loss of PhysiqueFrame: squared errors of the aspects, optionally weighted by learned uncertainty.

Shape letters: B = images, A = aspects.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AspectLoss(nn.Module):
    """Mean over images of the sum over aspects of `exp(-s) * (truth - score)^2 + s`.

    `s` is a learned log-variance per aspect; the optimiser must get this module's parameters. In the published training
    it does not, so `s` stays 0 and the loss is the plain sum; `weighted=False` gives this loss without parameters. An
    aspect without a label (NaN) is left out.

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
