"""Feedback as an Avalanche dataset over stacked tensors, and loaders that spend a fixed number of steps.

Stock datasets index row by row and keep every subset's source alive; here a batch is one index per column and a
subset copies its rows, so that a replay buffer holds its own rows and nothing else.
Shape letters: N = rows of the dataset, X = numbers that a module reads of an image, A = aspects, B = rows of a batch,
P = comparisons of a batch, V = images that rows are about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from paaplus.records import NO_COMPARISONS, ComparedSet, RatedSet
from paaplus.strategies.avalanche_names import AvalancheDataset
from paaplus.strategies.modules import rows


class Columns(NamedTuple):
    """Ratings and comparisons as columns. NaN: nothing said. `other_NX` is 0 in the rows of ratings."""

    x_NX: Tensor  # the image rated, or the first of the two compared
    target_NA: Tensor
    weight_N: Tensor
    sequence_N: Tensor
    other_NX: Tensor  # the second of the two compared
    preference_NA: Tensor
    is_comparison_N: Tensor


class FeedbackData(AvalancheDataset):
    """Rows of feedback. `tensors` are `Columns`, or empty when there are no rows at all."""

    def __init__(self, datasets: Sequence[Any], *, indices: Any = None, **options: Any) -> None:
        """Concatenate tensor-backed parts, then take `indices`; rows are copied. The signature is Avalanche's."""
        parts = [part.tensors for part in datasets if len(part) > 0]
        columns: tuple[Tensor, ...] = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        if indices is not None and columns:
            index = torch.as_tensor(indices, dtype=torch.long, device=columns[0].device)
            columns = tuple(column[index] for column in columns)
        self.tensors = columns
        self.has_comparisons = bool(columns) and bool(columns[Columns._fields.index("is_comparison_N")].any())
        super().__init__([TensorDataset(*columns)] if columns and len(columns[0]) else [], **options)

    def __len__(self) -> int:
        return len(self.tensors[0]) if self.tensors else 0

    @classmethod
    def of(cls, rated: RatedSet, device: str, compared: ComparedSet = NO_COMPARISONS) -> FeedbackData:
        """Rows in order of sequence, whatever their kind."""
        parts = [_rated_columns(rated)]
        if len(compared):
            parts.append(_compared_columns(compared))
        columns = Columns(*(torch.cat(column) for column in zip(*parts, strict=True)))
        order_N = columns.sequence_N.argsort()
        return cls([TensorDataset(*(column[order_N].to(device) for column in columns))])

    @property
    def columns(self) -> Columns:
        """The columns by name.

        Raises:
            TypeError: there are no rows.
        """
        return Columns(*self.tensors)

    @property
    def sequence_N(self) -> Tensor:
        return self.columns.sequence_N if self.tensors else torch.empty(0, dtype=torch.int64)

    def of_sequences(self, sequence_K: Tensor) -> FeedbackData:
        """The rows with these sequence numbers, as far as they are there."""
        wanted_N = torch.isin(self.sequence_N, sequence_K.to(self.sequence_N.device))
        return self.subset(wanted_N.nonzero()[:, 0])

    def images(self) -> Tensor:
        """What a module reads of every image: those of `x_NX`, then the second ones of comparisons, shape (V, X)."""
        return torch.cat([self.columns.x_NX, self.columns.other_NX[self.columns.is_comparison_N]])


def _rated_columns(rated: RatedSet) -> Columns:
    x_NX = rows(rated.generic_NA, rated.taste_NR)
    return Columns(
        x_NX=x_NX,
        target_NA=torch.from_numpy(rated.target_NA),
        weight_N=torch.from_numpy(rated.weight_N),
        sequence_N=torch.from_numpy(rated.sequence_N),
        other_NX=torch.zeros_like(x_NX),
        preference_NA=torch.full(rated.target_NA.shape, torch.nan),
        is_comparison_N=torch.zeros(len(rated), dtype=torch.bool),
    )


