"""Ratings as an Avalanche dataset over stacked tensors, and loaders that spend a fixed number of steps.

Stock datasets index row by row and keep every subset's source alive; here a batch is one index per column and a
subset copies its rows, so that a replay buffer holds its own rows and nothing else.
Shape letters: N = rows of the dataset, A = aspects.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from paaplus.records import RatedSet
from paaplus.strategies.avalanche_names import AvalancheDataset
from paaplus.strategies.modules import rows


class RatedData(AvalancheDataset):
    """Columns `(x, target_NA, weight_N, sequence_N)`; `x` is what a module reads, targets are NaN where missing."""

    def __init__(self, datasets: Sequence[Any], *, indices: Any = None, **options: Any) -> None:
        """Concatenate tensor-backed parts, then take `indices`; rows are copied. The signature is Avalanche's."""
        parts = [part.tensors for part in datasets if len(part) > 0]
        columns: tuple[Tensor, ...] = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        if indices is not None and columns:
            index = torch.as_tensor(indices, dtype=torch.long, device=columns[0].device)
            columns = tuple(column[index] for column in columns)
        self.tensors = columns
        super().__init__([TensorDataset(*columns)] if columns and len(columns[0]) else [], **options)

    def __len__(self) -> int:
        return len(self.tensors[0]) if self.tensors else 0

    @classmethod
    def of(cls, rated: RatedSet, device: str) -> RatedData:
        columns = (
            rows(rated.generic_NA, rated.taste_NR),
            torch.from_numpy(rated.target_NA),
            torch.from_numpy(rated.weight_N),
            torch.from_numpy(rated.sequence_N),
        )
        return cls([TensorDataset(*(column.to(device) for column in columns))])

    @property
    def sequence_N(self) -> Tensor:
        return self.tensors[3] if self.tensors else torch.empty(0, dtype=torch.int64)


class StepLoader:
    """`num_steps` batches, each `batch_size` rows of every part (all rows where a part has fewer).

    A part is gone through in random order, again and again, without regard to where a step begins.
    """

    def __init__(self, parts: Sequence[tuple[RatedData, int]], num_steps: int, generator: torch.Generator) -> None:
        self.parts = [(data, min(batch_size, len(data))) for data, batch_size in parts if min(batch_size, len(data))]
        self.num_steps = num_steps
        self.generator = generator

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Tensor]]:
        num_rows = sum(len(data) for data, _ in self.parts)
        num_drawn = sum(batch_size for _, batch_size in self.parts)
        draws = [self._draws(len(data), batch_size) for data, batch_size in self.parts]
        for _ in range(self.num_steps):
            batches = []
            for (data, batch_size), draw in zip(self.parts, draws, strict=True):
                index = next(draw).to(data.tensors[0].device)
                x, target_BA, weight_B, _ = (column[index] for column in data.tensors)
                # A mean over the batch then estimates the mean over all rows of all parts.
                share = (len(data) / num_rows) / (batch_size / num_drawn)
                batches.append((x, target_BA, weight_B * share))
            yield [torch.cat(column) for column in zip(*batches, strict=True)]

    def _draws(self, num_rows: int, batch_size: int) -> Iterator[Tensor]:
        waiting = torch.empty(0, dtype=torch.long)
        while True:
            if len(waiting) < batch_size:
                waiting = torch.cat([waiting, torch.randperm(num_rows, generator=self.generator)])
            yield waiting[:batch_size]
            waiting = waiting[batch_size:]
