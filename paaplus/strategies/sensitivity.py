"""How strongly each parameter moves the scores of rows, in closed form, and the Fisher information made of it.

Every parameter sits in a linear layer or an elementwise weight, where a row's gradient is the product of the gradient
at the layer's output and the layer's input: no backward pass per row is needed.
Shape letters: V = images, A = aspects, N = rows, P = comparisons, O = outputs and I = inputs of a layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from paaplus.strategies.comparisons import information
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.modules import AdapterModule, Elementwise


@dataclass(frozen=True)
class LayerGradient:
    """Gradients of one aspect's scores at one layer; that of a weight is their outer product, image by image."""

    layer: nn.Module
    name: str
    output_VO: Tensor
    input_VI: Tensor


def layer_gradients(module: AdapterModule, x: Tensor) -> tuple[Tensor, Iterator[tuple[int, LayerGradient]]]:
    """Scores of images, shape (V, A), and per aspect and layer what their gradients are made of."""
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    layers = {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear | Elementwise)}

    def remember(name: str) -> object:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            inputs[name], outputs[name] = args[0].detach(), output

        return hook

    hooks = [layer.register_forward_hook(remember(name)) for name, layer in layers.items()]
    try:
        score_VA = module(x)
    finally:
        for hook in hooks:
            hook.remove()

    def gradients() -> Iterator[tuple[int, LayerGradient]]:
        for a in range(score_VA.shape[1]):
            by_output = torch.autograd.grad(score_VA[:, a].sum(), list(outputs.values()), retain_graph=True)
            for name, output_VO in zip(outputs, by_output, strict=True):
                yield a, LayerGradient(layers[name], name, output_VO, inputs[name])

    return score_VA, gradients()


def gauss_newton_fisher(module: AdapterModule, data: FeedbackData, noise_sd_A: Tensor) -> dict[str, Tensor]:
    """Diagonal Fisher information of the likelihood of ratings and comparisons, summed over rows, per parameter name.

    `F_j = sum over rows and aspects of weight * information * (d value / d parameter_j)^2`; the value of a rating is
    the score, its information 1 / noise_sd^2, the value of a comparison the difference of the two scores. Unlike the
    squared gradient of the minibatch loss (stock EWC) it depends neither on the batch size nor on how small the
    residuals have become.
    """
    columns, num_rows = data.columns, len(data)
    score_VA, gradients = layer_gradients(module, data.images())
    pair_P = columns.is_comparison_N.nonzero()[:, 0]
    rating_NA = torch.where(torch.isnan(columns.target_NA), 0.0, columns.weight_N[:, None] / noise_sd_A.square())
    difference_PA = score_VA.detach()[pair_P] - score_VA.detach()[num_rows:]
    said_PA = ~torch.isnan(columns.preference_NA[pair_P])
    compared_PA = said_PA * columns.weight_N[pair_P, None] * information(difference_PA, noise_sd_A)
    # The first image of a comparison has no target, so that a row counts as one or the other.
    image_VA = torch.cat([rating_NA.index_add(0, pair_P, compared_PA), compared_PA])
    fisher = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
    for a, gradient in gradients:
        add_products(fisher, gradient, image_VA[:, a], squared=True)
        if len(pair_P):
            # (first - second)^2 = first^2 + second^2 - 2 first second; the last is what is missing
            both_PO = gradient.output_VO[pair_P] * gradient.output_VO[num_rows:]
            both_PI = gradient.input_VI[pair_P] * gradient.input_VI[num_rows:]
            product = LayerGradient(gradient.layer, gradient.name, both_PO, both_PI)
            add_products(fisher, product, -2.0 * compared_PA[:, a], squared=False)
    return {name: value.clamp(min=0.0) for name, value in fisher.items()}  # rounding may leave a trace below 0


def add_products(total: dict[str, Tensor], gradient: LayerGradient, weight_V: Tensor, *, squared: bool) -> None:
    """Add the weighted sum over images of a layer's gradients, or of their squares, to `total`, by parameter name."""
    output_VO, input_VI = gradient.output_VO, gradient.input_VI
    if squared:
        output_VO, input_VI = output_VO.square(), input_VI.square()
    output_VO = output_VO * weight_V[:, None]
    if isinstance(gradient.layer, Elementwise):
        total[f"{gradient.name}.weight"] += (output_VO * input_VI).sum(0)
        return
    total[f"{gradient.name}.weight"] += output_VO.T @ input_VI
    if gradient.layer.bias is not None:
        total[f"{gradient.name}.bias"] += output_VO.sum(0)
