"""Training many users in one call: everybody becomes what they become alone, and harms nobody."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from paaplus.configs import PRIOR_STRATEGIES
from paaplus.errors import DivergedError, InvalidInput, PaaplusError, TrainingStopped
from paaplus.scoring.tensors import pack, unpack
from paaplus.strategies import stack
from paaplus.training import Trained, TrainingRequest, train, train_many
from tests.support.learning import (
    PAIRS,
    SMALL,
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

BASE = base_of(2)
KINDS = ("taste_vector", "bottleneck")
QUICK = replace(SMALL, num_steps=6)
every_step_pair = pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)
# Ratings and comparisons of everybody's first increment: more and fewer than a batch, one or the other only.
SIZES = [(24, 0), (5, 0), (12, 6), (0, 9), (40, 3), (8, 0), (9, 1)]


@functools.cache
def first_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    """Ragged: sizes as above, and aspects missing here and there; one with a centre."""
    requests = []
    for u, (num_ratings, num_comparisons) in enumerate(SIZES):
        new = ratings(BASE, person(BASE, u), max(num_ratings, 1), seed=u)
        request = first_request(strategy, kind, BASE, new if num_ratings else none_of(new), QUICK)
        if num_comparisons:
            compared = comparisons(BASE, person(BASE, u), num_comparisons, first_sequence=60, seed=u)
            request = replace(request, new_compared=compared)
        if u == 4 and strategy not in PRIOR_STRATEGIES:
            request = replace(request, center=taste_of(BASE, 0.5 * person(BASE, 60), offset=0.4, slope=-0.2))
        requests.append(request)
    return requests


@functools.cache
def second_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    """Everybody's second increment, of other sizes, and one new user who has no past."""
    pairs = zip(first_requests(strategy, kind), trained_of(train_many(first_requests(strategy, kind))), strict=True)
    requests = [
        next_request(request, trained, ratings(BASE, person(BASE, u), 20 - 2 * u, first_sequence=100, seed=u))
        for u, (request, trained) in enumerate(pairs)
    ]
    return [*requests, first_request(strategy, kind, BASE, ratings(BASE, person(BASE, 30), 10, seed=30), QUICK)]


@functools.cache
def second_outcomes(strategy: str, kind: str) -> list[Trained | PaaplusError]:
    return train_many(second_requests(strategy, kind))


def bytes_of(outcomes: Sequence[Trained | PaaplusError]) -> list[tuple[bytes, bytes, dict[str, float]]]:
    return [(each.adapter.to_bytes(), each.state, each.metrics) for each in trained_of(outcomes)]


@pytest.mark.parametrize(("strategy", "kind"), PAIRS)
@pytest.mark.slow
def test_everybody_becomes_what_they_become_alone(strategy: str, kind: str) -> None:
    """In their second increment; test_batch_independence.py has first and third ones."""
    alone = [train(request) for request in second_requests(strategy, kind)]
    assert bytes_of(second_outcomes(strategy, kind)) == bytes_of(alone)


def diverged(strategy: str, kind: str, broken: TrainingRequest) -> PaaplusError:
    """The error of a third user who diverges among others, who must be what they are beside a healthy one."""
    requests, healthy = second_requests(strategy, kind), second_outcomes(strategy, kind)
    outcomes = train_many([*requests[:2], broken, *requests[3:]])
    assert bytes_of([*outcomes[:2], *outcomes[3:]]) == bytes_of([*healthy[:2], *healthy[3:]])
    assert isinstance(outcomes[2], DivergedError)
    return outcomes[2]


@every_step_pair
def test_a_user_who_diverges_harms_nobody(strategy: str, kind: str) -> None:
    request = second_requests(strategy, kind)[2]
    heavy = replace(request.new, weight_N=np.full(len(request.new), 3e38, np.float32))  # finite, but their sum is not
    error = diverged(strategy, kind, replace(request, new=heavy))
    assert str(error).startswith(f"{strategy}: loss inf at step 0 of {QUICK.num_steps}")


@every_step_pair
def test_a_user_whose_sums_overflow_at_the_end_harms_nobody(strategy: str, kind: str) -> None:
    """Weights that a step takes, and importances or a batch of everything do not."""
    request = second_requests(strategy, kind)[2]
    heavy = replace(request.new, weight_N=np.full(len(request.new), 3e37, np.float32))
    requests, healthy = second_requests(strategy, kind), second_outcomes(strategy, kind)
    outcomes = train_many([*requests[:2], replace(request, new=heavy), *requests[3:]])
    assert bytes_of([*outcomes[:2], *outcomes[3:]]) == bytes_of([*healthy[:2], *healthy[3:]])


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_out_of_all_bounds_harms_nobody(kind: str) -> None:
    request = second_requests("distillation", kind)[2]
    huge = replace(request.parent, alpha_A=np.full(2, 6e37, np.float32))  # some of its scores are infinite
    diverged("distillation", kind, replace(request, parent=huge, state=None))


@every_step_pair
def test_users_with_broken_data_are_as_if_they_were_not_there(strategy: str, kind: str) -> None:
    requests = second_requests(strategy, kind)
    first, second = requests[:2]
    broken = replace(first.new, taste_NR=np.full_like(first.new.taste_NR, np.nan))
    other = replace(first, state=None if strategy == "joint" else second.state)
    *outcomes, no_number, other_state = train_many([*requests, replace(first, new=broken), other])
    assert bytes_of(outcomes) == bytes_of(second_outcomes(strategy, kind))
    assert isinstance(no_number, InvalidInput)
    assert "new ratings with taste or generic scores that are not finite" in str(no_number)
    if strategy != "joint":  # which reads no state
        assert isinstance(other_state, InvalidInput)
        assert "the learner state belongs to adapter" in str(other_state)


