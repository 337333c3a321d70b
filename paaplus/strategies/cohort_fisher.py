"""Fisher information of every member's new feedback, in closed form: `sensitivity.py` for a stack of users.

Shape letters: U = users, V = images (rows, then second images of comparisons), P = comparisons, A = aspects,
S = parameters of one user.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paaplus.strategies.cohort_steps import Stack
from paaplus.strategies.comparisons import information


@torch.no_grad()
def fisher_of_new(stack: Stack) -> Tensor:
    """Diagonal Fisher information of ratings and comparisons, summed over rows, at the present parameters, (U, S)."""
    bank, new, noise_sd_A = stack.bank, stack.new, stack.noise_sd_A
    rated_UVA = ~torch.isnan(new.target_UVA)
    weight_UVA = torch.where(rated_UVA, new.weight_UV[..., None] / noise_sd_A.square(), 0.0)
    images = stack.taste_TR[new.image_UV], stack.generic_TA[new.image_UV]
    if not new.slot_UP.shape[1]:
        return bank.curvature(weight_UVA, images)
    score_UVA = stack.scores(new.image_UV)
    slot_UPA = new.slot_UP[..., None].expand_as(new.preference_UPA)
    difference_UPA = score_UVA.gather(1, slot_UPA) - score_UVA[:, new.num_rows :]
    said_UPA = ~torch.isnan(new.preference_UPA)
    pair_weight_UP1 = new.weight_UV.gather(1, new.slot_UP)[..., None]
    compared_UPA = torch.where(said_UPA, pair_weight_UP1 * information(difference_UPA, noise_sd_A), 0.0)
    # The first image of a comparison has no target, so that a row counts as one or the other.
    weight_UVA.scatter_add_(1, slot_UPA, compared_UPA)
    weight_UVA[:, new.num_rows :] = compared_UPA
    # (first - second)^2 = first^2 + second^2 - 2 first second; rounding may leave a trace below 0.
    first = tuple(each.gather(1, new.slot_UP[..., None].expand(-1, -1, each.shape[2])) for each in images)
    second = tuple(each[:, new.num_rows :] for each in images)
    squares_US = bank.curvature(weight_UVA, images)
    return (squares_US - 2.0 * bank.curvature(compared_UPA, first, second)).clamp_(min=0.0)