def _compared_columns(compared: ComparedSet) -> Columns:
    return Columns(
        x_NX=rows(compared.first_generic_CA, compared.first_taste_CR),
        target_NA=torch.full(compared.preference_CA.shape, torch.nan),
        weight_N=torch.from_numpy(compared.weight_C),
        sequence_N=torch.from_numpy(compared.sequence_C),
        other_NX=rows(compared.second_generic_CA, compared.second_taste_CR),
        preference_NA=torch.from_numpy(compared.preference_CA),
        is_comparison_N=torch.ones(len(compared), dtype=torch.bool),
    )


class Batch(NamedTuple):
    """What a step sees. Images of `x` are those of the B rows, then the second ones of the P comparisons."""

    x: Tensor
    target_BA: Tensor
    weight_B: Tensor
    pair_P: Tensor  # positions of the comparisons among the B rows
    preference_PA: Tensor


def as_batch(data: FeedbackData, index_B: Tensor, share: float = 1.0) -> Batch:
    """Rows of feedback as one batch; `share` scales their weights."""
    columns = data.columns
    index_B = index_B.to(columns.x_NX.device)
    x_BX, weight_B = columns.x_NX[index_B], columns.weight_N[index_B] * share
    if data.has_comparisons:
        pair_P = columns.is_comparison_N[index_B].nonzero()[:, 0]
        x_BX = torch.cat([x_BX, columns.other_NX[index_B[pair_P]]])
    else:
        pair_P = index_B[:0]
    return Batch(x_BX, columns.target_NA[index_B], weight_B, pair_P, columns.preference_NA[index_B[pair_P]])


class StepLoader:
    """`num_steps` batches, each `batch_size` rows of every part (all rows where a part has fewer).

    A part is gone through in random order, again and again, without regard to where a step begins.
    """

    def __init__(self, parts: Sequence[tuple[FeedbackData, int]], num_steps: int, generator: torch.Generator) -> None:
        self.parts = [(data, min(batch_size, len(data))) for data, batch_size in parts if min(batch_size, len(data))]
        self.num_steps = num_steps
        self.generator = generator

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Tensor]]:
        num_rows = sum(len(data) for data, _ in self.parts)
        num_drawn = sum(batch_size for _, batch_size in self.parts)
        draws = [row_draws(len(data), batch_size, self.generator) for data, batch_size in self.parts]
        # A mean over the batch then estimates the mean over all rows of all parts.
        shares = [(len(data) / num_rows) / (batch_size / num_drawn) for data, batch_size in self.parts]
        for _ in range(self.num_steps):
            batches = [
                as_batch(data, next(draw), share)
                for (data, _), draw, share in zip(self.parts, draws, shares, strict=True)
            ]
            yield list(_joined(batches))


def _joined(batches: list[Batch]) -> Batch:
    """Batches as one: rows of all first, second images of all after them."""
    if len(batches) == 1:
        return batches[0]
    sizes = [len(batch.weight_B) for batch in batches]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    firsts = [batch.x[:size] for batch, size in zip(batches, sizes, strict=True)]
    seconds = [batch.x[size:] for batch, size in zip(batches, sizes, strict=True)]
    return Batch(
        x=torch.cat([*firsts, *seconds]),
        target_BA=torch.cat([batch.target_BA for batch in batches]),
        weight_B=torch.cat([batch.weight_B for batch in batches]),
        pair_P=torch.cat([batch.pair_P + start for batch, start in zip(batches, starts, strict=True)]),
        preference_PA=torch.cat([batch.preference_PA for batch in batches]),
    )


def row_draws(num_rows: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of positions, without end: every row once before any row again."""
    waiting = torch.empty(0, dtype=torch.long)
    while True:
        while len(waiting) < batch_size:
            waiting = torch.cat([waiting, torch.randperm(num_rows, generator=generator)])
        yield waiting[:batch_size]
        waiting = waiting[batch_size:]
