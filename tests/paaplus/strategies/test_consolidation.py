"""The penalty against its formula, importances that add up, and those of feedback that was taken back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from paaplus.configs import TrainingConfig
from paaplus.records import RatedSet
from paaplus.scoring.tensors import unpack
from paaplus.strategies.consolidation import Consolidation
from paaplus.strategies.datasets import FeedbackData
from paaplus.strategies.modules import AdapterModule, build_module
from paaplus.strategies.sensitivity import gauss_newton_fisher
from paaplus.training import train
from tests.support.learning import SMALL, base_of, first_request, next_request, none_of, person, ratings, trained_module

BASE = base_of(2)
NOISE_SD_A = torch.tensor([0.5, 2.0])


def weighted(count: int, first_sequence: int = 1) -> RatedSet:
    rated = ratings(BASE, person(BASE), count, first_sequence=first_sequence, missing=0.3)
    return replace(rated, weight_N=np.linspace(0.5, 2.0, count).astype(np.float32))


def fishers(state: bytes) -> dict[str, np.ndarray]:
    return {name: array for name, array in unpack(state)[0].items() if name.startswith("fisher.")}


@pytest.mark.parametrize("kind", ["taste_vector", "bottleneck"])
def test_importances_of_increments_add_up_with_decay(kind: str) -> None:
    config = replace(SMALL, ewc_decay=0.5)
    first, second = weighted(12), weighted(8, first_sequence=13)
    request = first_request("ewc", kind, BASE, first, config)
    trained = train(request)
    again = train(next_request(request, trained, second))
    noise_sd_A = torch.from_numpy(np.array(BASE.noise_sd_A))
    alone = gauss_newton_fisher(build_module(kind, BASE, 6, again.adapter), FeedbackData.of(second, "cpu"), noise_sd_A)
    for name, before in fishers(trained.state).items():
        expected = 0.5 * before + alone[name.removeprefix("fisher.")].numpy()
        np.testing.assert_allclose(fishers(again.state)[name], expected, rtol=1e-4, atol=1e-5)


def test_a_rating_that_is_gone_leaves_the_importances() -> None:
    # for a taste vector they do not depend on the parameters, so what is left can be worked out apart
    config = replace(SMALL, ewc_decay=0.5)
    first, second, third = weighted(12), weighted(8, first_sequence=13), weighted(4, first_sequence=21)
    request = first_request("ewc", "taste_vector", BASE, first, config)
    request = next_request(request, train(request), second)
    trained = train(request)
    gone = np.isin(np.arange(1, 21), (3, 4, 15))
    request = next_request(request, trained, third)
    actual = train(replace(request, past=request.past.select(~gone)))
    module, noise_sd_A = build_module("taste_vector", BASE, 6, None), torch.from_numpy(np.array(BASE.noise_sd_A))

    def fisher(rated: RatedSet) -> dict[str, torch.Tensor]:
        keep = ~np.isin(rated.sequence_N, (3, 4, 15))
        return gauss_newton_fisher(module, FeedbackData.of(rated.select(keep), "cpu"), noise_sd_A)

    parts = [fisher(rated) for rated in (first, second, third)]
    for name, value in fishers(actual.state).items():
        one, two, three = (part[name.removeprefix("fisher.")] for part in parts)
        np.testing.assert_allclose(value, 0.25 * one + 0.5 * two + three, rtol=1e-4)
    assert set(unpack(actual.state)[0]["fisher_sequence_M"]) == set(range(1, 25)) - {3, 4, 15}


@dataclass
class FakeRun:
    """As much of a run as a plugin takes up its state from."""

    module: AdapterModule
    past: FeedbackData
    state: dict[str, np.ndarray]
    ageing: float = 1.0
    config: TrainingConfig = SMALL
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    noise_sd_A: torch.Tensor = field(default_factory=lambda: NOISE_SD_A)


class FakeStrategy:
    """Where the stock plugin finds the model and adds to the loss."""

    def __init__(self, model: AdapterModule, num_rows: int) -> None:
        self.clock = SimpleNamespace(train_exp_counter=0)
        self.device = torch.device("cpu")
        self.num_rows, self.model, self.loss = num_rows, model, torch.zeros(1)


@pytest.mark.parametrize("ageing", [1.0, 0.25])
def test_penalty_is_lambda_over_rows_times_importance_times_squared_move(ageing: float) -> None:
    parent = trained_module(BASE, "taste_vector")
    past = FeedbackData.of(weighted(10), "cpu")
    fisher = gauss_newton_fisher(parent, past, NOISE_SD_A)
    state = {f"fisher.{name}": value.numpy() for name, value in fisher.items()}
    state |= {
        "fisher_sequence_M": past.sequence_N.numpy(),
        "fisher_increment_M": np.zeros(10, np.int32),
        "fisher_num_increments": np.array([1]),
    }
    plugin = Consolidation(FakeRun(parent, past, state, ageing), "fisher", 3.0, gauss_newton_fisher)
    strategy = FakeStrategy(parent, num_rows=4)
    plugin.before_training_exp(strategy)
    plugin.before_backward(strategy)
    assert strategy.loss.item() == 0.0  # at the anchor
    with torch.no_grad():
        parent.offset.weight += 0.5
    plugin.before_backward(strategy)
    expected = ageing * 3.0 / 4 * 0.25 * fisher["offset.weight"].sum().item()
    assert strategy.loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("strategy", ["ewc", "si", "mas", "replay_ewc"])
def test_a_state_from_before_any_increment_is_gone_on_from(strategy: str) -> None:
    """A first training with nothing new (all of it held out, say) leaves a state that names no importances."""
    nothing = first_request(strategy, "taste_vector", BASE, none_of(weighted(12)))
    trained = train(nothing)
    with_state = train(next_request(nothing, trained, weighted(12)))
    without = train(replace(nothing, new=weighted(12), parent=trained.adapter))
    assert with_state.adapter.digest == without.adapter.digest
