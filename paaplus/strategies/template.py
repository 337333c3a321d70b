"""Avalanche's training template for scores: step budget, ratings and comparisons, stop and divergence.

Shape letters: B = rows of a batch, A = aspects.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from paaplus.configs import TrainingConfig
from paaplus.errors import DivergedError, TrainingStopped
from paaplus.strategies.avalanche_names import EvaluationPlugin, SupervisedPlugin, SupervisedTemplate
from paaplus.strategies.base import ShouldStop
from paaplus.strategies.comparisons import comparison_loss
from paaplus.strategies.datasets import Batch, FeedbackData, StepLoader
from paaplus.strategies.modules import AdapterModule


def masked_loss(score_BA: Tensor, target_BA: Tensor, weight_B: Tensor, noise_sd_A: Tensor) -> Tensor:
    """Weighted squared errors in units of rating noise, summed over rated aspects, mean over rows.

    Minus twice the Gaussian log likelihood per row. A missing (NaN) aspect adds nothing and has no gradient.
    """
    rated_BA = ~torch.isnan(target_BA)
    error_BA = torch.where(rated_BA, score_BA - torch.nan_to_num(target_BA), 0.0) / noise_sd_A
    return (weight_B[:, None] * error_BA.square()).sum() / len(score_BA)


def batch_loss(image_scores: Tensor, batch: Batch, noise_sd_A: Tensor) -> Tensor:
    """Minus twice the log likelihood of ratings and comparisons, mean over rows; the scores are those of `batch.x`."""
    num_rows = len(batch.weight_B)
    score_BA = image_scores[:num_rows]
    loss = masked_loss(score_BA, batch.target_BA, batch.weight_B, noise_sd_A)
    if not len(batch.pair_P):
        return loss
    difference_PA = score_BA[batch.pair_P] - image_scores[num_rows:]
    weight_P = batch.weight_B[batch.pair_P]
    return loss + comparison_loss(difference_PA, batch.preference_PA, weight_P, noise_sd_A) / num_rows


class SilentEvaluator(EvaluationPlugin):
    """Measures and logs nothing: the stock evaluator reports top-1 accuracy of regression scores."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No loggers specified", category=UserWarning)
            super().__init__(strict_checks=False)

    def _update_metrics_and_loggers(self, strategy: Any, callback: str) -> list[Any]:
        return []


class RegressionStrategy(SupervisedTemplate):
    """SupervisedTemplate whose epoch is `config.num_steps` steps of Adam on the log posterior.

    Loss: mean over rows plus `prior_strength * penalty / num_rows`, where `num_rows` is how many rows of feedback the
    batches stand for. The learning rate falls linearly to zero, so that the last steps average noise out.
    `data_loss` is the first part alone, at the present step.
    """

    data_loss: Tensor

    def __init__(
        self,
        *,
        name: str,
        model: AdapterModule,
        noise_sd_A: Tensor,
        config: TrainingConfig,
        generator: torch.Generator,
        should_stop: ShouldStop,
        plugins: list[Any],
        device: str,
    ) -> None:
        self.name = name
        self.config = config
        self.generator = generator
        self.noise_sd_A = noise_sd_A.to(device)
        self.num_rows = 0
        self.step = 0
        model.to(device)  # before the optimiser is built: it must hold the parameters that are trained
        super().__init__(
            model=model,
            optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate, fused=True),
            criterion=batch_loss,
            train_mb_size=config.batch_size,
            train_epochs=1,
            device=device,
            plugins=[*plugins, _Watch(should_stop)],
            evaluator=SilentEvaluator(),
            eval_every=-1,
        )

    def make_train_dataloader(self, **options: Any) -> None:
        self.load_from([(self.adapted_dataset, self.config.batch_size)])

    def load_from(self, parts: list[tuple[FeedbackData, int]]) -> None:
        """Train on these parts, `(rows, rows a step)`; replay adds its buffer this way."""
        self.dataloader = StepLoader(parts, self.config.num_steps, self.generator)
        self.num_rows = sum(len(data) for data, _ in self.dataloader.parts)

    def criterion(self) -> Tensor:
        self.data_loss = batch_loss(self.mb_output, Batch(*self.mbatch), self.noise_sd_A)
        return self.data_loss + self.config.prior_strength * self.model.penalty() / self.num_rows

    def optimizer_step(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * (1.0 - self.step / self.config.num_steps)
        super().optimizer_step()
        self.step += 1


class _Watch(SupervisedPlugin):
    """Asks whether to stop before every step, and refuses a loss that is not finite. The last of the plugins."""

    def __init__(self, should_stop: ShouldStop) -> None:
        super().__init__()
        self.should_stop = should_stop

    def before_training_iteration(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        if self.should_stop():
            raise TrainingStopped(f"{strategy.name}: stopped at step {strategy.step} of {strategy.config.num_steps}")

    def before_backward(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        if not torch.isfinite(strategy.loss).all():
            raise DivergedError(
                f"{strategy.name}: loss {strategy.loss.item():g} at step {strategy.step} of {strategy.config.num_steps}"
            )
