"""Torch modules against the NumPy adapters that are served."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from paaplus.scoring.adapters import ADAPTERS, Adapter, Bottleneck
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.strategies.datasets import FeedbackData, as_batch
from paaplus.strategies.modules import build_module, rows
from paaplus.strategies.template import batch_loss
from tests.support.learning import base_of, comparisons, none_of, person, ratings, trained_module


def random_adapter(kind: str, base: BaseScorer, rank: int = 5) -> Adapter:
    rng = np.random.default_rng(1)
    sizes = {"R": base.taste_dim, "A": len(base.aspects), "H": rank}
    names = [f.name for f in fields(ADAPTERS[kind]) if f.name not in ("base_digest", "uncertainty")]
    arrays = {name: 0.1 * rng.normal(size=[sizes[letter] for letter in name.rsplit("_", 1)[1]]) for name in names}
    arrays["alpha_A"] += 1.0
    return ADAPTERS[kind](base.digest, **{name: array.astype(np.float32) for name, array in arrays.items()})


@pytest.mark.parametrize("num_aspects", [1, 3])
@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_module_scores_like_the_served_adapter(kind: str, num_aspects: int) -> None:
    base = base_of(num_aspects)
    rated = ratings(base, person(base), 40)
    adapter = random_adapter(kind, base)
    module = build_module(kind, base, rank=16, parent=adapter)
    with torch.no_grad():
        score_NA = module(rows(rated.generic_NA, rated.taste_NR)).clamp(0, 10).numpy()
    np.testing.assert_allclose(score_NA, adapter.score(rated.taste_NR, rated.generic_NA), atol=1e-5)


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_an_adapter_survives_the_way_through_a_module(kind: str) -> None:
    base = base_of(2)
    adapter = random_adapter(kind, base)
    back = build_module(kind, base, rank=16, parent=adapter).to_adapter(base.digest)
    assert back.base_digest == base.digest
    for name, array in adapter.arrays().items():
        np.testing.assert_allclose(back.arrays()[name], array, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("num_aspects", [1, 3])
@pytest.mark.parametrize(("kind", "rank"), [("taste_vector", 1), *[("bottleneck", rank) for rank in (1, 2, 5, 16, 64)]])
def test_an_untrained_module_serves_the_generic_scores_bit_for_bit(kind: str, rank: int, num_aspects: int) -> None:
    base = base_of(num_aspects)
    rated = ratings(base, person(base), 50)
    adapter = build_module(kind, base, rank, parent=None).to_adapter(base.digest)
    assert np.array_equal(adapter.score(rated.taste_NR, rated.generic_NA), rated.generic_NA)


def test_an_untrained_bottleneck_can_learn_a_linear_taste_in_every_aspect() -> None:
    base = base_of(3)
    module = build_module("bottleneck", base, rank=12, parent=None)
    x = rows(np.full((8, 3), 5.0), ratings(base, person(base), 8).taste_NR)
    for a in range(3):
        module.zero_grad()
        module(x)[:, a].sum().backward()
        gradient_HR = module.down.weight.grad.abs().sum(1)
        pairs_of_aspect = [2 * a, 2 * a + 1, 2 * a + 6, 2 * a + 7]  # every third pair speaks for this aspect
        assert sorted(gradient_HR.nonzero()[:, 0].tolist()) == pairs_of_aspect


def test_a_parent_keeps_its_rank_whatever_the_config_says() -> None:
    base = base_of(1)
    adapter = random_adapter("bottleneck", base, rank=5)
    back = build_module("bottleneck", base, rank=16, parent=adapter).to_adapter(base.digest)
    assert isinstance(back, Bottleneck)
    assert back.down_RH.shape == (base.taste_dim, 5)


def test_the_zero_bottleneck_starts_like_a_new_one() -> None:
    base = base_of(1)
    zero = Bottleneck.zero(base.digest, base.taste_dim, 1, rank=6)
    new = build_module("bottleneck", base, rank=6, parent=None).to_adapter(base.digest)
    assert build_module("bottleneck", base, rank=6, parent=zero).to_adapter(base.digest).digest == new.digest


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_penalty_is_the_squared_distance_from_the_start_in_prior_units(kind: str) -> None:
    base = base_of(2)
    module = build_module(kind, base, rank=4, parent=None)
    assert module.penalty().item() == 0.0
    with torch.no_grad():
        module.offset.weight += 0.5  # two aspects, half a prior sd each
    assert module.penalty().item() == pytest.approx(2 * 0.5**2)
    adapter = module.to_adapter(base.digest)
    np.testing.assert_allclose(adapter.beta_A, 0.5 * base.offset_sd_A)


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_a_prior_without_any_difference_between_people_still_gives_finite_numbers(kind: str) -> None:
    nothing = np.zeros(2, np.float32)
    base = replace(base_of(2), prior_sd_A=nothing, offset_sd_A=nothing, slope_sd_A=nothing)
    module = build_module(kind, base, rank=4, parent=random_adapter(kind, base))
    assert module.to_adapter(base.digest).is_finite()


def test_a_prior_that_allows_no_slope_keeps_the_slope_of_a_parent_out() -> None:
    base = replace(base_of(1), slope_sd_A=np.zeros(1, np.float32))
    parent = random_adapter("taste_vector", base)
    assert parent.alpha_A[0] != 1.0
    assert build_module("taste_vector", base, 4, parent).to_adapter(base.digest).alpha_A[0] == 1.0


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_comparisons_say_nothing_of_an_offset(kind: str) -> None:
    """Not even rounding: Adam would make full steps of it."""
    base = base_of(2)
    data = FeedbackData.of(none_of(ratings(base, person(base), 1)), "cpu", comparisons(base, person(base), 37))
    module = trained_module(base, kind)
    batch = as_batch(data, torch.arange(37))
    batch_loss(module(batch.x), batch, torch.tensor([0.5, 2.0])).backward()
    assert not module.offset.weight.grad.any()
    assert module.slope.weight.grad.all()
