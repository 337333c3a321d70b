"""Elastic weight consolidation for regression: online EWC with a Gauss-Newton Fisher that can be taken back.

Shape letters: N = rows, A = aspects, M = ratings that the importances saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from paaplus.strategies.avalanche_names import EWCPlugin, ParamData
from paaplus.strategies.datasets import RatedData
from paaplus.strategies.modules import AdapterModule, Elementwise
from paaplus.strategies.template import RegressionStrategy


def gauss_newton_fisher(module: AdapterModule, data: RatedData, noise_sd_A: Tensor) -> dict[str, Tensor]:
    """Diagonal Fisher information of the Gaussian rating likelihood, summed over rows, per parameter name.

    `F_j = sum over rows and rated aspects of weight * (d score / d parameter_j)^2 / noise_sd^2`. Unlike the squared
    gradient of the minibatch loss (stock EWC) it depends neither on the batch size nor on how small the residuals
    have become. Every parameter sits in a linear layer or an elementwise weight, where a row's squared gradient is
    the product of the squared gradient at the output and the squared input: no per-row backward pass is needed.
    """
    x, target_NA, weight_N, _ = data.tensors
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    hooks = []
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | Elementwise):

            def remember(_: nn.Module, args: tuple[Tensor, ...], output: Tensor, name: str = name) -> None:
                inputs[name], outputs[name] = args[0].detach(), output

            hooks.append(layer.register_forward_hook(remember))
    try:
        score_NA = module(x)
    finally:
        for hook in hooks:
            hook.remove()
    fisher = {name: torch.zeros_like(parameter) for name, parameter in module.named_parameters()}
    layers = dict(module.named_modules())
    precision_NA = torch.where(torch.isnan(target_NA), 0.0, weight_N[:, None] / noise_sd_A.square())
    for a in range(score_NA.shape[1]):
        gradients = torch.autograd.grad(score_NA[:, a].sum(), list(outputs.values()), retain_graph=True)
        for name, gradient in zip(outputs, gradients, strict=True):
            square = gradient.square() * precision_NA[:, a : a + 1]
            if isinstance(layers[name], Elementwise):
                fisher[f"{name}.weight"] += (square * inputs[name].square()).sum(0)
                continue
            fisher[f"{name}.weight"] += square.T @ inputs[name].square()
            if layers[name].bias is not None:
                fisher[f"{name}.bias"] += square.sum(0)
    return fisher


class Consolidation(EWCPlugin):
    """Avalanche's online EWC, going on where the parent's learner state ended.

    The penalty is `ewc_lambda / num_rows * sum(fisher * (parameter - anchor)^2)` with the fisher summed over all
    earlier increments, each `ewc_decay` times as heavy as the next. With lambda and decay at 1 that is the diagonal
    Laplace approximation of the earlier ratings. The anchor is the parent itself, so it is not stored.
    """

    def __init__(self, ewc_lambda: float, ewc_decay: float, noise_sd_A: Tensor) -> None:
        super().__init__(ewc_lambda, mode="online", decay_factor=ewc_decay)
        self.ewc_lambda_total = ewc_lambda
        self.noise_sd_A = noise_sd_A
        self.sequence_M = np.empty(0, np.int64)
        self.increment_M = np.empty(0, np.int32)
        self.num_increments = 0

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        # The stock plugin counts experiences by the strategy's clock, which starts at 0 in every run.
        strategy.clock.train_exp_counter = self.num_increments
        self.ewc_lambda = self.ewc_lambda_total / strategy.num_rows

    def after_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        new_M = strategy.experience.dataset.sequence_N.cpu().numpy()
        self.sequence_M = np.concatenate([self.sequence_M, new_M])
        self.increment_M = np.concatenate([self.increment_M, np.full(len(new_M), self.num_increments, np.int32)])
        self.num_increments += 1

    def compute_importances(
        self,
        model: AdapterModule,
        criterion: object,
        optimizer: object,
        dataset: RatedData,
        device: torch.device,
        batch_size: int,
        num_workers: int = 0,
    ) -> dict[str, ParamData]:
        """Replaces the stock computation; the signature is Avalanche's."""
        return _as_param_data(gauss_newton_fisher(model, dataset, self.noise_sd_A.to(device)))

    def arrays(self) -> dict[str, np.ndarray]:
        last = self.importances[self.num_increments - 1] if self.num_increments else {}
        fisher = {f"fisher.{name}": value.data.cpu().numpy() for name, value in last.items()}
        return {
            **fisher,
            "fisher_sequence_M": self.sequence_M,
            "fisher_increment_M": self.increment_M,
            "fisher_num_increments": np.array([self.num_increments], np.int32),
        }

    def restore(self, arrays: Mapping[str, np.ndarray], past: RatedData, parent: AdapterModule) -> None:
        """Take up the importances of `arrays`, anchored at `parent`.

        When ratings that they saw are no longer in `past`, they are computed anew from the ones that are: a
        retracted rating must not go on protecting what it taught.
        """
        if "fisher_num_increments" not in arrays:
            return
        self.num_increments = int(arrays["fisher_num_increments"][0])
        present_M = np.isin(arrays["fisher_sequence_M"], past.sequence_N.cpu().numpy())
        self.sequence_M = arrays["fisher_sequence_M"][present_M]
        self.increment_M = arrays["fisher_increment_M"][present_M]
        if present_M.all():
            device = next(parent.parameters()).device
            fisher = {
                name: torch.from_numpy(arrays[f"fisher.{name}"]).to(device) for name, _ in parent.named_parameters()
            }
        else:
            fisher = self._fisher_anew(past, parent)
        last = self.num_increments - 1
        self.importances[last] = _as_param_data(fisher)
        self.saved_params[last] = _as_param_data(
            {name: parameter.detach().clone() for name, parameter in parent.named_parameters()}
        )

    def _fisher_anew(self, past: RatedData, parent: AdapterModule) -> dict[str, Tensor]:
        total = {name: torch.zeros_like(parameter) for name, parameter in parent.named_parameters()}
        for increment in np.unique(self.increment_M):
            wanted = torch.from_numpy(self.sequence_M[self.increment_M == increment]).to(past.sequence_N.device)
            data = past.subset(torch.isin(past.sequence_N, wanted).nonzero()[:, 0])
            decay = float(self.decay_factor) ** (self.num_increments - 1 - int(increment))
            for name, value in gauss_newton_fisher(parent, data, self.noise_sd_A).items():
                total[name] += decay * value
        return total


def _as_param_data(tensors: Mapping[str, Tensor]) -> dict[str, ParamData]:
    return {
        name: ParamData(name, value.shape, init_tensor=value.detach(), device=value.device)
        for name, value in tensors.items()
    }
