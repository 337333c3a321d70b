"""Holding important parameters near the parent's: Avalanche's online EWC, with importances that can be taken back.

Shape letters: M = rows of feedback that the importances saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.strategies.avalanche_names import EWCPlugin, ParamData
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.gradient import Run
from paaplus.strategies.modules import AdapterModule
from paaplus.strategies.template import RegressionStrategy

Importance = Callable[[AdapterModule, FeedbackData, Tensor], dict[str, Tensor]]  # the last: noise sd per aspect


class SeenFeedback:
    """Which feedback importances saw, and in which increment: what tells them to let go of what was taken back."""

    def __init__(self) -> None:
        self.sequence_M = np.empty(0, np.int64)
        self.increment_M = np.empty(0, np.int32)
        self.num_increments = 0

    def add(self, sequence_N: np.ndarray) -> None:
        """One more increment."""
        self.sequence_M = np.concatenate([self.sequence_M, sequence_N])
        self.increment_M = np.concatenate([self.increment_M, np.full(len(sequence_N), self.num_increments, np.int32)])
        self.num_increments += 1

    def restore(self, arrays: Mapping[str, np.ndarray], prefix: str, past_sequence_N: np.ndarray) -> bool:
        """Take up what `arrays` names, as far as it is among the past; true if all of it is."""
        if f"{prefix}_num_increments" not in arrays:
            return True
        self.num_increments = int(arrays[f"{prefix}_num_increments"][0])
        seen_M = arrays[f"{prefix}_sequence_M"]
        present_M = np.isin(seen_M, past_sequence_N)
        self.sequence_M = seen_M[present_M]
        self.increment_M = arrays[f"{prefix}_increment_M"][present_M]
        return bool(present_M.all())

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            f"{prefix}_sequence_M": self.sequence_M,
            f"{prefix}_increment_M": self.increment_M,
            f"{prefix}_num_increments": np.array([self.num_increments], np.int32),
        }


class Consolidation(EWCPlugin):
    """Avalanche's online EWC, going on where the parent's learner state ended.

    The penalty is `strength / num_rows * sum(importance * (parameter - anchor)^2)` with the importances summed over
    all earlier increments, each `ewc_decay` times as heavy as the next. With Fisher information, strength and decay
    at 1 that is the diagonal Laplace approximation of the earlier feedback. The anchor is the parent itself, so it is
    not stored.
    """

    def __init__(self, run: Run, prefix: str, strength: float, importance: Importance) -> None:
        """`prefix` names the importances in the learner state."""
        super().__init__(strength, mode="online", decay_factor=run.config.ewc_decay)
        self.prefix = prefix
        self.strength = strength
        self.importance = importance
        self.noise_sd_A = run.noise_sd_A
        self.seen = SeenFeedback()
        self._restore(run)

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        # The stock plugin counts experiences by the strategy's clock, which starts at 0 in every run.
        strategy.clock.train_exp_counter = self.seen.num_increments
        self.ewc_lambda = self.strength / strategy.num_rows

    def after_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        self.seen.add(strategy.experience.dataset.sequence_N.cpu().numpy())

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
        """Replaces the stock computation; the signature is Avalanche's."""
        return as_param_data(self.importance(model, dataset, self.noise_sd_A))

    def arrays(self) -> dict[str, np.ndarray]:
        num_increments = self.seen.num_increments
        last = self.importances[num_increments - 1] if num_increments else {}
        importances = {f"{self.prefix}.{name}": value.data.cpu().numpy() for name, value in last.items()}
        return {**importances, **self.seen.arrays(self.prefix)}

    def _restore(self, run: Run) -> None:
        """Take up the importances of the parent's state, anchored at the parent.

        When feedback that they saw is no longer among the past, they are computed anew from what still is: a
        retracted rating must not go on protecting what it taught.
        """
        all_present = self.seen.restore(run.state, self.prefix, run.past.sequence_N.cpu().numpy())
        if not self.seen.num_increments:
            return
        if all_present:
            shapes = {name: tuple(parameter.shape) for name, parameter in run.module.named_parameters()}
            importances = {
                name: run.ageing * torch.from_numpy(value).to(run.device)
                for name, value in importances_of(run.state, self.prefix, shapes).items()
            }
        else:
            importances = self._anew(run)
        last = self.seen.num_increments - 1
        self.importances[last] = as_param_data(importances)
        self.saved_params[last] = as_param_data(dict(run.module.named_parameters()))

    def _anew(self, run: Run) -> dict[str, Tensor]:
        total = {name: torch.zeros_like(parameter) for name, parameter in run.module.named_parameters()}
        seen = self.seen
        for increment in np.unique(seen.increment_M):
            data = run.past.of_sequences(torch.from_numpy(seen.sequence_M[seen.increment_M == increment]))
            decay = float(self.decay_factor) ** (seen.num_increments - 1 - int(increment))
            for name, value in self.importance(run.module, data, self.noise_sd_A).items():
                total[name] += decay * value
        return total


def importances_of(
    state: Mapping[str, np.ndarray], prefix: str, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """The importances that a learner state holds, by parameter.

    Raises:
        InvalidInput: one is missing, or not of its parameter's shape, or not finite.
    """
    found = {name: state[f"{prefix}.{name}"] for name in shapes}
    for name, value in found.items():
        if value.shape != shapes[name] or value.dtype != np.float32 or not np.isfinite(value).all():
            raise InvalidInput(
                f"learner state array {prefix}.{name}: {value.dtype} of shape {value.shape}, "
                f"needed are finite float32 of {shapes[name]}"
            )
    return found


def as_param_data(tensors: Mapping[str, Tensor]) -> dict[str, ParamData]:
    return {
        name: ParamData(name, value.shape, init_tensor=value.detach().clone(), device=value.device)
        for name, value in tensors.items()
    }
