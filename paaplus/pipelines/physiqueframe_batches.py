"""Batches of PhysiqueAA50K rows for PhysiqueFrame: their order, the mirrored samples, and loading."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from paaplus.data.physique.dataset import PhysiqueDataset, RatedBatch, RatedSample, collate_rated
from paaplus.models.physiqueframe.network.config import FrameConfig


class MirroredSamples(Dataset):
    """A data set with half of its samples mirrored. Seed, epoch and row decide which: the same after a restart."""

    def __init__(self, data: PhysiqueDataset, mirror: bool, seed: int, epoch: int) -> None:
        self._data = data
        rng = np.random.default_rng([seed, epoch, 1])
        self._mirrored_N = rng.random(len(data)) < 0.5 if mirror else np.zeros(len(data), bool)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, row: int) -> RatedSample:
        sample = self._data[row]
        return sample.flipped() if self._mirrored_N[row] else sample


def ordered_batches(num_rows: int, batch_size: int) -> list[list[int]]:
    """Row numbers of every batch, in order of the file."""
    return [list(range(i, min(i + batch_size, num_rows))) for i in range(0, num_rows, batch_size)]


def shuffled_batches(num_rows: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Row numbers of every batch in random order.

    A last batch of one row is too small for batch normalisation; it is added to the batch before.
    """
    order = np.random.default_rng([seed, epoch, 0]).permutation(num_rows)
    batches = [order[i : i + batch_size].tolist() for i in range(0, num_rows, batch_size)]
    if len(batches[-1]) == 1:
        single = batches.pop()
        batches[-1] += single
    return batches


def load_batches(data: Dataset, batches: list[list[int]], num_workers: int, frame: FrameConfig) -> Iterator[RatedBatch]:
    """Load batches by their row numbers.

    Args:
        data: samples by row number.
        batches: row numbers of every batch.
        num_workers: processes that read images; 0: this process.
        frame: sizes of the network's inputs.
    """
    # The loader draws a seed for its workers. With its own generator, that does not change the run's random numbers.
    loader: Any = DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=partial(collate_rated, config=frame),
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)
