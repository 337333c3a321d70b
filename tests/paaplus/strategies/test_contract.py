"""What every strategy promises, for every adapter kind that it trains."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paaplus.configs import ADAPTER_STRATEGIES, STRATEGY_NAMES
from paaplus.errors import DivergedError, InvalidInput, TrainingStopped
from paaplus.scoring.adapters import ADAPTERS, adapter_from_bytes
from paaplus.scoring.base import BaseScorer
from paaplus.scoring.tensors import unpack
from paaplus.strategies import STRATEGIES
from paaplus.training import Trained, TrainingRequest, train
from tests.learning import GRADIENT_PAIRS, PAIRS, SMALL, base_of, first_request, next_request, none_of, person, ratings

BASE = base_of(2)
FIRST = ratings(BASE, person(BASE), 24)
SECOND = ratings(BASE, person(BASE, seed=1), 12, first_sequence=30)
REPLAYING = [pair for pair in GRADIENT_PAIRS if "replay" in pair[0]]
CONSOLIDATING = [pair for pair in GRADIENT_PAIRS if "ewc" in pair[0]]
every_pair = pytest.mark.parametrize(("strategy", "kind"), PAIRS)
every_gradient_pair = pytest.mark.parametrize(("strategy", "kind"), GRADIENT_PAIRS)


def second_request(strategy: str, kind: str) -> TrainingRequest:
    request = first_request(strategy, kind, BASE, FIRST)
    return next_request(request, train(request), SECOND)


def test_names_in_configuration_and_code_are_the_same() -> None:
    assert set(STRATEGIES) == set(STRATEGY_NAMES)
    assert set(ADAPTER_STRATEGIES) == set(ADAPTERS)
    assert {name for names in ADAPTER_STRATEGIES.values() for name in names} == set(STRATEGIES)


@every_pair
def test_the_same_request_gives_the_same_bytes(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    torch.manual_seed(1)
    one = train(request)
    torch.manual_seed(2)  # global randomness is not looked at
    two = train(request)
    assert one.adapter.digest == two.adapter.digest
    assert one.state == two.state
    assert one.metrics == two.metrics


@every_gradient_pair
def test_another_seed_gives_another_digest(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    other = replace(request, config=replace(request.config, seed=1))
    assert train(request).adapter.digest != train(other).adapter.digest


@every_pair
def test_training_leaves_global_randomness_and_threads_alone(strategy: str, kind: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    train(second_request(strategy, kind))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == torch.get_num_threads()


@every_pair
def test_training_fits_the_new_ratings_better_and_unseen_ones_too(strategy: str, kind: str) -> None:
    config = replace(SMALL, num_steps=100)
    new = ratings(BASE, person(BASE), 60)
    trained = train(first_request(strategy, kind, BASE, new, config))
    for rated, share in ((new, 0.5), (ratings(BASE, person(BASE), 100, seed=5), 0.6)):
        score_NA = trained.adapter.score(rated.taste_NR, rated.generic_NA)
        before, after = (np.nanmean((s - rated.target_NA) ** 2) for s in (rated.generic_NA, score_NA))
        assert after < share * before
    assert all(np.isfinite(value) for value in trained.metrics.values())
    assert trained.metrics["num_ratings"] == 60


@every_pair
def test_arrays_are_float32_and_name_the_base_model(strategy: str, kind: str) -> None:
    adapter = train(second_request(strategy, kind)).adapter
    assert adapter.kind == kind
    assert adapter.base_digest == BASE.digest
    assert {array.dtype for array in adapter.arrays().values()} == {np.dtype(np.float32)}
    assert adapter_from_bytes(adapter.to_bytes()).digest == adapter.digest


@every_pair
def test_ratings_of_no_aspect_change_nothing(strategy: str, kind: str) -> None:
    silent = replace(FIRST, target_NA=np.full_like(FIRST.target_NA, np.nan))
    adapter = train(first_request(strategy, kind, BASE, silent)).adapter
    assert np.array_equal(adapter.score(FIRST.taste_NR, FIRST.generic_NA), FIRST.generic_NA)


def test_another_process_goes_on_from_the_saved_bytes_like_this_one(tmp_path: Path) -> None:
    """The second increment from nothing but bytes on disk: no strategy keeps anything outside its state."""
    expected = {}
    (tmp_path / "base").write_bytes(BASE.to_bytes())
    for strategy, kind in PAIRS:
        request = second_request(strategy, kind)
        (tmp_path / f"{strategy}-{kind}.adapter").write_bytes(request.parent.to_bytes())
        (tmp_path / f"{strategy}-{kind}.state").write_bytes(request.state)
        trained = train(request)
        expected[f"{strategy}-{kind}"] = f"{trained.adapter.digest} {unpack(trained.state)[1]}"
    program = "import runpy, sys; runpy.run_path(sys.argv[1])['go_on_from_disk'](sys.argv[2])"
    command = [sys.executable, "-c", program, __file__, str(tmp_path)]
    output = subprocess.run(command, cwd=Path(__file__).parents[3], check=True, capture_output=True, text=True)
    assert dict(line.split(": ", 1) for line in output.stdout.splitlines()) == expected


def go_on_from_disk(folder: str) -> None:
    """What the other process does."""
    base = BaseScorer.from_bytes((Path(folder) / "base").read_bytes())
    for strategy, kind in PAIRS:
        trained = train(
            TrainingRequest(
                strategy,
                kind,
                SMALL,
                base,
                new=SECOND,
                past=FIRST,
                parent=adapter_from_bytes((Path(folder) / f"{strategy}-{kind}.adapter").read_bytes()),
                state=(Path(folder) / f"{strategy}-{kind}.state").read_bytes(),
            )
        )
        print(f"{strategy}-{kind}: {trained.adapter.digest} {unpack(trained.state)[1]}")


@pytest.mark.parametrize(
    ("strategy", "kind", "change"),
    [
        *[(*pair, {"replay_batch_size": 0}) for pair in REPLAYING],
        *[(*pair, {"buffer_size": 0}) for pair in REPLAYING],
        *[(*pair, {"ewc_lambda": 0.0}) for pair in CONSOLIDATING],
    ],
)
def test_replay_and_penalty_are_really_used(strategy: str, kind: str, change: dict[str, float]) -> None:
    request = second_request(strategy, kind)
    without = replace(request, config=replace(request.config, **change))
    assert train(request).adapter.digest != train(without).adapter.digest


@pytest.mark.parametrize(("strategy", "kind"), sorted({*REPLAYING, *CONSOLIDATING}))
def test_the_saved_state_is_really_used(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    assert train(request).adapter.digest != train(replace(request, state=None)).adapter.digest


@every_gradient_pair
def test_the_parent_is_really_used(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    from_zero = replace(request, parent=None, state=None)
    assert train(request).adapter.digest != train(from_zero).adapter.digest


@pytest.mark.parametrize(("strategy", "kind"), REPLAYING)
def test_the_state_names_no_more_ratings_than_the_buffer_holds(strategy: str, kind: str) -> None:
    trained = train(second_request(strategy, kind))
    arrays, _ = unpack(trained.state)
    assert len(arrays["buffer_sequence_K"]) == SMALL.buffer_size
    assert int(arrays["buffer_num_seen"][0]) == len(FIRST) + len(SECOND)


@pytest.mark.parametrize(("strategy", "kind"), sorted({*REPLAYING, *CONSOLIDATING}))
def test_ratings_taken_back_leave_the_state(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    gone = FIRST.sequence_N[::3]
    kept = ~np.isin(request.past.sequence_N, gone)
    arrays, _ = unpack(train(replace(request, past=request.past.select(kept))).state)
    for name in ("buffer_sequence_K", "fisher_sequence_M"):
        assert not np.isin(arrays.get(name, []), gone).any()


@every_pair
def test_with_nothing_new_the_candidate_is_what_is_known_already(strategy: str, kind: str) -> None:
    request = first_request(strategy, kind, BASE, FIRST)
    trained = train(request)
    nothing_new = next_request(request, trained, none_of(FIRST))
    again = train(nothing_new).adapter
    np.testing.assert_allclose(
        again.score(FIRST.taste_NR, FIRST.generic_NA),
        trained.adapter.score(FIRST.taste_NR, FIRST.generic_NA),
        atol=1e-5,
    )


def forgetting(strategy: str, kind: str, seed: int) -> float:
    """How much worse the first increment's images are predicted after a second, conflicting one."""
    config = replace(SMALL, num_steps=60, buffer_size=64, ewc_lambda=1.0)
    weight_RA = person(BASE, seed)
    first = ratings(BASE, weight_RA, 40, seed=seed, missing=0.0)
    second = ratings(BASE, -weight_RA, 15, first_sequence=50, seed=seed, missing=0.0)
    unseen = ratings(BASE, weight_RA, 100, seed=seed + 100, missing=0.0, noise=0.0)
    request = first_request(strategy, kind, BASE, first, config)
    before = train(request)
    after = train(next_request(request, before, second))

    def mse(trained: Trained) -> float:
        return float(np.mean((trained.adapter.score(unseen.taste_NR, unseen.generic_NA) - unseen.target_NA) ** 2))

    return mse(after) - mse(before)


