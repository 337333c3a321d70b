"""The sequential test against its definition, written out."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.configs import DriftConfig
from paaplus.scoring.drift import NUM_KEPT, DriftState

CONFIG = DriftConfig(tolerance=0.2, threshold=6.0, min_ratings=5)


def by_definition(errors: np.ndarray, config: DriftConfig) -> tuple[int, int] | None:
    """Numbers of the first alarm and of the minimum, from 1, with all sums and means computed at every step."""
    for t in range(config.min_ratings, len(errors) + 1):
        m = [0.0] + [
            sum(errors[i] - errors[: i + 1].mean() - config.tolerance for i in range(s)) for s in range(1, t + 1)
        ]
        if m[-1] - min(m) > config.threshold:
            return t, int(np.argmin(m))
    return None


@pytest.mark.parametrize("seed", range(6))
def test_alarm_is_where_the_definition_puts_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    errors = np.abs(rng.normal(scale=np.repeat([1.0, 3.0], 40)))
    state, alarm_at = DriftState(), None
    for number, error in enumerate(errors, start=1):
        state, alarm = state.after(float(error), number, CONFIG)
        if alarm:
            alarm_at = number, state.since
            break
    assert alarm_at == by_definition(errors, CONFIG)
    assert alarm_at is not None
    assert 20 < alarm_at[1] < alarm_at[0]


def test_errors_that_only_fall_are_no_drift() -> None:
    state = DriftState()
    for number, error in enumerate(np.linspace(4.0, 1.0, 200), start=1):
        state, alarm = state.after(float(error), number, CONFIG)
        assert not alarm


def test_after_an_alarm_the_test_starts_again_and_keeps_the_begin_of_the_drift() -> None:
    state = DriftState()
    for number in range(1, 60):
        state, alarm = state.after(1.0 if number <= 20 else 6.0, number, CONFIG)
        if alarm:
            break
    assert (state.num_errors, state.mean, state.since) == (0, 0.0, 20)
    assert DriftState.from_dict(state.to_dict()) == state
    state, _ = state.after(6.0, number + 1, CONFIG)
    assert state.since == 20


def test_a_few_ratings_raise_no_alarm_however_wrong_the_scores_are() -> None:
    state, alarms = DriftState(), []
    for number, error in enumerate([0.0, 0.0, 10.0, 10.0, 10.0], start=1):
        state, alarm = state.after(error, number, CONFIG)
        alarms.append(alarm)
    assert alarms == [False] * 4 + [True]


def test_every_drift_stays_known_up_to_a_number() -> None:
    state = DriftState()
    for number in range(1, 4):
        state = state.with_found((*state.found, (10 * number, 10 * number + 5)))
    assert (state.since, state.found_at, state.earlier) == (30, 35, ((10, 15), (20, 25)))
    assert DriftState.from_dict(json.loads(json.dumps(state.to_dict()))) == state
    last, middle, first = set(range(31, 36)), set(range(21, 26)), set(range(11, 16))
    assert state.since_valid(last) == 20
    assert state.since_valid(last | middle) == 10
    assert state.since_valid(middle) == 30
    assert state.since_valid(last | middle | first) is None
    assert state.since_valid(last | {25}) == 10, "an alarm before the last one needs its own answer"
    many = DriftState().with_found([(number, number) for number in range(100)])
    assert [since for since, _ in many.found] == list(range(100 - NUM_KEPT, 100))


def test_an_alarm_keeps_what_was_found_before() -> None:
    state, alarms = DriftState(), []
    for number, error in enumerate([1.0] * 20 + [6.0] * 8 + [1.0] * 20 + [6.0] * 8, start=1):
        state, alarm = state.after(error, number, CONFIG)
        alarms += [(state.since, number)] if alarm else []
    assert len(alarms) > 1
    assert list(state.found) == alarms


@pytest.mark.parametrize("seed", range(5))
def test_errors_together_are_the_same_as_one_after_the_other(seed: int) -> None:
    rng, config = np.random.default_rng(seed), DriftConfig(threshold=3.0, min_ratings=3)
    errors = [(int(n), float(e)) for n, e in enumerate(rng.exponential(1.0 + np.arange(400) // 50 % 2), 1)]
    state, num_alarms = DriftState(), 0
    for sequence, error in errors:
        state, alarm = state.after(error, sequence, config)
        num_alarms += alarm
    together, drifts = DriftState().after_all(errors, config)
    assert (together, drifts) == (state, num_alarms > 0)
    assert num_alarms > 1
    assert DriftState().after_all([], config) == (DriftState(), False)
