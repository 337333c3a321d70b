"""Training many users at once: everybody becomes what they would have become alone, and harms nobody."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import DivergedError, InvalidInput, PaaplusError, TrainingStopped
from paaplus.scoring.tensors import pack, unpack
from paaplus.strategies import cohort_steps
from paaplus.strategies.cohort_rows import RECIPES
from paaplus.training import Trained, TrainingRequest, train, train_cohort
from tests.support.learning import (
    SMALL,
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
UNSEEN = ratings(BASE, person(BASE, seed=50), 200, seed=50)
KINDS = ("taste_vector", "bottleneck")
FUSED = [(strategy, kind) for kind in KINDS for strategy in RECIPES]
every_fused_pair = pytest.mark.parametrize(("strategy", "kind"), FUSED)
# Ratings and comparisons of everybody's first increment: more and fewer than a batch, one or the other only.
SIZES = [(24, 0), (5, 0), (12, 6), (0, 9), (40, 3), (8, 0), (9, 1)]


@functools.cache
def first_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    """Ragged: sizes as above, and aspects missing here and there."""
    requests = []
    for u, (num_ratings, num_comparisons) in enumerate(SIZES):
        new = ratings(BASE, person(BASE, u), max(num_ratings, 1), seed=u)
        request = first_request(strategy, kind, BASE, new if num_ratings else none_of(new))
        if num_comparisons:
            said = comparisons(BASE, person(BASE, u), num_comparisons, first_sequence=60, seed=u)
            request = replace(request, new_compared=said)
        requests.append(request)
    return requests


@functools.cache
def alone(strategy: str, kind: str) -> list[Trained]:
    return [train(request) for request in first_requests(strategy, kind)]


@functools.cache
def second_requests(strategy: str, kind: str) -> list[TrainingRequest]:
    """Everybody's second increment, of other sizes, and one new user who has no past."""
    pairs = zip(first_requests(strategy, kind), alone(strategy, kind), strict=True)
    requests = [
        next_request(request, trained, ratings(BASE, person(BASE, u), 20 - 2 * u, first_sequence=100, seed=u))
        for u, (request, trained) in enumerate(pairs)
    ]
    return [*requests, first_request(strategy, kind, BASE, ratings(BASE, person(BASE, 30), 10, seed=30))]


def scores(trained: Trained) -> np.ndarray:
    return trained.adapter.score(UNSEEN.taste_NR, UNSEEN.generic_NA)


def assert_equal(fused: Trained, solo: Trained) -> None:
    """As good as the same: scores, learner state, metrics."""
    np.testing.assert_allclose(scores(fused), scores(solo), atol=1e-5, rtol=0)
    (arrays, metadata), (expected, expected_metadata) = unpack(fused.state), unpack(solo.state)
    assert {**metadata, "adapter": ""} == {**expected_metadata, "adapter": ""}
    assert metadata["adapter"] == fused.adapter.digest
    assert {name: (each.dtype, each.shape) for name, each in arrays.items()} == {
        name: (each.dtype, each.shape) for name, each in expected.items()
    }
    importances = [each for name, each in expected.items() if "." in name]
    largest = max((float(np.abs(each).max()) for each in importances), default=0.0)
    for name, each in expected.items():
        if "." in name:
            np.testing.assert_allclose(arrays[name], each, atol=1e-5 * largest, rtol=1e-4)
        elif name == "dark_K2A":  # scores
            np.testing.assert_allclose(arrays[name], each, atol=1e-5, rtol=0)
        else:
            assert np.array_equal(arrays[name], each), name
    assert fused.metrics.keys() == solo.metrics.keys()
    for name, value in solo.metrics.items():
        assert fused.metrics[name] == pytest.approx(value, abs=1e-4, nan_ok=True), name


@every_fused_pair
def test_everybody_becomes_what_they_become_alone(strategy: str, kind: str) -> None:
    fused = trained_of(train_cohort(first_requests(strategy, kind)))
    for each, solo in zip(fused, alone(strategy, kind), strict=True):
        assert_equal(each, solo)


@every_fused_pair
def test_a_user_goes_on_either_way_whichever_way_they_came(strategy: str, kind: str) -> None:
    came_alone = second_requests(strategy, kind)
    fused = train_cohort(first_requests(strategy, kind))
    came_fused = [
        replace(request, parent=before.adapter, state=before.state)
        for request, before in zip(came_alone, trained_of(fused), strict=False)
    ] + came_alone[len(fused) :]
    for one, two, request in zip(
        trained_of(train_cohort(came_fused)), trained_of(train_cohort(came_alone)), came_alone, strict=True
    ):
        expected = train(request)
        assert_equal(two, expected)
        np.testing.assert_allclose(scores(one), scores(expected), atol=1e-5, rtol=0)


def assert_same_bytes(outcomes: Sequence[Trained | PaaplusError], expected: Sequence[Trained | PaaplusError]) -> None:
    for each, other in zip(trained_of(outcomes), trained_of(expected), strict=True):
        assert same_bytes(each, other)


