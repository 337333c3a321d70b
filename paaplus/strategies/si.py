"""Synaptic intelligence: parameters whose moves lowered the loss are held near the parent's.

Stock SI keeps views of the live parameters on a CPU, so that every move, and with it every importance, is zero.

Source: Zenke et al., "Continual learning through synaptic intelligence" (arXiv:1703.04200).
"""

from typing import Any

import torch
from torch import Tensor

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import ParamData, SupervisedPlugin
from paaplus.strategies.ewc import Consolidation, as_param_data, fisher
from paaplus.strategies.stack import Stack
from paaplus.strategy_facts import Facts

FACTS = Facts(
    prior="parent",
    earlier="parameters are held at the parent's, by how much moving each lowered the loss",
    remembers=("path",),
    settings=("si_lambda", "ewc_decay"),
)

_DAMPING = 0.01  # in squared prior standard deviations: a parameter that hardly moved tells nothing


def plugins(config: TrainingConfig) -> list[SupervisedPlugin]:
    return [PathIntegral(config.si_lambda, config.ewc_decay)]


class PathIntegral(Consolidation):
    """Consolidation whose importances are `path / (distance^2 + damping)`.

    The path is how much the data's part of the loss fell along a parameter's way through an increment. Of a quadratic
    loss that ratio is its curvature, the Fisher information: a strength of 1 means the same as with EWC. A way cannot
    be walked again without a rating: when some is gone, importances become the Fisher information of what is left.
    """

    def __init__(self, strength: float, decay: float) -> None:
        super().__init__("path", strength, decay, fisher)

    def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        self.path = {name: torch.zeros_like(each.data) for name, each in self.saved_params[0].items()}

    @torch.no_grad()
    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """The gradient of the data alone: the stock penalty's, which is in the loss, is taken away again."""
        self.left, self.gradient = {}, {}
        for name, parameter in strategy.model.named_parameters():
            pull = self.importances[0][name].data * (parameter - self.saved_params[0][name].data)
            self.gradient[name] = parameter.grad - 2.0 * self.ewc_lambda * pull
            self.left[name] = parameter.detach().clone()

    @torch.no_grad()
    def after_update(self, strategy: Any, **kwargs: Any) -> None:
        for name, parameter in strategy.model.named_parameters():
            self.path[name].addcmul_(self.gradient[name], self.left[name] - parameter)

    def compute_importances(self, model: Any, *args: Any, **options: Any) -> dict[str, ParamData]:
        dataset: Stack = args[2]
        # A batch stands for buffered rows too; the path that counts is the new ones' part.
        shares = [len(each.new) / each.num_rows for each in dataset.members]
        share = torch.tensor([*shares, *[0.0] * (dataset.module.num_places - len(shares))], device=dataset.device)
        moves = {name: end.detach() - self.saved_params[0][name].data for name, end in model.named_parameters()}
        return as_param_data(
            {name: importance_of_path(share[:, None, None] * self.path[name], move) for name, move in moves.items()}
        )


def importance_of_path(path: Tensor, move: Tensor) -> Tensor:
    """Importances of parameters that made these moves, while the loss fell by `path` along each one's way."""
    return path.clamp(min=0.0) / (move.square() + _DAMPING)
