"""Where the steps lead: to the closed form. And the template that takes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paaplus.configs import TrainingConfig
from paaplus.strategies.avalanche_names import SupervisedTemplate
from paaplus.strategies.template import SilentEvaluator
from paaplus.training import train
from tests.support.learning import base_of, first_request, next_request, person, ratings

LONG = TrainingConfig(num_steps=800, batch_size=64, replay_batch_size=64, learning_rate=0.1)


@pytest.mark.slow
def test_a_taste_vector_trained_long_enough_is_the_closed_form() -> None:
    base = base_of(2)
    new = ratings(base, person(base), 40)
    exact = train(first_request("bayes", "taste_vector", base, new)).adapter
    steps = train(first_request("naive", "taste_vector", base, new, LONG)).adapter
    np.testing.assert_allclose(steps.weight_RA, exact.weight_RA, atol=2e-3)
    np.testing.assert_allclose(steps.beta_A, exact.beta_A, atol=1e-2)
    np.testing.assert_allclose(steps.alpha_A, exact.alpha_A, atol=2e-3)


@pytest.mark.slow
def test_replay_of_everything_trained_long_enough_is_the_closed_form_of_all_increments() -> None:
    base = base_of(1)
    first, second = ratings(base, person(base), 30), ratings(base, person(base, seed=1), 10, first_sequence=31)
    request = first_request("replay", "taste_vector", base, first, LONG)
    second_request = next_request(request, train(request), second)
    exact = train(first_request("bayes", "taste_vector", base, type(first).concatenate(first, second))).adapter
    np.testing.assert_allclose(train(second_request).adapter.weight_RA, exact.weight_RA, atol=2e-3)


def test_prior_strength_draws_to_the_generic_scores() -> None:
    base = base_of(1)
    new = ratings(base, person(base), 20)
    sizes = [
        float(np.abs(train(first_request("naive", "taste_vector", base, new, config)).adapter.weight_RA).sum())
        for config in (TrainingConfig(prior_strength=0.0), TrainingConfig(), TrainingConfig(prior_strength=100.0))
    ]
    assert sizes[0] > sizes[1] > sizes[2]


def test_a_misspelled_option_of_a_template_is_refused_every_time() -> None:
    """Avalanche's own check, which is asked once for each set of options (avalanche_names.py)."""

    class Template(SupervisedTemplate):
        def __init__(self, **options: object) -> None:
            super().__init__(**options)

    network = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    right = {"model": network, "optimizer": optimizer, "evaluator": SilentEvaluator()}
    for _ in range(2):
        assert Template(**right).model is network
        with pytest.raises(TypeError, match="unexpected keyword argument: evalautor"):
            Template(**right, evalautor=None)
