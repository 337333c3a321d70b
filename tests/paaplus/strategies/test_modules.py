"""Stacked torch modules and training units against the NumPy adapters that are served."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from paaplus.scoring.adapters import ADAPTERS, Adapter, Bottleneck
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.strategies.modules import StackedAdapter, build_module, padded
from paaplus.strategies.parameters import adapter_of, parameters_of, rank_of, start_of
from tests.support.learning import base_of, person, ratings

KINDS = sorted(ADAPTERS)


def random_adapter(kind: str, base: BaseScorer, rank: int = 5, seed: int = 1) -> Adapter:
    rng = np.random.default_rng(seed)
    sizes = {"R": base.taste_dim, "A": len(base.aspects), "H": rank}
    names = [f.name for f in fields(ADAPTERS[kind]) if f.name not in ("base_digest", "uncertainty")]
    arrays = {name: 0.1 * rng.normal(size=[sizes[letter] for letter in name.rsplit("_", 1)[1]]) for name in names}
    arrays["alpha_A"] += 1.0
    return ADAPTERS[kind](base.digest, **{name: array.astype(np.float32) for name, array in arrays.items()})


def images_of(module: StackedAdapter, taste_NR: np.ndarray, generic_NA: np.ndarray) -> torch.Tensor:
    """The same images for every place."""
    x_NX = np.zeros((len(taste_NR), module.width), np.float32)
    x_NX[:, : module.taste_dim] = taste_NR * np.float32(module.taste_unit)
    x_NX[:, padded(module.taste_dim) :][:, : module.num_aspects] = generic_NA
    return torch.from_numpy(x_NX).expand(module.num_places, -1, -1)


@pytest.mark.parametrize("num_aspects", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_module_scores_like_the_served_adapters(kind: str, num_aspects: int) -> None:
    base = base_of(num_aspects)
    rated = ratings(base, person(base), 40)
    adapters = [random_adapter(kind, base, seed=seed) for seed in range(3)]
    start = start_of(kind, base, 5, None)
    for centers in ([start], [start] * 3):
        module = build_module(kind, base, centers, 3)
        module.load([parameters_of(each, base, start) for each in adapters])
        with torch.no_grad():
            score_UNA = module(images_of(module, rated.taste_NR, rated.generic_NA)).clamp(0, 10).numpy()
        for score_NA, adapter in zip(score_UNA, adapters, strict=True):
            np.testing.assert_allclose(score_NA, adapter.score(rated.taste_NR, rated.generic_NA), atol=1e-5)
        now = module.parameters_now()
        for u, adapter in enumerate(adapters):
            back = adapter_of(module.user(now, u), base)
            for name, array in adapter.arrays().items():
                np.testing.assert_allclose(back.arrays()[name], array, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("num_aspects", [1, 3])
@pytest.mark.parametrize(("kind", "rank"), [("taste_vector", 1), *[("bottleneck", rank) for rank in (1, 2, 5, 16, 64)]])
def test_a_start_serves_the_generic_scores_bit_for_bit(kind: str, rank: int, num_aspects: int) -> None:
    base = base_of(num_aspects)
    rated = ratings(base, person(base), 50)
    adapter = adapter_of(start_of(kind, base, rank, None), base)
    assert np.array_equal(adapter.score(rated.taste_NR, rated.generic_NA), rated.generic_NA)


def test_a_bottleneck_at_its_start_can_learn_a_linear_taste_in_every_aspect() -> None:
    base = base_of(3)
    module = build_module("bottleneck", base, [start_of("bottleneck", base, 12, None)], 1)
    x = images_of(module, ratings(base, person(base), 8).taste_NR, np.full((8, 3), 5.0))
    for a in range(3):
        module.zero_grad()
        module(x)[0, :, a].sum().backward()
        gradient_H = module.down.grad[0].abs().sum(0)
        pairs_of_aspect = [2 * a, 2 * a + 1, 2 * a + 6, 2 * a + 7]  # every third pair belongs to this aspect
        assert sorted(gradient_H.nonzero()[:, 0].tolist()) == pairs_of_aspect


@pytest.mark.parametrize("kind", KINDS)
def test_what_fills_cache_lines_has_no_gradient(kind: str) -> None:
    base = base_of(3)
    module = build_module(kind, base, [start_of(kind, base, 5, None)], 1)
    module.load([parameters_of(random_adapter(kind, base), base, start_of(kind, base, 5, None))])
    rated = ratings(base, person(base), 20)
    module(images_of(module, rated.taste_NR, rated.generic_NA)).square().sum().backward()
    gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
    counted = sum(np.count_nonzero(value) for value in module.user(gradients, 0).values())
    assert sum(value[0].count_nonzero().item() for value in gradients.values()) == counted > 0
    for name, parameter in module.named_parameters():
        assert parameter[0].numel() % 16 == 0, name


def test_a_parent_keeps_its_rank_whatever_the_config_says() -> None:
    base = base_of(1)
    assert rank_of("bottleneck", 16, random_adapter("bottleneck", base, rank=5)) == 5
    assert rank_of("bottleneck", 16, None) == 16
    assert rank_of("taste_vector", 16, None) == 0


def test_the_zero_bottleneck_starts_like_a_new_one() -> None:
    base = base_of(1)
    start = start_of("bottleneck", base, 6, None)
    zero = parameters_of(Bottleneck.zero(base.digest, base.taste_dim, 1, rank=6), base, start)
    assert all(np.array_equal(zero[name], value) for name, value in start.items())


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_is_a_standard_deviation_of_the_prior(kind: str) -> None:
    base = base_of(2)
    start = start_of(kind, base, 4, None)
    moved = {**start, "offset.weight": start["offset.weight"] + np.float32(0.5)}
    np.testing.assert_allclose(adapter_of(moved, base).beta_A, 0.5 * base.offset_sd_A)


@pytest.mark.parametrize("kind", KINDS)
def test_a_prior_without_any_difference_between_people_still_gives_finite_numbers(kind: str) -> None:
    nothing = np.zeros(2, np.float32)
    base = replace(base_of(2), prior_sd_A=nothing, offset_sd_A=nothing, slope_sd_A=nothing)
    start = start_of(kind, base, 4, None)
    assert adapter_of(parameters_of(random_adapter(kind, base, 4), base, start), base).is_finite()


def test_a_prior_that_allows_no_slope_keeps_the_slope_of_a_parent_out() -> None:
    base = replace(base_of(1), slope_sd_A=np.zeros(1, np.float32))
    parent = random_adapter("taste_vector", base)
    assert parent.alpha_A[0] != 1.0
    assert adapter_of(parameters_of(parent, base, {}), base).alpha_A[0] == 1.0
