"""Avalanche's training template over a stack of users: its own loop, hooks and criterion."""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from paaplus.errors import TrainingStopped
from paaplus.strategies.avalanche_names import (
    DatasetExperience,
    EvaluationPlugin,
    LRSchedulerPlugin,
    SupervisedPlugin,
    SupervisedTemplate,
)
from paaplus.strategies.base import ShouldStop
from paaplus.strategies.likelihood import LogLikelihood
from paaplus.strategies.stack import Stack, StepLoader

_ADAM_EPS = 64e-8  # torch's default for a mean over the 64 rows of a full step: the loss is a sum over them


class SilentEvaluator(EvaluationPlugin):
    """Measures and logs nothing: the stock evaluator reports top-1 accuracy of regression scores."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No loggers specified", category=UserWarning)
            super().__init__(strict_checks=False)

    def _update_metrics_and_loggers(self, strategy: Any, callback: str) -> list[Any]:
        return []


class StackTemplate(SupervisedTemplate):
    """One epoch is `TrainingConfig.num_steps` steps of Adam on the log posterior of every user.

    The prior is Adam's weight decay, since parameters count from its centre. The learning rate falls linearly to zero,
    so that the last steps average noise out. All users take the same steps: one optimiser clock is everybody's.
    """

    def __init__(self, *, stack: Stack, plugins: Sequence[Any], should_stop: ShouldStop) -> None:
        request, module = stack.members[0].request, stack.module
        config, self.name, self.watch = request.config, request.strategy, _Watch(should_stop)
        self.num_steps = config.num_steps if stack.num_new else 0
        rate, decay = config.learning_rate, 2.0 * config.prior_strength
        optimizer = torch.optim.Adam(module.parameters(), lr=rate, eps=_ADAM_EPS, weight_decay=decay, fused=True)
        falling = LambdaLR(optimizer, lambda step: 1.0 - step / max(self.num_steps, 1))
        scheduler = LRSchedulerPlugin(falling, step_granularity="iteration", reset_scheduler=False)
        super().__init__(
            model=module,
            optimizer=optimizer,
            criterion=LogLikelihood(module.noise_sd_A, stack.columns.pairs),
            train_epochs=1,
            device=stack.device,
            plugins=[*plugins, scheduler, self.watch],
            evaluator=SilentEvaluator(),
            eval_every=-1,
        )

    def train_stack(self, stack: Stack) -> Tensor:
        """Train on the one experience there is; the losses of all users at every step, shape (S, U), on the CPU."""
        self.train(DatasetExperience(dataset=stack, current_experience=0), eval_streams=[])
        none_SU = torch.empty(0, stack.module.num_places)
        return torch.stack(self.watch.losses).cpu() if self.watch.losses else none_SU

    def make_train_dataloader(self, **options: Any) -> None:
        # The stock loader shuffles rows across users, by torch's global generator.
        self.dataloader = StepLoader(self.experience.dataset, self.num_steps)


class _Watch(SupervisedPlugin):
    """Asks whether to stop before every step, and keeps every user's losses. The last of the plugins."""

    def __init__(self, should_stop: ShouldStop) -> None:
        super().__init__()
        self.should_stop = should_stop
        self.losses: list[Tensor] = []

    def before_training_iteration(self, strategy: StackTemplate, **kwargs: Any) -> None:
        if self.should_stop():
            raise TrainingStopped(f"{strategy.name}: stopped at step {len(self.losses)} of {strategy.num_steps}")

    def before_backward(self, strategy: StackTemplate, **kwargs: Any) -> None:
        self.losses.append(strategy._criterion.loss_U)
