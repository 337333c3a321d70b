"""The gate study on simulated people: honest feedback goes live, rubbish does not, in small steps and at once."""

from __future__ import annotations

import dataclasses
import json

import pytest

from paaplus.configs import GateConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.gate.config import GateStudyConfig
from paaplus.evaluation.gate.report import HEADINGS, table, write_report
from paaplus.evaluation.gate.run import run_gate
from paaplus.evaluation.learner import Learner
from tests.paaplus.evaluation.simulated import at_random

RUBBISH = ("shuffled", "uniform", "constant", "comparisons: coin", "comparisons: always first", "comparisons: circles")
LIVES = ("honest", "contrarian", "honest, then shuffled", "comparisons: honest", *RUBBISH)
QUICK = GateStudyConfig(increments=(10, 40), num_answers=40, lives=LIVES, seeds=(0,), limit_people=6)


def run(data, config):
    return run_gate(data, at_random(data), config)


@pytest.fixture(scope="module")
def document(data):
    return run(data, QUICK)


def entry(document, life, increment=10):
    return next(e for e in document["summary"] if (e["life"], e["increment"]) == (life, increment))


@pytest.mark.parametrize("increment", [10, 40])
def test_honest_people_gain_and_rubbish_does_not_stay(document, increment):
    honest = entry(document, "honest", increment)
    assert honest["live_at_end"]["mean"] == 1.0
    assert honest["srcc_gain"]["mean"] > 0.05
    assert honest["srcc_lost"]["mean"] < 0.02
    for life in RUBBISH:
        assert entry(document, life, increment)["worse_at_end"]["mean"] <= 1 / 6


def test_contrarians_are_followed_and_their_truth_is_reversed(document):
    contrarian = entry(document, "contrarian")
    assert contrarian["live_at_end"]["mean"] >= 5 / 6
    assert contrarian["srcc_gain"]["mean"] > 0.1


def test_truth_is_the_persons_own_whatever_was_sent(document):
    entries = {life: entry(document, life) for life in LIVES}
    everything = {life: e["srcc_gain"]["mean"] + e["srcc_lost"]["mean"] for life, e in entries.items()}
    assert everything["honest"] > everything["shuffled"] + 0.05, "a training on everything"
    assert everything["honest"] > everything["constant"] + 0.05


def test_every_person_lives_every_life_once(document):
    assert [(e["increment"], e["life"]) for e in document["summary"]] == [
        (increment, life) for increment in (10, 40) for life in entries_in_order()
    ]
    assert all(e["num_people"] == 6 for e in document["summary"])


def entries_in_order():
    from paaplus.evaluation.gate.lives import LIVES as ALL

    return [life for life in ALL if life in LIVES]


def test_document_is_json_and_the_same_when_run_again(data, document, tmp_path):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    few = dataclasses.replace(QUICK, lives=("shuffled",), limit_people=2)
    assert run(data, few) == run(data, few)
    assert all(len(row) == len(HEADINGS) for row in table(document))
    files = write_report(document, tmp_path)
    assert "| taste_vector:bayes | 10 | honest | 6 |" in files[1].read_text()


def test_gate_that_needs_huge_odds_serves_nobody(data):
    strict = dataclasses.replace(QUICK, lives=("honest",), limit_people=2, gate=GateConfig(min_order_odds=1e6))
    early = dataclasses.replace(strict, num_answers=10, increments=(10,))
    assert run(data, early)["summary"][0]["ever_live"]["mean"] == 0.0


def test_strategy_that_continues_its_versions_lives_too(data):
    config = dataclasses.replace(
        QUICK,
        increments=(20,),
        lives=("honest", "honest, then shuffled"),
        limit_people=2,
        learners=(Learner("taste_vector", "replay_ewc"),),
    )
    for e in run(data, config)["summary"]:
        assert e["live_at_end"]["mean"] == 1.0


@pytest.mark.parametrize(
    "change",
    [
        {"increments": ()},
        {"increments": (1,)},
        {"increments": (10, 10)},
        {"num_answers": 9},
        {"lives": ("unknown",)},
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
    with pytest.raises(InvalidInput, match="none of 6 test people rated enough images"):
        run(data, dataclasses.replace(QUICK, lives=("honest",), num_answers=5000))