@pytest.mark.parametrize("kind", sorted(ADAPTERS))
def test_replay_and_consolidation_forget_less_than_naive(kind: str) -> None:
    mean = {
        strategy: float(np.mean([forgetting(strategy, kind, seed) for seed in range(3)]))
        for strategy in ("naive", "replay", "ewc", "replay_ewc")
    }
    assert mean["naive"] > 0.5  # there is something to forget
    for strategy in ("replay", "ewc", "replay_ewc"):
        assert mean[strategy] < 0.75 * mean["naive"], mean


@every_gradient_pair
def test_training_stops_before_the_step_it_is_told_to(strategy: str, kind: str) -> None:
    answers = iter([False] * 5 + [True])
    with pytest.raises(TrainingStopped, match=f"{strategy}: stopped at step 5 of 30"):
        train(first_request(strategy, kind, BASE, FIRST), should_stop=lambda: next(answers))


@every_gradient_pair
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(strategy: str, kind: str) -> None:
    heavy = replace(FIRST, weight_N=np.full(len(FIRST), 3e38, np.float32))  # finite, but their sum is not
    with pytest.raises(DivergedError, match=f"{strategy}: loss inf at step 0 of 30"):
        train(first_request(strategy, kind, BASE, heavy))


@every_gradient_pair
def test_a_state_of_another_adapter_is_refused(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    with pytest.raises(InvalidInput, match=r"the learner state belongs to adapter .*, the parent is no adapter"):
        train(replace(request, parent=None))
    with pytest.raises(InvalidInput, match="not a learner state: format 'adapter-1'"):
        train(replace(request, state=request.parent.to_bytes()))


@every_gradient_pair
def test_a_strategy_takes_over_from_any_other(strategy: str, kind: str) -> None:
    for before in ADAPTER_STRATEGIES[kind]:
        request = first_request(before, kind, BASE, FIRST)
        switched = replace(next_request(request, train(request), SECOND), strategy=strategy)
        assert train(switched).adapter.is_finite()
