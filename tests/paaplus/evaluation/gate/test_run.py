"""The gate study on simulated people: candidates of honest ratings are promoted, those of spoiled ratings refused."""

from __future__ import annotations

import dataclasses
import json

import pytest

from paaplus.configs import GateConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.gate.config import GateStudyConfig
from paaplus.evaluation.gate.run import run_gate
from paaplus.evaluation.learner import Learner
from tests.paaplus.evaluation.simulated import at_random

QUICK = GateStudyConfig(ks=(10, 60), seeds=(0,), limit_people=8)


def run(data, config):
    return run_gate(data, at_random(data), config)


@pytest.fixture(scope="module")
def document(data):
    return run(data, QUICK)


def entry(document, when, k):
    return next(e for e in document["summary"] if (e["when"], e["k"]) == (when, k))


def test_with_many_ratings_good_candidates_are_promoted_and_bad_ones_refused(document):
    for when in ("first", "update"):
        at_60 = entry(document, when, 60)
        assert at_60["bad"]["num"] > 10
        assert at_60["bad"]["live"]["gate"]["share"] < 0.1 < at_60["bad"]["live"]["plain"]["share"]
        assert at_60["good"]["refused"]["gate"]["share"] < 0.2


def test_truth_is_the_persons_real_ratings(document):
    origins = entry(document, "first", 60)["origins"]
    assert origins["honest"]["srcc_gain"] > 0.05
    for spoiled in ("shuffled", "flipped"):
        assert origins[spoiled]["srcc_gain"] < -0.05
        assert origins[spoiled]["share_worse"] > 0.5


def test_every_candidate_is_counted_once(document):
    assert [(e["when"], e["k"]) for e in document["summary"]] == [(w, k) for w in ("first", "update") for k in (10, 60)]
    for e in document["summary"]:
        assert e["good"]["num"] + e["honest_but_worse"]["num"] == e["num_people"] == 8
        assert e["bad"]["num"] + e["spoiled_but_not_worse"]["num"] == 3 * 8
        assert set(e["good"]["refused"]) == {"gate", "held_out_only", "plain"}


def test_document_is_json_and_the_same_when_run_again(data, document):
    again = run(data, QUICK)
    for one, other in zip(document["summary"], again["summary"], strict=True):
        assert {**one, "median_judge_ms": 0} == {**other, "median_judge_ms": 0}
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_gate_without_required_probability_promotes_everything(data):
    lenient = GateConfig(min_probability=0.0)
    config = dataclasses.replace(QUICK, ks=(40,), limit_people=2, gate=lenient)
    for e in run(data, config)["summary"]:
        assert all(origin["live"]["gate"] == 1.0 for origin in e["origins"].values())


def test_gradient_strategy_has_no_leave_one_out_evidence(data):
    config = dataclasses.replace(QUICK, ks=(40,), limit_people=1, learners=(Learner("taste_vector", "naive"),))
    for e in run(data, config)["summary"]:
        assert set(e["good"]["refused"]) == {"gate", "plain"}


@pytest.mark.parametrize(
    "change",
    [
        {"ks": (3,)},
        {"ks": (10, 10)},
        {"seeds": ()},
        {"learners": ()},
        {"learners": (Learner("taste_vector", "bayes", prior=True),)},
        {"limit_people": 0},
    ],
)
def test_config_is_refused_when_invalid(change):
    with pytest.raises(InvalidInput):
        dataclasses.replace(QUICK, **change)


def test_nobody_with_enough_ratings_is_an_error(data):
    with pytest.raises(InvalidInput, match="none of 8 test people rated 5000 images"):
        run(data, dataclasses.replace(QUICK, ks=(5000,)))
