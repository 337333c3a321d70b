"""The penalty against its formula, importances that add up, and those of feedback that was taken back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.records import RatedSet
from paaplus.scoring.tensors import unpack
from paaplus.strategies.replay import KeyedSample
from paaplus.strategies.state import SeenFeedback, digest_of, packed_state
from paaplus.training import train
from tests.support.learning import SMALL, base_of, base_of_dim, first_request, next_request, none_of, person, ratings
from tests.support.oracle import fisher_of

BASE = base_of(2)


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
    alone = fisher_of(again.adapter, BASE, second)
    for name, before in fishers(trained.state).items():
        expected = 0.5 * before + alone[name.removeprefix("fisher.")]
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
    parts = [
        fisher_of(trained.adapter, BASE, rated.select(~np.isin(rated.sequence_N, (3, 4, 15))))
        for rated in (first, second, third)
    ]
    for name, value in fishers(actual.state).items():
        one, two, three = (part[name.removeprefix("fisher.")] for part in parts)
        np.testing.assert_allclose(value, 0.25 * one + 0.5 * two + three, rtol=1e-4)
    seen = SeenFeedback.restored(unpack(actual.state)[0], "fisher")
    assert seen.digest == digest_of(np.array(sorted(set(range(1, 25)) - {3, 4, 15})))


@pytest.mark.parametrize("strategy", ["ewc", "si", "mas", "replay_ewc"])
def test_a_state_from_before_any_increment_is_gone_on_from(strategy: str) -> None:
    """A first training with nothing new (all of it held out, say) leaves a state that names no importances."""
    nothing = first_request(strategy, "taste_vector", BASE, none_of(weighted(12)))
    trained = train(nothing)
    with_state = train(next_request(nothing, trained, weighted(12)))
    without = train(replace(nothing, new=weighted(12), parent=trained.adapter))
    assert with_state.adapter.digest == without.adapter.digest


@pytest.mark.slow
def test_a_late_rating_that_is_gone_leaves_the_importances() -> None:
    """One that was excluded, released and trained after newer ones, and is then retracted."""
    early, late = weighted(12).select(np.arange(12) != 4), weighted(12).select(np.arange(12) == 4)
    request = first_request("ewc", "taste_vector", BASE, early)
    request = next_request(request, train(request), late)
    request = next_request(request, train(request), weighted(4, first_sequence=21))
    assert train(request).adapter.digest != train(replace(request, past=early)).adapter.digest
    purged = train(replace(request, past=early))
    never = first_request("ewc", "taste_vector", BASE, early)
    expected = fishers(train(next_request(never, train(never), none_of(early))).state)
    new = fisher_of(purged.adapter, BASE, request.new)
    for name, value in fishers(purged.state).items():
        # two increments have come since, by their number
        np.testing.assert_allclose(
            value, 0.9**2 * expected[name] + new[name.removeprefix("fisher.")], rtol=1e-4, err_msg=name
        )


@pytest.mark.slow
def test_what_is_kept_of_the_events_that_were_seen_has_a_bound() -> None:
    seen, sizes, past_N = SeenFeedback(), [], np.empty(0, np.int64)
    rng = np.random.default_rng(0)
    for increment in range(1000):
        new_N = 1 + 30 * increment + np.sort(rng.choice(30, 20, replace=False))  # a third is held out or no rating
        seen.add(past_N, new_N)
        past_N = np.concatenate([past_N, new_N])
        sizes.append(sum(array.nbytes for array in seen.arrays("fisher").values()))
        assert seen.digest == seen.digest_among(past_N)
    assert max(sizes) == sizes[-1] < 2000
    assert seen.digest != seen.digest_among(past_N[1:])
    age_N = seen.ages(past_N)
    assert age_N[-20:].tolist() == [0] * 20
    assert age_N[-2000:].tolist() == [99 - i // 20 for i in range(2000)]
    assert (age_N >= 0).all()


def test_importances_do_not_hold_what_came_before_them() -> None:
    """A past without a state, from another strategy: it was never seen, so it cannot be gone."""
    past, new = weighted(12), weighted(8, first_sequence=13)
    request = replace(first_request("ewc", "taste_vector", BASE, new), past=past)
    request = next_request(request, train(request), weighted(4, first_sequence=21))
    fewer = replace(request, past=request.past.select(request.past.sequence_N != 3))
    assert train(fewer).state == train(request).state
    gone = replace(request, past=request.past.select(request.past.sequence_N != 15))
    assert train(gone).state != train(request).state


@pytest.mark.parametrize("num_events", [1_000, 10_000])
@pytest.mark.slow
def test_state_of_replay_ewc_is_no_larger_after_a_long_history(num_events: int) -> None:
    """At the default configuration and the widest taste space."""
    base = base_of_dim(256)
    rated = ratings(base, person(base), num_events, missing=0.0)
    sample, seen = KeyedSample(256, 0), SeenFeedback()
    for first in range(0, num_events - 10, 10):  # what so many increments of ten would have left
        seen.add(rated.sequence_N[:first], rated.sequence_N[first : first + 10])
        sample.offer(rated.sequence_N[first : first + 10])
    config = TrainingConfig(num_steps=1)
    start = first_request("replay_ewc", "bottleneck", base, rated.select(np.arange(num_events) < 10), config)
    trained = train(start)
    arrays, _ = unpack(trained.state)
    kept = {name: array for name, array in arrays.items() if name.startswith("fisher.")}
    state = packed_state({**kept, **sample.arrays(), **seen.arrays("fisher")}, "replay_ewc", trained.adapter)
    past, new = (
        rated.select(mask) for mask in (rated.sequence_N <= num_events - 10, rated.sequence_N > num_events - 10)
    )
    after = train(replace(start, past=past, new=new, parent=trained.adapter, state=state))
    again, _ = unpack(after.state)
    assert again["fisher_num_increments"].tolist() == [num_events // 10]
    assert len(again["buffer_sequence_K"]) == 256
    assert 18_000 < len(after.state) < 24 * 1024
