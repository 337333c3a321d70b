"""The names of Avalanche 0.6.0 that strategies stand on: the one place that imports it.

Which parts are used as they are, which are replaced and why: docs/decisions/0005-avalanche-building-blocks.md.
"""

from __future__ import annotations

import warnings

from paaplus.models.lean_imports import leaving_out
from paaplus.models.torchvision_shim import ensure_torchvision

_NOT_CALLED = ("GPUtil", "gdown", "matplotlib", "pytorchcv", "torch.utils.tensorboard", "torchmetrics", "wandb")

ensure_torchvision()
with leaving_out(*_NOT_CALLED), warnings.catch_warnings():
    # Avalanche imports qpsolvers for GEM, which warns that no solver is installed; GEM is not offered here.
    warnings.filterwarnings("ignore", message="no QP solver found", category=UserWarning)
    from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.core import SupervisedPlugin
    from avalanche.training.plugins import (
        AGEMPlugin,
        EvaluationPlugin,
        EWCPlugin,
        LRSchedulerPlugin,
        ReplayPlugin,
    )
    from avalanche.training.storage_policy import ReservoirSamplingBuffer
    from avalanche.training.templates import SupervisedTemplate
    from avalanche.training.utils import ParamData

__all__ = [
    "AGEMPlugin",
    "AvalancheDataset",
    "DatasetExperience",
    "EWCPlugin",
    "EvaluationPlugin",
    "LRSchedulerPlugin",
    "ParamData",
    "ReplayPlugin",
    "ReservoirSamplingBuffer",
    "SupervisedPlugin",
    "SupervisedTemplate",
]
