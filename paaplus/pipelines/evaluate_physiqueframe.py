"""Evaluate PhysiqueFrame on rows of a data set.

Shape letters: N = rows, B = images, A = aspects.
"""

from __future__ import annotations

import math
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from paaplus import metrics
from paaplus.data.physique.dataset import PhysiqueDataset, RatedBatch
from paaplus.errors import UndefinedMetric
from paaplus.models.physiqueframe.network.config import ASPECTS
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.pipelines.physiqueframe_batches import load_batches, ordered_batches

METRICS = ("srcc", "plcc", "acc")


def evaluate(
    network: PhysiqueFrame, data: PhysiqueDataset, batch_size: int, device: str, amp: bool
) -> dict[str, float]:
    """SRCC, PLCC and accuracy per aspect, and their means; NaN where a correlation is undefined.

    Args:
        network: the network; it is put into evaluation mode.
        data: the rows.
        batch_size: images per forward pass.
        device: of torch.
        amp: use bfloat16 on a GPU.

    Returns:
        `srcc_ASPECT`, `plcc_ASPECT`, `acc_ASPECT` and `srcc_mean`, `plcc_mean`, `acc_mean`.
    """
    network.eval()
    scores, truths = [], []
    with torch.no_grad():
        for batch in load_batches(data, ordered_batches(len(data), batch_size), 0, network.config):
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
    """Scores of a batch, shape (B, A); with `amp`, computed in bfloat16 on a GPU."""
    half = torch.autocast("cuda", torch.bfloat16) if amp and device.startswith("cuda") else nullcontext()
    inputs = batch.inputs
    with half:
        return network(inputs.image, batch.preference_BP, inputs.posture, inputs.mesh).score_BA
