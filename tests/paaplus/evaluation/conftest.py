"""Simulated people that most evaluations are tried on."""

from __future__ import annotations

import pytest

from paaplus.evaluation.train_side import EvaluationData
from tests.paaplus.evaluation.simulated import evaluation_data
from tests.support.taste_data import simulate


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    return evaluation_data(tmp_path_factory.mktemp("evaluation"), simulate(num_people=40, num_images=180))
