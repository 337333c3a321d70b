"""Learner states of versions that have landed, as an earlier training core wrote them, are gone on from."""

from __future__ import annotations

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.tensors import unpack
from paaplus.strategies.state import STATE_FORMAT
from paaplus.training import TrainingRequest, train
from tests.support.learning import SMALL, comparisons, first_request, person, ratings

FOLDER = Path(__file__).parents[2] / "fixtures" / "learner_states"
LANDED = sorted(tuple(path.stem.split("-")) for path in FOLDER.glob("*.npz"))  # the strategies that this core had
made = runpy.run_path(str(FOLDER / "make.py"), run_name="made")


class Landed:
    """A version, as `next_request` takes one."""

    def __init__(self, strategy: str, kind: str) -> None:
        with np.load(FOLDER / f"{strategy}-{kind}.npz") as file:
            self.adapter = adapter_from_bytes(file["adapter"].tobytes())
            self.state = file["state"].tobytes()
            self.score_NA = {name: file[f"score_{name}_NA"] for name in ("whole", "purged")}


def second_request(strategy: str, kind: str) -> TrainingRequest:
    """What the landed version was trained on."""
    base = made["BASE"]
    first = first_request(strategy, kind, base, ratings(base, person(base, seed=1), 12, first_sequence=30), SMALL)
    compared = comparisons(base, person(base), 8, first_sequence=50)
    return replace(first, past=ratings(base, person(base), 24), new_compared=compared)


def test_states_of_every_strategy_of_then_are_here() -> None:
    assert len(LANDED) == 25


@pytest.mark.parametrize("name", ["whole", "purged"])
@pytest.mark.parametrize(("strategy", "kind"), LANDED)
def test_landed_version_is_gone_on_from_as_it_was_then(strategy: str, kind: str, name: str) -> None:
    landed, unseen = Landed(strategy, kind), made["UNSEEN"]
    request = made["third_requests"](second_request(strategy, kind), landed)[name]
    assert unpack(request.state)[1]["format"] == "learner-1"
    trained = train(request)
    # A-GEM's projection no longer takes the prior's pull for a part of the gradient.
    tolerance = 0.05 if strategy == "agem" else 2e-5
    scores = trained.adapter.score(unseen.taste_NR, unseen.generic_NA)
    np.testing.assert_allclose(scores, landed.score_NA[name], atol=tolerance, rtol=0)
    if strategy != "bayes":
        assert unpack(trained.state)[1]["format"] == STATE_FORMAT


@pytest.mark.parametrize(("strategy", "kind"), LANDED)
@pytest.mark.slow
def test_landed_version_with_nothing_new_stays_and_its_state_is_written_anew(strategy: str, kind: str) -> None:
    landed = Landed(strategy, kind)
    request = made["third_requests"](second_request(strategy, kind), landed)["whole"]
    trained = train(replace(request, new=request.new.select(np.zeros(len(request.new), bool))))
    if strategy in ("bayes", "joint"):  # which learn anew
        return
    expected = landed.adapter.arrays()
    assert all(np.array_equal(trained.adapter.arrays()[each], expected[each]) for each in expected)
    before, after = unpack(landed.state)[0], unpack(trained.state)[0]
    for each in set(before) & set(after):
        if not each.endswith("increment_M"):
            np.testing.assert_array_equal(before[each], after[each], err_msg=each)
    assert not any(each.endswith("sequence_M") for each in after)