@functools.cache
def second_outcomes(strategy: str, kind: str) -> list[Trained | PaaplusError]:
    return train_cohort(second_requests(strategy, kind))


def diverged(strategy: str, kind: str, broken: TrainingRequest) -> PaaplusError:
    """The error of a third user who diverges among others, who must be what they are beside a healthy one."""
    requests, healthy = second_requests(strategy, kind), second_outcomes(strategy, kind)
    outcomes = train_cohort([*requests[:2], broken, *requests[3:]])
    assert_same_bytes([*outcomes[:2], *outcomes[3:]], [*healthy[:2], *healthy[3:]])
    assert isinstance(outcomes[2], DivergedError)
    return outcomes[2]


@every_fused_pair
def test_a_user_who_diverges_harms_nobody(strategy: str, kind: str) -> None:
    request = second_requests(strategy, kind)[2]
    heavy = replace(request.new, weight_N=np.full(len(request.new), 3e38, np.float32))  # finite, but their sum is not
    error = diverged(strategy, kind, replace(request, new=heavy))
    assert str(error).startswith(f"{strategy}: loss inf at step 0 of 30")


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_out_of_all_bounds_harms_nobody(kind: str) -> None:
    request = second_requests("distillation", kind)[2]
    huge = replace(request.parent, alpha_A=np.full(2, 6e37, np.float32))  # some of its scores are infinite
    diverged("distillation", kind, replace(request, parent=huge, state=None))


@every_fused_pair
def test_users_with_broken_data_are_as_if_they_were_not_there(strategy: str, kind: str) -> None:
    requests = second_requests(strategy, kind)
    first, second = requests[:2]
    broken = replace(first.new, taste_NR=np.full_like(first.new.taste_NR, np.nan))
    *outcomes, no_number, other_state = train_cohort(
        [*requests, replace(first, new=broken), replace(first, state=second.state)]
    )
    assert_same_bytes(outcomes, second_outcomes(strategy, kind))
    assert isinstance(no_number, InvalidInput)
    assert "new ratings with taste or generic scores that are not finite" in str(no_number)
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
    everybody = train_cohort([*requests, *(replace(requests[0], state=state) for state in states)])
    errors = [each for each in everybody[len(requests) :] if isinstance(each, PaaplusError)]
    assert all(isinstance(error, InvalidInput) and "learner state" in str(error) for error in errors)
    assert len(errors) > len(arrays), "some do without"
    for outcome, request in zip(trained_of(everybody[: len(requests)]), requests, strict=True):
        assert_equal(outcome, train(request))


def same_bytes(fused: Trained, solo: Trained) -> bool:
    return (fused.adapter.to_bytes(), fused.state, fused.metrics) == (solo.adapter.to_bytes(), solo.state, solo.metrics)


@pytest.mark.parametrize("strategy", ["bayes", "agem", "joint", "cumulative"])
def test_strategies_that_cannot_be_fused_are_trained_one_by_one(strategy: str) -> None:
    requests = [replace(request, strategy=strategy) for request in second_requests("naive", "taste_vector")]
    for outcome, request in zip(trained_of(train_cohort(requests)), requests, strict=True):
        assert same_bytes(outcome, train(request))


@every_fused_pair
def test_a_center_is_meant_for_a_cohort_too(strategy: str, kind: str) -> None:
    """In a first increment, and in the next ones, beside people without one and with another one."""
    firsts = [
        replace(request, center=taste_of(BASE, 0.5 * person(BASE, 60 + u), offset=0.4, slope=-0.2) if u % 3 else None)
        for u, request in enumerate(first_requests(strategy, kind))
    ]
    trained = trained_of(train_cohort(firsts))
    for outcome, request in zip(trained, firsts, strict=True):
        assert_equal(outcome, train(request))
        assert not request.center or outcome.adapter.digest != train(replace(request, center=None)).adapter.digest
    seconds = [
        next_request(request, each, ratings(BASE, person(BASE, u), 14, first_sequence=100, seed=u))
        for u, (request, each) in enumerate(zip(firsts, trained, strict=True))
    ]
    for outcome, request in zip(trained_of(train_cohort(seconds)), seconds, strict=True):
        assert_equal(outcome, train(request))


def test_nobody_else_suffers_from_a_center_that_cannot_be_one() -> None:
    requests = [replace(each, config=replace(SMALL, rank=2)) for each in first_requests("replay", "bottleneck")]
    refused, *outcomes = train_cohort([replace(requests[0], center=taste_of(BASE, person(BASE))), *requests[1:]])
    assert isinstance(refused, InvalidInput)
    assert "rank 2 cannot start" in str(refused)
    assert_same_bytes(outcomes, train_cohort(requests[1:]))


