"""The names of Avalanche 0.6.0 that strategies stand on: the one place that imports it (docs/decisions/0005)."""

import warnings
from collections.abc import Mapping
from functools import cache
from typing import Any

from paaplus.models.lean_imports import leaving_out
from paaplus.models.torchvision_shim import ensure_torchvision

_NOT_CALLED = ("GPUtil", "gdown", "matplotlib", "pytorchcv", "torch.utils.tensorboard", "torchmetrics", "wandb")

ensure_torchvision()
with leaving_out(*_NOT_CALLED), warnings.catch_warnings():
    # Avalanche imports qpsolvers for GEM, which warns that no solver is installed; GEM is not offered here.
    warnings.filterwarnings("ignore", message="no QP solver found", category=UserWarning)
    from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience as DatasetExperience
    from avalanche.benchmarks.utils import AvalancheDataset as AvalancheDataset
    from avalanche.core import SupervisedPlugin as SupervisedPlugin
    from avalanche.training.plugins import AGEMPlugin as AGEMPlugin
    from avalanche.training.plugins import EvaluationPlugin as EvaluationPlugin
    from avalanche.training.plugins import EWCPlugin as EWCPlugin
    from avalanche.training.plugins import LRSchedulerPlugin as LRSchedulerPlugin
    from avalanche.training.plugins import ReplayPlugin as ReplayPlugin
    from avalanche.training.storage_policy import ReservoirSamplingBuffer as ReservoirSamplingBuffer
    from avalanche.training.templates import SupervisedTemplate as SupervisedTemplate
    from avalanche.training.templates import base as _templates
    from avalanche.training.utils import ParamData as ParamData


_check_names = _templates._check_mispelled_kwargs


@cache
def _names_are_known(template: type, names: frozenset[str]) -> None:
    _check_names(template, dict.fromkeys(names))


def _check_once(template: type, options: Mapping[str, Any]) -> None:
    """Avalanche looks for misspelled options in all signatures of a template, at every training, for milliseconds."""
    _names_are_known(template, frozenset(options))


_templates._check_mispelled_kwargs = _check_once
