"""Dark experience replay++: replay, and buffered rows also keep the scores that the model gave when it learned them.

Source: Buzzega et al., "Dark experience for general continual learning" (arXiv:2004.07211), with squared differences
of scores. The stock one sorts its buffer by class and computes cross-entropies.
Shape letters: K = kept rows, A = aspects; the 2 in K2A are the first and the second image of a comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from paaplus.strategies.datasets import FeedbackData, row_draws
from paaplus.strategies.gradient import RememberingPlugin, Run
from paaplus.strategies.modules import AdapterModule
from paaplus.strategies.reservoir import Replay, restored_reservoir
from paaplus.strategies.template import RegressionStrategy


def build(run: Run) -> tuple[RegressionStrategy, list[RememberingPlugin]]:
    dark = _DarkReplay(run)
    return run.strategy(plugins=[dark]), [dark]


class _DarkReplay(Replay):
    """Replay whose buffer remembers scores, by sequence number; those of a row that goes, go with it."""

    def __init__(self, run: Run) -> None:
        super().__init__(restored_reservoir(run), run.config.replay_batch_size)
        self.weight = run.config.derpp_alpha
        self.generator = run.generator
        self.noise_sd_A = run.noise_sd_A
        self.dark_2A: dict[int, Tensor] = {}
        if "dark_K2A" in run.state:
            kept = set(self.storage_policy.buffer.sequence_N.tolist())
            pairs = zip(run.state["dark_sequence_K"].tolist(), torch.from_numpy(run.state["dark_K2A"]), strict=True)
            self.dark_2A = {sequence: dark_2A for sequence, dark_2A in pairs if sequence in kept}

    def before_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().before_training_exp(strategy, **kwargs)
        buffer = self.storage_policy.buffer
        remembered = buffer.of_sequences(torch.tensor(list(self.dark_2A), dtype=torch.int64))
        self.num_remembered = len(remembered)
        batch_size = min(self.batch_size_mem, self.num_remembered)
        self.draws = row_draws(self.num_remembered, batch_size, self.generator) if batch_size else None
        if self.draws is not None:
            self.columns = remembered.columns
            dark = [self.dark_2A[sequence] for sequence in remembered.sequence_N.tolist()]
            self.dark_K2A = torch.stack(dark).to(strategy.device)

    def before_backward(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        if self.draws is None or not self.weight:
            return
        index = next(self.draws).to(strategy.device)
        dark_K2A = self.dark_K2A[index]
        x = torch.stack([self.columns.x_NX[index], self.columns.other_NX[index]], dim=1)
        distance_K2A = (strategy.model(x.flatten(0, 1)).view_as(dark_K2A) - dark_K2A) / self.noise_sd_A
        distance = torch.where(torch.isnan(dark_K2A), 0.0, distance_K2A).square().sum() / len(index)
        strategy.loss += self.weight * self.num_remembered / strategy.num_rows * distance

    def after_training_exp(self, strategy: RegressionStrategy, **kwargs: Any) -> None:
        super().after_training_exp(strategy, **kwargs)
        new = strategy.experience.dataset
        self.dark_2A.update(zip(new.sequence_N.tolist(), _scores_now(strategy.model, new), strict=True))
        kept = set(self.storage_policy.buffer.sequence_N.tolist())
        self.dark_2A = {sequence: dark_2A for sequence, dark_2A in self.dark_2A.items() if sequence in kept}

    def arrays(self) -> dict[str, np.ndarray]:
        if not self.dark_2A:
            return super().arrays()
        return {
            **super().arrays(),
            "dark_sequence_K": np.array(list(self.dark_2A), np.int64),
            "dark_K2A": torch.stack(list(self.dark_2A.values())).numpy(),
        }


@torch.no_grad()
def _scores_now(module: AdapterModule, data: FeedbackData) -> Tensor:
    """What the module says of both images of every row; NaN for the second one of a rating. On the CPU."""
    columns = data.columns
    second_NA = torch.where(columns.is_comparison_N[:, None], module(columns.other_NX), torch.nan)
    return torch.stack([module(columns.x_NX), second_NA], dim=1).cpu()
