"""The paradigm study on simulated people."""

from __future__ import annotations

import json

import pytest

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.expert_base import ExpertBase
from paaplus.evaluation.paradigm import run
from paaplus.evaluation.paradigm.config import ParadigmConfig
from paaplus.evaluation.paradigm.report import table, write_report
from paaplus.evaluation.paradigm.run import METHODS, run_paradigm
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.splits import split_folder
from tests.paaplus.evaluation.simulated import at_random

QUICK = ParadigmConfig(
    answers=(0, 6, 12, 24), seeds=(0,), limit_people=3, training=TrainingConfig(num_steps=20, rank=4)
)


@pytest.fixture(scope="module")
def document(data):
    return run_paradigm(data, at_random(data), QUICK)


def test_document_is_json_and_becomes_a_table(document, tmp_path):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    files = write_report(document, tmp_path)
    assert [file.name for file in files] == ["paradigm.json", "paradigm.md"]
    text = files[1].read_text()
    assert len(table(document)) == len(METHODS) * len(QUICK.answers)
    assert all(" | ".join(row) in text for row in table(document))


def test_every_method_is_measured_at_every_number_of_answers_and_starts_alike(document):
    assert [state["answers"] for state in document["summary"]] == [0, 6, 12, 24]
    at_0, at_6, at_12, at_24 = document["summary"]
    assert {*METHODS} <= set(at_0)
    for same in ("no_fine_tuning", "no_continual", "no_quiz", "gradient", "forgetting"):
        assert at_0[same]["srcc"] == pytest.approx(at_0["paa+"]["srcc"], abs=1e-6)
    assert at_0["prevailing"]["gain"]["mean"] == at_0["prevailing_shrunken"]["gain"]["mean"] == 0
    assert at_24["no_fine_tuning"] | {"ahead": 0} == at_6["paa+"] | {"ahead": 0}
    assert at_24["no_continual"] | {"ahead": 0} == at_12["paa+"] | {"ahead": 0}
    assert at_24["paa+"]["gain"]["mean"] > 0.05
    assert at_24["paa+"]["ahead"]["mean"] == 0


def test_answers_are_counted_alike(data):
    """As many answers under every method: pairs and ratings of PAA+ together, ratings of the usual approach."""
    split = split_folder(data.folder, 0)
    base = ExpertBase(data, Round(0, split, split.test_people))
    user = base.user(split.test_people[0])
    measurement = run._PersonMeasurement(base, user, QUICK, base.panel(None), base.panel(2))
    quiz = base.quiz(user, base.panel(None), 6)
    for answers in QUICK.answers:
        rated, compared = measurement.first_answers(quiz, answers)
        again = answers >= 5  # the fifth pair of a quiz is an earlier one, and counts once
        assert len(rated) + len(compared) + again == answers
    assert not set(user.support) & set(user.test.tolist())


@pytest.mark.parametrize("change", [{"answers": (0, 10)}, {"answers": (5, 10, 20)}, {"seeds": ()}, {"limit_people": 0}])
def test_config_is_refused_when_invalid(change):
    with pytest.raises(InvalidInput):
        ParadigmConfig(**change)
