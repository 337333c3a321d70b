"""Synaptic intelligence's importances: not zero, and of a quadratic loss its curvature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.records import RatedSet
from paaplus.scoring.tensors import unpack
from paaplus.training import train
from tests.support.learning import SMALL, base_of, first_request, next_request, none_of, person, ratings
from tests.support.oracle import fisher_of

BASE = base_of(1)


def importances(state: bytes) -> dict[str, np.ndarray]:
    return {name: array for name, array in unpack(state)[0].items() if name.startswith("path.")}


@pytest.mark.parametrize("kind", ["taste_vector", "bottleneck"])
@pytest.mark.parametrize("strategy", ["si", "replay_si"])
@pytest.mark.slow
def test_importances_are_not_zero_and_grow_with_every_increment(strategy: str, kind: str) -> None:
    request = first_request(strategy, kind, BASE, ratings(BASE, person(BASE), 24), replace(SMALL, ewc_decay=1.0))
    first = train(request)
    second = train(next_request(request, first, ratings(BASE, person(BASE), 12, first_sequence=30)))
    for name, before in importances(first.state).items():
        assert (before >= 0).all()
        assert before.max() > 0.1, name
        after = importances(second.state)[name]
        assert (after >= before - 1e-6).all()
        assert (after > before).any()


@pytest.mark.slow
def test_importance_of_a_quadratic_loss_is_its_curvature() -> None:
    # images at the middle of taste space and of the scale: only the offset can learn anything, by 3 points
    count = 20
    middle_NA = np.full((count, 1), 5.0)
    rated = RatedSet.of(np.arange(1, count + 1), np.zeros((count, BASE.taste_dim)), middle_NA, middle_NA + 3.0)
    config = replace(SMALL, num_steps=400, batch_size=count, prior_strength=0.0)
    found = importances(train(first_request("si", "taste_vector", BASE, rated, config)).state)
    curvature = count * float(BASE.offset_sd_A[0] / BASE.noise_sd_A[0]) ** 2
    distance = 3.0 / float(BASE.offset_sd_A[0])
    expected = curvature * distance**2 / (distance**2 + 0.01)
    assert found["path.offset.weight"].item() == pytest.approx(expected, rel=0.02)
    assert found["path.weight.weight"].max() == 0.0


def test_importances_of_feedback_that_is_gone_become_the_fisher_information_of_what_is_left() -> None:
    config = replace(SMALL, ewc_decay=1.0)
    first = ratings(BASE, person(BASE), 12)
    request = first_request("si", "taste_vector", BASE, first, config)
    request = next_request(request, train(request), none_of(first))
    kept = first.select(np.arange(12) > 3)
    purged = train(replace(request, past=kept))
    expected = fisher_of(request.parent, BASE, kept)
    for name, value in importances(purged.state).items():
        np.testing.assert_allclose(value, expected[name.removeprefix("path.")], rtol=1e-5)
