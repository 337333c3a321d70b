"""Importances of every member's new feedback, in closed form: `sensitivity.py` and `mas.py` for a stack of users.

Shape letters: U = users, V = rows of new feedback, A = aspects, S = parameters of one user.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paaplus.strategies.cohort_steps import NewRows, Stack
from paaplus.strategies.comparisons import information


@torch.no_grad()
def fisher_of_new(stack: Stack) -> Tensor:
    """Diagonal Fisher information of ratings and comparisons, summed over rows, at the present parameters, (U, S)."""
    total_US = torch.zeros_like(stack.bank.gradient_US)
    for new in stack.new:
        total_US += _fisher(stack, new)
    return total_US.clamp_(min=0.0)  # rounding may leave a trace below 0


def _fisher(stack: Stack, new: NewRows) -> Tensor:
    bank, noise_sd_A = stack.bank, stack.noise_sd_A
    rated_UVA = torch.where(torch.isnan(new.target_UVA), 0.0, new.weight_UV[..., None] / noise_sd_A.square())
    first = stack.images(new.image_UV)
    if not stack.has_comparisons:
        return bank.curvature(rated_UVA, first)
    second = stack.images(new.other_UV)
    difference_UVA = stack.scores(new.image_UV) - stack.scores(new.other_UV)
    of_one_UVA = new.weight_UV[..., None] * information(difference_UVA, noise_sd_A)
    compared_UVA = torch.where(torch.isnan(new.preference_UVA), 0.0, of_one_UVA)
    # (first - second)^2 = first^2 + second^2 - 2 first second. A row counts as one or the other.
    squares_US = bank.curvature(rated_UVA + compared_UVA, first) + bank.curvature(compared_UVA, second)
    return squares_US - 2.0 * bank.curvature(compared_UVA, first, second)


@torch.no_grad()
def sensitivity_of_new(stack: Stack) -> Tensor:
    """How much each parameter moves the scores of the images that new feedback is about, summed over them, (U, S)."""
    total_US = torch.zeros_like(stack.bank.gradient_US)
    for new in stack.new:
        is_said_UVA = ~(torch.isnan(new.target_UVA) & torch.isnan(new.preference_UVA))
        weight_UVA = is_said_UVA * new.weight_UV[..., None] / stack.noise_sd_A
        total_US += stack.bank.sensitivity(weight_UVA, stack.images(new.image_UV))
        if stack.has_comparisons:
            weight_UVA = torch.where((new.other_UV == stack.nowhere)[..., None], 0.0, weight_UVA)
            total_US += stack.bank.sensitivity(weight_UVA, stack.images(new.other_UV))
    return total_US