@pytest.mark.parametrize("kind", KINDS)
def test_users_with_incomplete_states_are_as_if_they_were_not_there(kind: str) -> None:
    requests = second_requests("replay_ewc", kind)
    arrays, metadata = unpack(requests[0].state)
    broken = []
    for name, array in arrays.items():
        broken += [{other: each for other, each in arrays.items() if other != name}, {**arrays, name: array[None]}]
    states = [pack(each, metadata) for each in broken]
    everybody = train_many([*requests, *(replace(requests[0], state=state) for state in states)])
    errors = [each for each in everybody[len(requests) :] if isinstance(each, PaaplusError)]
    assert all(isinstance(error, InvalidInput) and "learner state" in str(error) for error in errors)
    assert len(errors) > len(arrays), "some do without"
    assert bytes_of(everybody[: len(requests)]) == bytes_of(second_outcomes("replay_ewc", kind))


def test_nobody_else_suffers_from_a_center_that_cannot_be_one() -> None:
    requests = [replace(each, config=replace(QUICK, rank=2)) for each in first_requests("replay", "bottleneck")[:4]]
    refused, *outcomes = train_many([replace(requests[0], center=taste_of(BASE, person(BASE))), *requests[1:]])
    assert isinstance(refused, InvalidInput)
    assert "rank 2 cannot start" in str(refused)
    assert bytes_of(outcomes) == bytes_of(train_many(requests[1:]))


@pytest.mark.slow
def test_a_mixed_queue_is_sorted_out() -> None:
    """Several strategies, kinds, ranks, seeds and base models in one call, answered in order."""
    other = base_of(1)
    requests = [
        *first_requests("replay_ewc", "bottleneck")[:2],
        *first_requests("bayes", "taste_vector")[:1],
        *first_requests("replay_ewc", "taste_vector")[:2],
        *(replace(each, config=replace(QUICK, rank=4)) for each in first_requests("replay_ewc", "bottleneck")[:3]),
        *(replace(each, config=replace(QUICK, seed=7)) for each in first_requests("naive", "bottleneck")[:2]),
        *(first_request("naive", "bottleneck", other, ratings(other, person(other, u), 12)) for u in range(2)),
    ]
    *outcomes, refused = train_many([*requests, replace(first_requests("naive", "bottleneck")[0], strategy="bayes")])
    assert isinstance(refused, InvalidInput)
    assert bytes_of(outcomes) == bytes_of([train(request) for request in requests])


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_of_another_rank_keeps_it(kind: str) -> None:
    requests = [replace(each, config=replace(QUICK, rank=9)) for each in second_requests("replay_ewc", kind)]
    outcomes = trained_of(train_many(requests))
    assert bytes_of(outcomes) == bytes_of([train(request) for request in requests])
    if kind == "bottleneck":
        assert [len(each.adapter.up_HA) for each in outcomes] == [6] * len(SIZES) + [9]


@every_step_pair
def test_with_nothing_new_the_candidate_is_the_parent(strategy: str, kind: str) -> None:
    requests = second_requests(strategy, kind)
    nothing_new = [replace(each, new=none_of(each.new)) for each in requests[:3]]
    outcomes = train_many([*nothing_new, requests[3]])
    assert bytes_of(outcomes) == bytes_of([*(train(request) for request in nothing_new), train(requests[3])])
    if strategy != "joint":  # which learns anew
        for outcome, request in zip(trained_of(outcomes), nothing_new, strict=False):
            assert np.array_equal(outcome.adapter.alpha_A, request.parent.alpha_A)
            assert outcome.metrics["num_steps"] == 0


@every_step_pair
def test_how_steps_are_laid_out_does_not_matter(strategy: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = second_requests(strategy, kind)
    at_once = bytes_of(second_outcomes(strategy, kind))
    monkeypatch.setattr(stack, "_STEPS_PER_BLOCK", 3)
    assert bytes_of(train_many(requests)) == at_once


def test_many_stop_before_the_step_they_are_told_to() -> None:
    answers = iter([False] * 5 + [True])
    with pytest.raises(TrainingStopped, match=f"replay: stopped at step 5 of {QUICK.num_steps}"):
        train_many(first_requests("replay", "bottleneck"), should_stop=lambda: next(answers))


def test_no_requests_are_no_work() -> None:
    assert train_many([]) == []


def test_importances_are_those_of_each_user_alone() -> None:
    """Two users, one of whom says nothing: the state of one must hold nothing of the other's."""
    one, other = (
        first_request("ewc", "taste_vector", BASE, ratings(BASE, person(BASE, u), 10, seed=u)) for u in (0, 1)
    )
    silent = replace(other, new=replace(other.new, target_NA=np.full_like(other.new.target_NA, np.nan)))
    with_silent = trained_of(train_many([one, silent]))
    arrays, _ = unpack(with_silent[1].state)
    assert not any(each.any() for name, each in arrays.items() if name.startswith("fisher."))
    assert bytes_of(with_silent[:1]) == bytes_of([train(one)])


@every_step_pair
def test_a_parent_whose_squares_are_infinite_is_told_with_its_loss(strategy: str, kind: str) -> None:
    request = second_requests(strategy, kind)[0]
    huge = replace(request.parent, alpha_A=np.full(2, 1e25, np.float32))
    if strategy == "joint":  # which does not go on from it
        assert train(replace(request, parent=huge, state=None)).adapter.is_finite()
        return
    with pytest.raises(DivergedError, match=f"{strategy}: loss inf at step 0 of {QUICK.num_steps}"):
        train(replace(request, parent=huge, state=None))
