"""Simulated people as the data of a study."""

from __future__ import annotations

from pathlib import Path

from paaplus.data.features import folder_features
from paaplus.data.folder import read_folder
from paaplus.evaluation.splits import MakeSplit, split_folder
from paaplus.evaluation.train_side import EvaluationData
from tests.support.taste_data import PixelExtractor, Simulated, write_folder


def evaluation_data(path: Path, simulated: Simulated) -> EvaluationData:
    """The people written as a data folder and read again, with pixels as features."""
    folder = read_folder(write_folder(path / "data", simulated))
    return EvaluationData(folder, folder_features(folder, PixelExtractor(12), path / "cache"), "e" * 64)


def at_random(data: EvaluationData) -> MakeSplit:
    """Splits by person and scene."""
    return lambda seed: split_folder(data.folder, seed)
