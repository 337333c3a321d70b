"""Importances against autograd, the penalty against its formula, and importances of ratings that were taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call, jacrev, vmap

from paaplus.records import RatedSet
from paaplus.scoring.tensors import unpack
from paaplus.strategies.consolidation import Consolidation, gauss_newton_fisher
from paaplus.strategies.datasets import RatedData
from paaplus.strategies.modules import AdapterModule, build_module
from paaplus.training import train
from tests.learning import SMALL, base_of, first_request, next_request, person, ratings

BASE = base_of(2)
NOISE_SD_A = torch.tensor([0.5, 2.0])


def trained_module(kind: str) -> AdapterModule:
    """Away from its start, so that no gradient is zero by symmetry."""
    module = build_module(kind, BASE, rank=4, parent=None)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module


def weighted(count: int, first_sequence: int = 1) -> RatedSet:
    rated = ratings(BASE, person(BASE), count, first_sequence=first_sequence, missing=0.3)
    return replace(rated, weight_N=np.linspace(0.5, 2.0, count).astype(np.float32))


def fisher_by_autograd(module: AdapterModule, data: RatedData) -> dict[str, torch.Tensor]:
    """One row's Jacobian at a time, from torch's own differentiation."""
    x, target_NA, weight_N, _ = data.tensors
    parameters = {name: parameter.detach() for name, parameter in module.named_parameters()}
    jacobian = vmap(jacrev(lambda p, row: functional_call(module, p, (row[None],))[0]), (None, 0))(parameters, x)
    precision_NA = weight_N[:, None] * ~torch.isnan(target_NA) / NOISE_SD_A.square()
    return {
        name: (j.square() * precision_NA.reshape(*precision_NA.shape, *[1] * (j.dim() - 2))).sum((0, 1))
        for name, j in jacobian.items()
    }


@pytest.mark.parametrize("kind", ["taste_vector", "bottleneck"])
def test_fisher_is_the_sum_of_squared_jacobians(kind: str) -> None:
    module, data = trained_module(kind), RatedData.of(weighted(30), "cpu")
    expected = fisher_by_autograd(module, data)
    actual = gauss_newton_fisher(module, data, NOISE_SD_A)
    assert set(actual) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
        assert value.abs().sum() > 0


def test_fisher_leaves_no_hooks_and_no_gradients() -> None:
    module = trained_module("bottleneck")
    gauss_newton_fisher(module, RatedData.of(weighted(5), "cpu"), NOISE_SD_A)
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(layer._forward_hooks for layer in module.modules())


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
    alone = gauss_newton_fisher(build_module(kind, BASE, 6, again.adapter), RatedData.of(second, "cpu"), noise_sd_A)
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
        return gauss_newton_fisher(module, RatedData.of(rated.select(keep), "cpu"), noise_sd_A)

    parts = [fisher(rated) for rated in (first, second, third)]
    for name, value in fishers(actual.state).items():
        one, two, three = (part[name.removeprefix("fisher.")] for part in parts)
        np.testing.assert_allclose(value, 0.25 * one + 0.5 * two + three, rtol=1e-4)
    assert set(unpack(actual.state)[0]["fisher_sequence_M"]) == set(range(1, 25)) - {3, 4, 15}


def test_penalty_is_lambda_over_rows_times_importance_times_squared_move() -> None:
    """One step of plain arithmetic: the stock plugin adds it to the loss of a strategy that stands elsewhere."""
    parent = trained_module("taste_vector")
    plugin = Consolidation(ewc_lambda=3.0, ewc_decay=0.9, noise_sd_A=NOISE_SD_A)
    past = RatedData.of(weighted(10), "cpu")
    fisher = gauss_newton_fisher(parent, past, NOISE_SD_A)
    arrays = {f"fisher.{name}": value.numpy() for name, value in fisher.items()}
    arrays |= {
        "fisher_sequence_M": past.sequence_N.numpy(),
        "fisher_increment_M": np.zeros(10, np.int32),
        "fisher_num_increments": np.array([1]),
    }
    plugin.restore(arrays, past, parent)

    class Clock:
        train_exp_counter = 0

    class Strategy:
        clock, device, num_rows, model, loss = Clock(), torch.device("cpu"), 4, parent, torch.zeros(1)

    strategy = Strategy()
    plugin.before_training_exp(strategy)
    plugin.before_backward(strategy)
    assert strategy.loss.item() == 0.0  # at the anchor
    with torch.no_grad():
        parent.offset.weight += 0.5
    plugin.before_backward(strategy)
    assert strategy.loss.item() == pytest.approx(3.0 / 4 * 0.25 * fisher["offset.weight"].sum().item(), rel=1e-5)
