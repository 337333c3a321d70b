"""PhysiqueFrame over rows of a data set: batches, scores, and how well they agree with what people said.

Shape letters: N = rows, B = images, A = aspects.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from paaplus import metrics
from paaplus.data.physique.dataset import PhysiqueDataset, RatedBatch, collate_rated
from paaplus.errors import UndefinedMetric
from paaplus.models.physiqueframe.network.config import ASPECTS, FrameConfig
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame

METRICS = ("srcc", "plcc", "acc")


def evaluate(
    network: PhysiqueFrame, data: PhysiqueDataset, batch_size: int, device: str, amp: bool
) -> dict[str, float]:
    """ACC, SRCC and PLCC per aspect, and their means, on rows; NaN where a correlation is undefined."""
    network.eval()
    scores, truths = [], []
    with torch.no_grad():
        for batch in load_batches(data, _plain_batches(len(data), batch_size), 0, network.config):
            scores.append(network_scores(network, batch.to(device), device, amp).float().cpu().numpy())
            truths.append(batch.truth_BA.numpy())
    score_NA, truth_NA = np.concatenate(scores), np.concatenate(truths)
    row = {}
    for a, aspect in enumerate(ASPECTS):
        for name in METRICS:
            try:
                row[f"{name}_{aspect}"] = getattr(metrics, name)(score_NA[:, a], truth_NA[:, a])
            except UndefinedMetric:
                row[f"{name}_{aspect}"] = math.nan
    return row | {f"{name}_mean": float(np.mean([row[f"{name}_{a}"] for a in ASPECTS])) for name in METRICS}


def network_scores(network: PhysiqueFrame, batch: RatedBatch, device: str, amp: bool) -> Tensor:
    """Scores of a batch, shape (B, A); in bfloat16 where it is faster, on a GPU."""
    half = torch.autocast("cuda", torch.bfloat16) if amp and device.startswith("cuda") else nullcontext()
    inputs = batch.inputs
    with half:
        return network(inputs.image, batch.preference_BP, inputs.posture, inputs.mesh).score_BA


def _plain_batches(num_rows: int, batch_size: int) -> list[list[int]]:
    return [list(range(i, min(i + batch_size, num_rows))) for i in range(0, num_rows, batch_size)]


def load_batches(
    data: torch.utils.data.Dataset, batches: list[list[int]], num_workers: int, frame: FrameConfig
) -> Iterator[RatedBatch]:
    """The given rows, batch by batch."""
    # A generator of its own: the loader draws a seed for its workers, which must not move the run's random numbers.
    loader: Any = DataLoader(
        data,
        batch_sampler=batches,
        collate_fn=partial(collate_rated, config=frame),
        num_workers=num_workers,
        generator=torch.Generator().manual_seed(0),
    )
    return iter(loader)
