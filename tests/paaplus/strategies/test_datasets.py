"""Tensor-backed ratings: rows are copied, dropped rows are freed, loaders spend their steps."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from paaplus.strategies.datasets import FeedbackData, StepLoader
from tests.support.learning import base_of, person, ratings


def data_of(count: int, first_sequence: int = 1) -> FeedbackData:
    base = base_of(1)
    return FeedbackData.of(ratings(base, person(base), count, first_sequence=first_sequence, missing=0.0), "cpu")


def loader(parts: list[tuple[FeedbackData, int]], num_steps: int, seed: int = 0) -> StepLoader:
    return StepLoader(parts, num_steps, torch.Generator().manual_seed(seed))


def test_subset_and_concat_keep_columns_together() -> None:
    data, more = data_of(5), data_of(3, first_sequence=10)
    both = data.concat(more).subset([6, 0])
    assert both.sequence_N.tolist() == [11, 1]
    assert torch.equal(both.tensors[0][0], more.tensors[0][1])
    assert torch.equal(both.tensors[1][1], data.tensors[1][0])
    assert len(both) == 2
    assert len(data.subset([])) == 0


def test_an_empty_dataset_joins_any_other() -> None:
    data = data_of(3)
    assert FeedbackData([]).concat(data).sequence_N.tolist() == [1, 2, 3]
    assert data.concat(FeedbackData([])).sequence_N.tolist() == [1, 2, 3]


def test_a_subset_frees_the_rows_it_leaves() -> None:
    data = data_of(1000)
    source = weakref.ref(data.tensors[0])
    kept = data.subset([0, 1])
    del data
    gc.collect()
    assert source() is None
    assert kept.tensors[0].untyped_storage().nbytes() == kept.tensors[0].numel() * 4


def test_a_loader_gives_its_steps_of_its_sizes_and_goes_through_all_rows() -> None:
    batches = list(loader([(data_of(10), 4), (data_of(6, 20), 3)], num_steps=30))
    assert len(batches) == 30
    assert all(len(x) == 7 for x, *_ in batches)
    new = torch.cat([x[:4] for x, *_ in batches])
    counts = torch.unique(new, dim=0, return_counts=True)[1]
    assert counts.tolist() == [12] * 10  # 120 draws: every row equally often


def test_a_part_with_fewer_rows_than_its_batch_gives_all_of_them_every_step() -> None:
    data = data_of(3)
    for x, *_ in loader([(data, 32)], num_steps=5):
        assert torch.equal(x.sort(dim=0).values, data.tensors[0].sort(dim=0).values)


def test_empty_parts_and_batches_of_zero_are_left_out() -> None:
    (batch,) = list(loader([(data_of(3), 2), (FeedbackData([]), 8), (data_of(4, 20), 0)], num_steps=1))
    assert len(batch[0]) == 2


def test_batch_means_estimate_the_mean_over_all_rows() -> None:
    new, old = data_of(4), data_of(40, first_sequence=20)
    both = new.concat(old)
    value = np.random.default_rng(0).normal(size=100)  # by sequence number
    expected = value[both.sequence_N].mean()
    by_row = {tuple(x.tolist()): value[s] for x, s in zip(both.tensors[0], both.sequence_N, strict=True)}
    means = [
        float(np.mean([float(w) * by_row[tuple(row.tolist())] for row, w in zip(x, weight, strict=True)]))
        for x, _, weight, *_ in loader([(new, 4), (old, 8)], num_steps=50)
    ]
    assert np.mean(means) == pytest.approx(expected, abs=1e-6)  # 50 steps of 8 are ten times through 40 rows


def test_the_same_generator_seed_gives_the_same_batches() -> None:
    first, again = (torch.cat([x for x, *_ in loader([(data_of(9), 4)], 7, seed=3)]) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.cat([x for x, *_ in loader([(data_of(9), 4)], 7, seed=4)]))
