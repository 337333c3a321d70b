"""Training in stacks against slow plain loops, and against stock Avalanche where it is right for scores."""

from __future__ import annotations

import functools
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from paaplus.configs import TrainingConfig
from paaplus.scoring.tensors import unpack
from paaplus.strategies.avalanche_names import (
    AvalancheDataset,
    DatasetExperience,
    EWCPlugin,
    LRSchedulerPlugin,
    ParamData,
    ReplayPlugin,
    ReservoirSamplingBuffer,
    SupervisedTemplate,
)
from paaplus.strategies.parameters import start_of
from paaplus.strategies.recency import aged
from paaplus.strategies.template import SilentEvaluator
from paaplus.training import TrainingRequest, train, train_many
from tests.support.learning import (
    STEP_PAIRS,
    base_of,
    comparisons,
    first_request,
    next_request,
    none_of,
    person,
    ratings,
    taste_of,
    trained_of,
)
from tests.support.oracle import HOLDS, PlainAdapter, importances_of, oracle, rows_in_order

BASE = base_of(2)
UNSEEN = ratings(BASE, person(BASE, seed=50), 200, seed=50)
CONFIG = TrainingConfig(num_steps=8, batch_size=6, replay_batch_size=5, buffer_size=12, rank=6)
# Ratings and comparisons of first increments: more and fewer than a batch, one or the other only.
SIZES = [(16, 0), (4, 0), (9, 5), (0, 7)]
every_step_pair = pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)


@functools.cache
def first_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    requests = []
    for u, (num_ratings, num_compared) in enumerate(SIZES):
        new = ratings(BASE, person(BASE, u), max(num_ratings, 1), seed=u)
        request = first_request(strategy, kind, BASE, new if num_ratings else none_of(new), CONFIG)
        if num_compared:
            request = replace(request, new_compared=comparisons(BASE, person(BASE, u), num_compared, first_sequence=60))
        center = taste_of(BASE, 0.5 * person(BASE, 60 + u), offset=0.4, slope=-0.2)
        requests.append(replace(request, center=center if u == 1 else None))
    return requests


@functools.cache
def second_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    firsts = first_requests(strategy, kind)
    seconds = [
        next_request(request, trained, ratings(BASE, person(BASE, u + 5), 10 - 2 * u, first_sequence=100, seed=u))
        for u, (request, trained) in enumerate(zip(firsts, trained_of(train_many(firsts)), strict=True))
    ]
    seconds[2] = replace(seconds[2], new_compared=comparisons(BASE, person(BASE, 3), 4, first_sequence=130))
    return seconds


def assert_equal(requests: list[TrainingRequest]) -> None:
    for trained, request in zip(trained_of(train_many(requests)), requests, strict=True):
        expected = oracle(aged(request))
        scores, right = (each.adapter.score(UNSEEN.taste_NR, UNSEEN.generic_NA) for each in (trained, expected))
        told = f"{request.strategy}: scores other than those of the plain loop of tests/support/oracle.py"
        np.testing.assert_allclose(scores, right, atol=1e-5, rtol=0, err_msg=told)
        arrays, _ = unpack(trained.state)
        prefix = HOLDS.get(request.strategy, "")
        largest = max((np.abs(value).max() for value in expected.importances.values()), default=0.0)
        for name, value in expected.importances.items():
            np.testing.assert_allclose(arrays[f"{prefix}.{name}"], value, rtol=1e-3, atol=1e-5 * largest, err_msg=name)


@every_step_pair
def test_a_first_increment_is_that_of_a_plain_loop(strategy: str, kind: str) -> None:
    assert_equal(first_requests(strategy, kind))


@every_step_pair
@pytest.mark.slow
def test_a_later_increment_is_that_of_a_plain_loop(strategy: str, kind: str) -> None:
    assert_equal(second_requests(strategy, kind))


CHANGES = (
    {"recency_half_life": 5.0, "ewc_lambda": 0.3, "si_lambda": 0.3, "mas_lambda": 0.3},
    {"replay_batch_size": 0, "distillation_pool": 0.5, "prior_strength": 0.0},
    {"buffer_size": 0, "distillation_pool": 0.0, "ewc_decay": 0.5, "derpp_alpha": 2.0},
    {"batch_size": 64, "replay_batch_size": 64, "distillation_batch": 0.0},
)


