"""Synaptic intelligence's importances: how much each parameter's way lowered the loss.

Stock SI keeps views of the live parameters on a CPU, so that every move, and with it every importance, is zero.

Source: Zenke et al., "Continual learning through synaptic intelligence" (arXiv:1703.04200).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paaplus.strategies.avalanche_names import ParamData
from paaplus.strategies.consolidation import Consolidation, as_param_data
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import Run
from paaplus.strategies.modules import AdapterModule
from paaplus.strategies.sensitivity import gauss_newton_fisher
from paaplus.strategies.template import RegressionStrategy

_DAMPING = 0.01  # in squared prior standard deviations: a parameter that hardly moved has said nothing


class PathIntegral(Consolidation):
    """Consolidation whose importances are `path / (distance^2 + damping)`.

    The path is how much the data's part of the loss fell along a parameter's way through an increment, in units of
    minus twice the log likelihood. Of a quadratic loss that is its curvature, the Fisher information: a strength of 1
    means the same as with EWC. A way cannot be walked again without a rating, so when feedback that the importances
    saw is gone, they become the Fisher information of what is left.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run, "path", run.config.si_lambda, gauss_newton_fisher)
        self._start: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}
        self._gradient: dict[str, Tensor] = {}
        self._path: dict[str, Tensor] = {}

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self._start = _copies(strategy.model)
        self._path = {name: torch.zeros_like(value) for name, value in self._start.items()}

    def before_backward(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().before_backward(strategy, **kwargs)
        names, parameters = zip(*strategy.model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(strategy.data_loss, parameters, retain_graph=True)
        self._gradient = dict(zip(names, gradients, strict=True))

    def before_update(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        self._before = _copies(strategy.model)

    def after_update(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        num_new = len(strategy.experience.dataset)  # the loss is a mean over rows
        for name, parameter in strategy.model.named_parameters():
            self._path[name] -= num_new * self._gradient[name] * (parameter.detach() - self._before[name])

    def compute_importances(
        self,
        model: AdapterModule,
        criterion: object,
        optimizer: object,
        dataset: FeedbackData,
        device: torch.device,
        batch_size: int,
        num_workers: int = 0,
    ) -> dict[str, ParamData]:
        return as_param_data(
            {name: importance_of_path(self._path[name], self._start[name], end) for name, end in _copies(model).items()}
        )


def importance_of_path(path: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """Importances of parameters that went from start to end, while the loss fell by `path` along each one's way."""
    return path.clamp(min=0.0) / ((end - start).square() + _DAMPING)


def _copies(module: AdapterModule) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
