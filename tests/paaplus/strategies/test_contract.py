"""What every strategy promises, for every adapter kind that it trains."""

from __future__ import annotations

import functools
import gc
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from paaplus.configs import ADAPTER_STRATEGIES, STRATEGY_NAMES
from paaplus.errors import DivergedError, InvalidInput, TrainingStopped
from paaplus.records import ComparedSet, RatedSet
from paaplus.scoring.adapters import ADAPTERS, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.tensors import pack, unpack
from paaplus.strategies.modules import StackedAdapter
from paaplus.strategies.stack import Member, Stack
from paaplus.strategy_facts import Facts, facts
from paaplus.training import Trained, TrainingRequest, train
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
)

BASE = base_of(2)
QUICK = replace(SMALL, num_steps=8)
FIRST = ratings(BASE, person(BASE), 24)
SECOND = ratings(BASE, person(BASE, seed=1), 12, first_sequence=30)
COMPARED = comparisons(BASE, person(BASE), 8, first_sequence=50)


def pairs_that(holds: Callable[[Facts], bool]) -> list[tuple[str, str]]:
    return [pair for pair in STEP_PAIRS if holds(facts()[pair[0]])]


BUFFERING = pairs_that(lambda each: "buffer" in each.remembers)
REMEMBERING = pairs_that(lambda each: bool(each.remembers))
GOING_ON = pairs_that(lambda each: each.goes_on)  # from the parent
CUT_FREE = [pair for pair in PAIRS if not facts()[pair[0]].goes_on]
# A value that turns a setting off, or changes it where nothing is off.
OTHER_SETTINGS = {
    "buffer_size": 0,
    "replay_batch_size": 0,
    "ewc_lambda": 0.0,
    "ewc_decay": 0.1,
    "si_lambda": 0.0,
    "mas_lambda": 0.0,
    "distillation_pool": 0.0,
    "distillation_batch": 0.0,
    "derpp_alpha": 0.0,
}
every_pair = pytest.mark.parametrize(("strategy", "kind"), PAIRS)
every_step_pair = pytest.mark.parametrize(("strategy", "kind"), STEP_PAIRS)


@functools.cache
def first_trained(strategy: str, kind: str) -> Trained:
    return train(first_request(strategy, kind, BASE, FIRST, QUICK))


@functools.cache
def second_request(strategy: str, kind: str) -> TrainingRequest:
    """Ratings and comparisons after an increment of ratings."""
    request = next_request(first_request(strategy, kind, BASE, FIRST, QUICK), first_trained(strategy, kind), SECOND)
    return replace(request, new_compared=COMPARED)


@functools.cache
def second_trained(strategy: str, kind: str) -> Trained:
    return train(second_request(strategy, kind))


def test_names_in_configuration_are_those_of_the_facts() -> None:
    assert set(facts()) == set(STRATEGY_NAMES)
    assert set(ADAPTER_STRATEGIES) == set(ADAPTERS)
    assert {(name, kind) for name, each in facts().items() for kind in each.adapters} == set(PAIRS)


@every_pair
def test_the_same_request_gives_the_same_bytes(strategy: str, kind: str) -> None:
    one = second_trained(strategy, kind)
    torch.manual_seed(2)  # global randomness is not looked at
    two = train(second_request(strategy, kind))
    assert one.adapter.digest == two.adapter.digest
    assert one.state == two.state
    assert one.metrics == two.metrics


@every_step_pair
def test_another_seed_gives_another_digest(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    other = replace(request, config=replace(request.config, seed=1))
    assert train(other).adapter.digest != second_trained(strategy, kind).adapter.digest


@every_pair
def test_training_leaves_global_randomness_and_threads_alone(strategy: str, kind: str) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    train(second_request(strategy, kind))
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert before[2] == torch.get_num_threads()


@every_pair
def test_training_fits_the_new_ratings_better_and_unseen_ones_too(strategy: str, kind: str) -> None:
    config = replace(SMALL, num_steps=60)
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
    adapter = second_trained(strategy, kind).adapter
    assert adapter.kind == kind
    assert adapter.base_digest == BASE.digest
    assert {array.dtype for array in adapter.arrays().values()} == {np.dtype(np.float32)}
    assert adapter_from_bytes(adapter.to_bytes()).digest == adapter.digest


@every_pair
def test_ratings_of_no_aspect_change_nothing(strategy: str, kind: str) -> None:
    silent = replace(FIRST, target_NA=np.full_like(FIRST.target_NA, np.nan))
    adapter = train(first_request(strategy, kind, BASE, silent, QUICK)).adapter
    assert np.array_equal(adapter.score(FIRST.taste_NR, FIRST.generic_NA), FIRST.generic_NA)


def test_another_process_goes_on_from_the_saved_bytes_like_this_one(tmp_path: Path) -> None:
    """The next increment from nothing but bytes on disk: no strategy keeps anything outside its state."""
    expected = {}
    (tmp_path / "base").write_bytes(BASE.to_bytes())
    for strategy, kind in PAIRS:
        first = first_trained(strategy, kind)
        (tmp_path / f"{strategy}-{kind}.adapter").write_bytes(first.adapter.to_bytes())
        (tmp_path / f"{strategy}-{kind}.state").write_bytes(first.state)
        trained = second_trained(strategy, kind)
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
                QUICK,
                base,
                new=SECOND,
                past=FIRST,
                parent=adapter_from_bytes((Path(folder) / f"{strategy}-{kind}.adapter").read_bytes()),
                state=(Path(folder) / f"{strategy}-{kind}.state").read_bytes(),
                new_compared=COMPARED,
            )
        )
        print(f"{strategy}-{kind}: {trained.adapter.digest} {unpack(trained.state)[1]}")