def test_a_mixed_queue_is_sorted_out() -> None:
    """Several strategies, kinds, ranks, seeds and base models in one call, answered in order."""
    other = base_of(1)
    requests = [
        *first_requests("replay_ewc", "bottleneck")[:2],
        *first_requests("replay_ewc", "taste_vector")[:2],
        *(replace(each, config=replace(SMALL, rank=4)) for each in first_requests("replay_ewc", "bottleneck")[:3]),
        *(replace(each, config=replace(SMALL, seed=7)) for each in first_requests("naive", "bottleneck")[:2]),
        *(first_request("naive", "bottleneck", other, ratings(other, person(other, u), 12)) for u in range(2)),
        replace(first_requests("naive", "bottleneck")[0], strategy="bayes"),
    ]
    *outcomes, refused = train_cohort(requests)
    assert isinstance(refused, InvalidInput)
    for outcome, request in zip(trained_of(outcomes), requests, strict=False):
        assert outcome.adapter.kind == request.adapter_kind
        assert outcome.adapter.base_digest == request.base.digest
        solo = train(request)
        np.testing.assert_allclose(
            outcome.adapter.score(request.new.taste_NR, request.new.generic_NA),
            solo.adapter.score(request.new.taste_NR, request.new.generic_NA),
            atol=1e-5,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_of_another_rank_keeps_it(kind: str) -> None:
    requests = [replace(each, config=replace(SMALL, rank=9)) for each in second_requests("replay_ewc", kind)]
    for outcome, request in zip(trained_of(train_cohort(requests)), requests, strict=True):
        assert_equal(outcome, train(request))


@every_fused_pair
@pytest.mark.parametrize(
    "change",
    [
        {"recency_half_life": 5.0},
        {"replay_batch_size": 0, "distillation_pool": 0.5},
        {"buffer_size": 0, "distillation_pool": 0.0},
        {"prior_strength": 0.0, "ewc_decay": 0.5, "distillation_batch": 0.0},
    ],
)
def test_what_is_configured_is_meant_for_a_cohort_too(strategy: str, kind: str, change: dict[str, float]) -> None:
    requests = [
        replace(request, config=replace(request.config, num_steps=10, **change))
        for request in second_requests(strategy, kind)[:4]
    ]
    for outcome, request in zip(trained_of(train_cohort(requests)), requests, strict=True):
        assert_equal(outcome, train(request))


@every_fused_pair
def test_feedback_taken_back_leaves_the_state(strategy: str, kind: str) -> None:
    requests = []
    gone = {1, 2, 3, 60, 61}
    for request in second_requests(strategy, kind)[:5]:
        kept = request.past.select(~np.isin(request.past.sequence_N, list(gone)))
        kept_compared = request.past_compared
        if len(kept_compared):
            kept_compared = kept_compared.select(~np.isin(kept_compared.sequence_C, list(gone)))
        requests.append(replace(request, past=kept, past_compared=kept_compared))
    for outcome, request in zip(trained_of(train_cohort(requests)), requests, strict=True):
        arrays, _ = unpack(outcome.state)
        assert not {int(s) for name, each in arrays.items() if "_sequence_" in name for s in each} & gone
        assert_equal(outcome, train(request))


@pytest.mark.parametrize("kind", KINDS)
def test_with_nothing_new_the_candidate_is_the_parent(kind: str) -> None:
    requests = [replace(each, new=none_of(each.new)) for each in second_requests("replay_ewc", kind)[:3]]
    for outcome, request in zip(trained_of(train_cohort(requests)), requests, strict=True):
        assert same_bytes(outcome, train(request))


@every_fused_pair
def test_how_steps_are_laid_out_does_not_matter(strategy: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = second_requests(strategy, kind)
    at_once = trained_of(train_cohort(requests))
    monkeypatch.setattr(cohort_steps, "_STEPS_PER_BLOCK", 7)
    assert_same_bytes(train_cohort(requests), at_once)


def test_the_same_cohort_gives_the_same_bytes() -> None:
    requests = second_requests("replay_si", "bottleneck")
    pairs = zip(trained_of(train_cohort(requests)), trained_of(train_cohort(requests)), strict=True)
    assert all(same_bytes(one, two) for one, two in pairs)


def test_a_cohort_stops_before_the_step_it_is_told_to() -> None:
    answers = iter([False] * 5 + [True])
    with pytest.raises(TrainingStopped, match="replay: cohort stopped at step 5 of 30"):
        train_cohort(first_requests("replay", "bottleneck"), should_stop=lambda: next(answers))


def test_no_requests_are_no_work() -> None:
    assert train_cohort([]) == []


def test_importances_are_those_of_each_user_alone() -> None:
    """Two users of opposite feedback: the state of one must hold nothing of the other's."""
    one, other = (
        first_request("ewc", "taste_vector", BASE, ratings(BASE, person(BASE, u), 10, seed=u)) for u in (0, 1)
    )
    silent = replace(other, new=replace(other.new, target_NA=np.full_like(other.new.target_NA, np.nan)))
    with_silent = trained_of(train_cohort([one, silent]))
    arrays, _ = unpack(with_silent[1].state)
    assert not any(each.any() for name, each in arrays.items() if name.startswith("fisher."))
    assert_equal(with_silent[0], train(one))
