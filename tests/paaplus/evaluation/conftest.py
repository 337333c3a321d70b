"""Simulated people that most evaluations are tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paaplus.evaluation.train_side import EvaluationData
from tests.paaplus.evaluation.simulated import evaluation_data
from tests.support.fits import fitted_once
from tests.support.taste_data import simulate


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    return evaluation_data(tmp_path_factory.mktemp("evaluation"), simulate(num_people=40, num_images=180))


@pytest.fixture(scope="module", autouse=True)
def _base_models_are_fitted_once() -> Iterator[None]:
    with fitted_once():
        yield