@pytest.mark.parametrize(
    ("strategy", "kind", "setting"),
    [(*pair, name) for pair in PAIRS for name in (*facts()[pair[0]].settings, "recency_half_life")],
)
def test_what_is_configured_is_really_used(strategy: str, kind: str, setting: str) -> None:
    request = second_request(strategy, kind)
    change = {setting: OTHER_SETTINGS.get(setting, 5.0)}
    other = train(replace(request, config=replace(request.config, **change)))
    expected = second_trained(strategy, kind)
    assert (other.adapter.digest, other.state) != (expected.adapter.digest, expected.state)


@every_step_pair
def test_what_a_strategy_does_not_read_changes_nothing(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    unread = {name: value for name, value in OTHER_SETTINGS.items() if name not in facts()[strategy].settings}
    other = train(replace(request, config=replace(request.config, **unread)))
    assert (other.adapter.digest, other.state) == (
        second_trained(strategy, kind).adapter.digest,
        second_trained(strategy, kind).state,
    )


@every_pair
def test_a_state_holds_what_the_facts_say(strategy: str, kind: str) -> None:
    arrays, _ = unpack(second_trained(strategy, kind).state)
    assert {name.partition("_")[0].partition(".")[0] for name in arrays} == set(facts()[strategy].remembers)


@pytest.mark.parametrize(("strategy", "kind"), REMEMBERING)
def test_the_saved_state_is_really_used(strategy: str, kind: str) -> None:
    without = train(replace(second_request(strategy, kind), state=None))
    assert without.adapter.digest != second_trained(strategy, kind).adapter.digest


@pytest.mark.parametrize(("strategy", "kind"), GOING_ON)
def test_the_parent_is_really_used(strategy: str, kind: str) -> None:
    from_zero = replace(second_request(strategy, kind), parent=None, state=None)
    assert train(from_zero).adapter.digest != second_trained(strategy, kind).adapter.digest


@pytest.mark.parametrize(("strategy", "kind"), CUT_FREE)
def test_how_feedback_was_cut_into_increments_does_not_matter_to(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    at_once = first_request(strategy, kind, BASE, RatedSet.concatenate(FIRST, SECOND), QUICK)
    at_once = replace(at_once, new_compared=request.new_compared)
    assert train(at_once).adapter.digest == second_trained(strategy, kind).adapter.digest


def names_of(state: bytes) -> set[int]:
    """Every event that a learner state names."""
    arrays, _ = unpack(state)
    return {int(s) for name, array in arrays.items() if "_sequence_" in name for s in array}


@pytest.mark.parametrize(("strategy", "kind"), BUFFERING)
def test_the_buffer_keeps_to_its_bound_and_its_bytes_stop_growing(strategy: str, kind: str) -> None:
    request, sizes = first_request(strategy, kind, BASE, FIRST, QUICK), []
    for increment in range(4):
        trained = train(request)
        arrays, _ = unpack(trained.state)
        kept = {name: array for name, array in arrays.items() if name.startswith(("buffer_", "dark_"))}
        assert len(kept["buffer_sequence_K"]) == SMALL.buffer_size
        assert set(kept.get("dark_sequence_K", [])) <= set(kept["buffer_sequence_K"])
        assert int(kept["buffer_num_seen"][0]) == 24 + 12 * increment
        sizes.append(sum(array.nbytes for array in kept.values()))
        more = ratings(BASE, person(BASE), 12, first_sequence=100 * (increment + 1))
        request = next_request(request, trained, more)
    assert len(set(sizes)) == 1


def num_alive() -> int:
    """Stacks, members and modules that something still holds."""
    gc.collect()
    return sum(issubclass(type(each), Stack | Member | StackedAdapter) for each in gc.get_objects())


@pytest.mark.slow
def test_nothing_of_a_run_stays_in_memory() -> None:
    requests = [replace(second_request(*pair), config=replace(QUICK, num_steps=1)) for pair in STEP_PAIRS]
    before = num_alive()
    for request in requests:
        train(request)
    assert num_alive() == before


@every_step_pair
def test_feedback_taken_back_leaves_the_state(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    third = next_request(request, second_trained(strategy, kind), ratings(BASE, person(BASE), 6, first_sequence=70))
    kept = train(third)
    gone = {*FIRST.sequence_N[::3].tolist(), *COMPARED.sequence_C[::2].tolist()}
    past = third.past.select(~np.isin(third.past.sequence_N, list(gone)))
    past_compared = third.past_compared.select(~np.isin(third.past_compared.sequence_C, list(gone)))
    purged = train(replace(third, past=past, past_compared=past_compared))
    assert not names_of(purged.state) & gone
    if names_of(kept.state) & gone:  # the same with them: the purge is felt
        assert purged.adapter.digest != kept.adapter.digest


@pytest.mark.parametrize(("strategy", "kind"), CUT_FREE)
def test_feedback_taken_back_leaves_no_trace_in(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    kept = np.arange(len(FIRST)) % 3 > 0
    purged = replace(request, past=FIRST.select(kept))
    never = first_request(strategy, kind, BASE, RatedSet.concatenate(FIRST.select(kept), SECOND), QUICK)
    assert train(purged).adapter.digest == train(replace(never, new_compared=COMPARED)).adapter.digest


@every_pair
def test_a_user_with_broken_data_harms_nobody(strategy: str, kind: str) -> None:
    broken = replace(SECOND, taste_NR=np.full_like(SECOND.taste_NR, np.nan))
    heavy = replace(SECOND, weight_N=np.full(len(SECOND), 3e38, np.float32))
    request = second_request(strategy, kind)
    with pytest.raises(InvalidInput, match="not finite"):
        train(replace(request, new=broken))
    if (strategy, kind) in STEP_PAIRS:
        with pytest.raises(DivergedError):
            train(replace(request, new=heavy))
    assert train(request).adapter.digest == second_trained(strategy, kind).adapter.digest


@every_pair
def test_other_users_stay_as_they_are_bit_for_bit(strategy: str, kind: str) -> None:
    before = second_trained(strategy, kind).adapter.to_bytes(), second_trained(strategy, kind).state
    other = ratings(BASE, person(BASE, seed=5), 10, seed=5)
    train(first_request(strategy, kind, BASE, other, QUICK))
    again = train(second_request(strategy, kind))
    assert (again.adapter.to_bytes(), again.state) == before


def share_in_order(trained: Trained | None, compared: ComparedSet) -> float:
    """Share of the pairs that somebody told apart which the scores order the same."""

    def score(taste_CR: np.ndarray, generic_CA: np.ndarray) -> np.ndarray:
        return generic_CA if trained is None else trained.adapter.score(taste_CR, generic_CA)

    first_CA = score(compared.first_taste_CR, compared.first_generic_CA)
    second_CA = score(compared.second_taste_CR, compared.second_generic_CA)
    told_apart_CA = compared.preference_CA != 0.5
    return float(((first_CA > second_CA) == (compared.preference_CA == 1.0))[told_apart_CA].mean())


@every_pair
def test_comparisons_alone_teach_the_order(strategy: str, kind: str) -> None:
    config = replace(SMALL, num_steps=60)
    request = first_request(strategy, kind, BASE, none_of(FIRST), config)
    trained = train(replace(request, new_compared=comparisons(BASE, person(BASE), 80)))
    unseen = comparisons(BASE, person(BASE), 300, seed=9)
    assert share_in_order(None, unseen) < 0.65
    assert share_in_order(trained, unseen) > 0.85
    assert trained.metrics["num_comparisons"] == 80


@every_pair
def test_naming_the_images_the_other_way_round_says_the_same(strategy: str, kind: str) -> None:
    turned = ComparedSet.of(
        COMPARED.sequence_C,
        COMPARED.second_taste_CR,
        COMPARED.second_generic_CA,
        COMPARED.first_taste_CR,
        COMPARED.first_generic_CA,
        1.0 - COMPARED.preference_CA,
    )
    adapter = train(replace(second_request(strategy, kind), new_compared=turned)).adapter
    expected = second_trained(strategy, kind).adapter
    np.testing.assert_allclose(
        adapter.score(FIRST.taste_NR, FIRST.generic_NA), expected.score(FIRST.taste_NR, FIRST.generic_NA), atol=2e-3
    )


@every_pair
def test_aspects_that_nobody_compared_stay_as_they_are(strategy: str, kind: str) -> None:
    one_aspect = COMPARED.preference_CA.copy()
    one_aspect[:, 1] = np.nan
    request = first_request(strategy, kind, BASE, none_of(FIRST), QUICK)
    adapter = train(replace(request, new_compared=replace(COMPARED, preference_CA=one_aspect))).adapter
    score_NA = adapter.score(FIRST.taste_NR, FIRST.generic_NA)
    assert np.abs(score_NA[:, 0] - FIRST.generic_NA[:, 0]).max() > 0.1
    np.testing.assert_allclose(score_NA[:, 1], FIRST.generic_NA[:, 1], atol=1e-5)


@every_pair
def test_with_nothing_new_the_candidate_is_what_is_known_already(strategy: str, kind: str) -> None:
    trained = first_trained(strategy, kind)
    nothing_new = next_request(first_request(strategy, kind, BASE, FIRST, QUICK), trained, none_of(FIRST))
    again = train(nothing_new).adapter
    np.testing.assert_allclose(
        again.score(FIRST.taste_NR, FIRST.generic_NA),
        trained.adapter.score(FIRST.taste_NR, FIRST.generic_NA),
        atol=1e-5,
    )


def forgetting(strategy: str, kind: str, seed: int) -> float:
    """How much worse the first increment's images are predicted after a second, conflicting one."""
    config = replace(SMALL, num_steps=40, buffer_size=64)
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
@pytest.mark.slow
def test_every_strategy_forgets_less_than_naive(kind: str) -> None:
    forgotten = {strategy: forgetting(strategy, kind, seed=0) for strategy in ADAPTER_STRATEGIES[kind]}
    assert forgotten["naive"] > 0.5  # there is something to forget
    assert forgotten["agem"] < 0.95 * forgotten["naive"]  # it only refuses steps that are wrong altogether
    for strategy in set(forgotten) - {"naive", "agem"}:
        assert forgotten[strategy] < 0.75 * forgotten["naive"], forgotten


@every_step_pair
def test_training_stops_before_the_step_it_is_told_to(strategy: str, kind: str) -> None:
    answers = iter([False] * 5 + [True])
    with pytest.raises(TrainingStopped, match=f"{strategy}: stopped at step 5 of 8"):
        train(first_request(strategy, kind, BASE, FIRST, QUICK), should_stop=lambda: next(answers))


@every_step_pair
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(strategy: str, kind: str) -> None:
    heavy = replace(FIRST, weight_N=np.full(len(FIRST), 3e38, np.float32))  # finite, but their sum is not
    with pytest.raises(DivergedError, match=f"{strategy}: loss inf at step 0 of 8"):
        train(first_request(strategy, kind, BASE, heavy, QUICK))


@pytest.mark.parametrize(("strategy", "kind"), GOING_ON)
def test_a_state_of_another_adapter_is_refused(strategy: str, kind: str) -> None:
    request = second_request(strategy, kind)
    with pytest.raises(InvalidInput, match=r"the learner state belongs to adapter .*, the parent is no adapter"):
        train(replace(request, parent=None))
    with pytest.raises(InvalidInput, match="not a learner state: format 'adapter-1'"):
        train(replace(request, state=request.parent.to_bytes()))


@pytest.mark.parametrize(("strategy", "kind"), GOING_ON)
def test_a_state_that_lacks_something_is_refused_or_does_without(strategy: str, kind: str) -> None:
    """Whatever is missing or of another shape: an error of ours, never a crash."""
    request = replace(second_request(strategy, kind), config=replace(QUICK, num_steps=1))
    arrays, metadata = unpack(request.state)
    refused: dict[str, str] = {}
    for name, array in arrays.items():
        without = {other: each for other, each in arrays.items() if other != name}
        for changed in (without, {**arrays, name: array[:-1]}, {**arrays, name: np.stack([array, array])}):
            try:
                train(replace(request, state=pack(changed, metadata)))
            except InvalidInput as error:
                refused[name] = str(error)
    assert all("learner state" in told for told in refused.values()), refused
    assert 2 * len(refused) >= len(arrays)


@every_step_pair
def test_a_strategy_takes_over_from_any_other(strategy: str, kind: str) -> None:
    # one of each kind of memory: what a state holds is in the facts, and a test above keeps them true
    by_memory = {facts()[before].remembers: before for before in ADAPTER_STRATEGIES[kind]}
    for before in by_memory.values():
        request = replace(second_request(before, kind), strategy=strategy, config=replace(QUICK, num_steps=1))
        assert train(request).adapter.is_finite()
