"""The entry into training: what it refuses, and equal results on any device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.records import RatedSet
from paaplus.training import TrainingRequest, train
from tests.support.learning import STEP_PAIRS, base_of, comparisons, first_request, next_request, person, ratings
from tests.support.tiny import tiny_base

BASE = base_of(2)
RATED = ratings(BASE, person(BASE), 12)
COMPARED = comparisons(BASE, person(BASE), 5, first_sequence=50)


def request_with(strategy: str = "replay", kind: str = "taste_vector", **changes: object) -> TrainingRequest:
    return replace(first_request(strategy, kind, BASE, RATED), **changes)


@pytest.mark.parametrize(("strategy", "kind"), [("bayes", "bottleneck"), ("magic", "taste_vector"), ("ewc", "lora")])
def test_a_strategy_that_cannot_train_the_adapter_is_refused(strategy: str, kind: str) -> None:
    with pytest.raises(InvalidInput, match=f"strategy '{strategy}' cannot train adapter '{kind}'"):
        train(request_with(strategy, kind))


def test_ratings_of_another_taste_space_are_refused() -> None:
    wide = RatedSet.of(RATED.sequence_N, np.zeros((12, 7)), RATED.generic_NA, RATED.target_NA)
    message = r"new ratings have rows of \(\(7,\), \(2,\), \(2,\)\), the base model has 6 and 2"
    with pytest.raises(InvalidInput, match=message):
        train(request_with(new=wide))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("taste_NR", np.nan, "taste or generic scores that are not finite"),
        ("generic_NA", np.inf, "taste or generic scores that are not finite"),
        ("target_NA", np.inf, "infinite targets"),
        ("weight_N", -1.0, "weights that are negative or not finite"),
        ("weight_N", np.nan, "weights that are negative or not finite"),
    ],
)
@pytest.mark.parametrize("part", ["new", "past"])
def test_numbers_that_cannot_be_right_are_refused(part: str, column: str, value: float, message: str) -> None:
    broken = getattr(RATED, column).copy()
    broken[3] = value
    other = replace(RATED, sequence_N=RATED.sequence_N + 100)
    parts = {"new": RATED, "past": other} | {part: replace(RATED if part == "new" else other, **{column: broken})}
    with pytest.raises(InvalidInput, match=f"{part} ratings with {message}"):
        train(request_with(**parts))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("first_taste_CR", np.nan, "taste or generic scores that are not finite"),
        ("second_generic_CA", np.inf, "taste or generic scores that are not finite"),
        ("preference_CA", 0.7, "preferences other than 1, 0, 0.5, 2, -1"),
        ("preference_CA", np.inf, "preferences other than 1, 0, 0.5, 2, -1"),
        ("weight_C", -1.0, "weights that are negative or not finite"),
    ],
)
@pytest.mark.parametrize("part", ["new", "past"])
def test_comparisons_that_cannot_be_right_are_refused(part: str, column: str, value: float, message: str) -> None:
    broken = getattr(COMPARED, column).copy()
    broken[3] = value
    with pytest.raises(InvalidInput, match=f"{part} comparisons with {message}"):
        train(request_with(**{f"{part}_compared": replace(COMPARED, **{column: broken})}))


def test_comparisons_of_another_taste_space_are_refused() -> None:
    wide_CR = np.zeros((5, 7), np.float32)
    wide = replace(COMPARED, first_taste_CR=wide_CR, second_taste_CR=wide_CR)
    with pytest.raises(InvalidInput, match=r"new comparisons have rows of \(\(7,\), \(2,\), \(2,\)\)"):
        train(request_with(new_compared=wide))


def test_an_event_cannot_be_a_rating_and_a_comparison() -> None:
    twice = replace(COMPARED, sequence_C=np.arange(12, 17))
    with pytest.raises(InvalidInput, match="event 12 is given twice"):
        train(request_with(new_compared=twice))


def test_a_parent_of_another_kind_is_refused() -> None:
    parent = train(request_with("naive", "bottleneck")).adapter
    with pytest.raises(InvalidInput, match="parent adapter is a bottleneck, asked to train a taste_vector"):
        train(request_with(parent=parent))


def test_a_parent_of_another_base_model_is_refused() -> None:
    other = tiny_base(BASE.aspects, seed=1)
    parent = train(replace(request_with(), base=other)).adapter
    with pytest.raises(InvalidInput, match=f"parent adapter stands on base {other.digest[:12]}"):
        train(request_with(parent=parent))


@pytest.mark.gpu
@pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)
def test_a_gpu_learns_what_the_cpu_learns(strategy: str, kind: str) -> None:
    second = ratings(BASE, person(BASE, seed=1), 12, first_sequence=30)
    on_cpu = request_with(strategy, kind)
    on_gpu = replace(on_cpu, device="cuda")
    one, two = train(on_cpu), train(on_gpu)
    again = train(next_request(on_cpu, one, second)), train(next_request(on_gpu, two, second))
    for cpu, gpu in ((one, two), again):
        for name, array in cpu.adapter.arrays().items():
            assert gpu.adapter.arrays()[name].dtype == np.float32
            np.testing.assert_allclose(gpu.adapter.arrays()[name], array, atol=1e-3, err_msg=name)
    assert train(next_request(on_gpu, two, second)).adapter.digest == again[1].adapter.digest