@pytest.mark.parametrize(
    ("strategy", "kind", "change"),
    [
        (strategy, kind, change)
        for strategy, kind in STEP_PAIRS
        for at, change in enumerate(CHANGES)
        if (at % 2 == 0) == (kind == "taste_vector")  # each strategy sees all: its terms are the same on both adapters
    ],
)
def test_whatever_is_configured_is_what_a_plain_loop_makes_of_it(
    strategy: str, kind: str, change: dict[str, Any]
) -> None:
    requests = second_requests(strategy, kind)[1:3]
    assert_equal([replace(each, config=replace(each.config, num_steps=4, **change)) for each in requests])


class SummedLoss:
    """The loss of ratings for stock Avalanche: the prior is the optimiser's weight decay."""

    def __init__(self, noise_sd_A: np.ndarray) -> None:
        self.noise_sd_A = torch.tensor(noise_sd_A).double()

    def __call__(self, score_BA: torch.Tensor, target_BA: torch.Tensor) -> torch.Tensor:
        return ((score_BA - target_BA) / self.noise_sd_A).square().sum()


class FisherEWC(EWCPlugin):
    """Stock, but for the importances: those of plain autograd."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__(config.ewc_lambda, mode="online", decay_factor=config.ewc_decay)

    def compute_importances(self, model: PlainAdapter, *_: Any, **__: Any) -> dict[str, ParamData]:
        values = importances_of(model, self.rows, "fisher")
        return {
            name: ParamData(name, value.shape, init_tensor=value)
            for (name, _), value in zip(model.named_parameters(), values, strict=True)
        }


@pytest.mark.parametrize("kind", ["taste_vector", "bottleneck"])
@pytest.mark.parametrize("strategy", ["naive", "replay", "ewc", "replay_ewc"])
def test_ratings_in_one_batch_are_learned_as_by_stock_avalanche(strategy: str, kind: str) -> None:
    """Stock loop, replay, reservoir and online EWC over three experiences, with every row in every batch."""
    config = TrainingConfig(num_steps=15, batch_size=64, replay_batch_size=64, buffer_size=64, rank=6)
    increments = [ratings(BASE, person(BASE, seed), 12, first_sequence=1 + 20 * seed, missing=0.0) for seed in range(3)]
    center = start_of(kind, BASE, config.rank, None)
    model = PlainAdapter(BASE, center, center)
    ewc = FisherEWC(config)
    plugins: list[Any] = [ewc] if "ewc" in strategy else []
    if "replay" in strategy:
        plugins.append(ReplayPlugin(64, 64, 64, storage_policy=ReservoirSamplingBuffer(64)))
    request, trained = None, None
    for step, increment in enumerate(increments):
        if strategy in ("naive", "ewc"):  # the prior counts from the parent
            now = {name: value.detach().numpy() for name, value in model.now().items()}
            with torch.no_grad():
                for offset in model.offsets:
                    offset.zero_()
            model.center = {name: torch.tensor(value) for name, value in now.items()}
            if step:
                for saved in ewc.saved_params[step - 1].values():
                    saved.data.zero_()
        optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, eps=64e-8, weight_decay=2.0)
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1.0 - done / config.num_steps)
        template = SupervisedTemplate(
            model=model,
            optimizer=optimizer,
            criterion=SummedLoss(BASE.noise_sd_A),
            train_mb_size=64,
            train_epochs=config.num_steps,
            plugins=[*plugins, LRSchedulerPlugin(falling, reset_scheduler=False)],
            evaluator=SilentEvaluator(),
        )
        template.clock.train_exp_counter = step
        ewc.rows = rows_in_order(increment, first_request(strategy, kind, BASE, increment).new_compared)
        x_NX = torch.tensor(np.concatenate([increment.generic_NA, increment.taste_NR], axis=1)).double()
        data = AvalancheDataset([TensorDataset(x_NX, torch.tensor(increment.target_NA).double())])
        with pytest.warns() if "replay" in strategy else nullcontext():  # stock replay warns of a deprecated name
            template.train(DatasetExperience(dataset=data, current_experience=step), eval_streams=[])
        if trained is None:
            request = first_request(strategy, kind, BASE, increment, config)
        else:
            request = next_request(request, trained, increment)
        trained = train(request)
    scores, right = (each.score(UNSEEN.taste_NR, UNSEEN.generic_NA) for each in (trained.adapter, model.adapter()))
    np.testing.assert_allclose(scores, right, atol=2e-5, rtol=0)
