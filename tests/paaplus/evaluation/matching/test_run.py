"""The evaluations of matching and of the paradigm, on simulated people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.matching import paradigm
from paaplus.evaluation.matching.expert_base import ExpertsStage
from paaplus.evaluation.matching.paradigm import METHODS, ParadigmConfig, run_paradigm
from paaplus.evaluation.matching.report import table, write_report
from paaplus.evaluation.matching.run import MatchingConfig, State, run_matching
from paaplus.evaluation.paired import entry
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.splits import split_folder, within_train_side
from paaplus.models.base_fit import SmallDataWarning
from tests.paaplus.evaluation.simulated import at_random

QUICK = MatchingConfig(pairs=(0, 6), ks=(8,), num_experts=(3,), seeds=(0,), limit_people=5)
STOPS = ParadigmConfig(
    answers=(0, 6, 12, 24), seeds=(0,), limit_people=3, training=TrainingConfig(num_steps=20, rank=4)
)


@pytest.fixture(scope="module")
def document(data):
    told = []
    found = run_matching(data, at_random(data), QUICK, lambda done, total: told.append((done, total)))
    assert told == [(n, 5) for n in range(6)]
    return found


@pytest.fixture(scope="module")
def paradigms(data):
    return run_paradigm(data, at_random(data), STOPS)


def test_states_are_pairs_ratings_and_ratings_after_all_pairs():
    states = MatchingConfig(pairs=(0, 4, 12), ks=(5, 10, 25)).states
    assert states == (
        State(0, 0), State(4, 0), State(12, 0),
        State(0, 5), State(0, 10), State(0, 25),
        State(12, 5), State(12, 10), State(12, 25),
    )  # fmt: skip
    assert MatchingConfig(pairs=(0,)).states[-1] == State(0, 25)


def test_people_are_known_better_after_the_quiz_and_after_ratings(document):
    by_state = {state["state"]: state for state in document["summary"]}
    assert set(by_state) == {state.name for state in QUICK.states}
    start, quiz, rated, both = (
        by_state[f"{pairs} pairs, {k} ratings"]["combination"]["gain"]["mean"]
        for pairs, k in ((0, 0), (6, 0), (0, 8), (6, 8))
    )
    assert abs(start) < 0.05
    assert min(quiz, rated, both) > 0.03
    assert both > rated
    assert by_state["0 pairs, 0 ratings"]["generic"]["gain"]["mean"] == 0
    assert document["quiz"]["6 pairs before 0 ratings"]["mean"] == pytest.approx(quiz - start)
    for state in by_state.values():
        assert state["generic"]["ahead"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
        told = document["selected"][state["state"]]
        assert sum(told.values()) == document["config"]["num_people"] == 5
        assert "combination of 3" in state
    assert "random_pairs" in by_state["6 pairs, 0 ratings"]
    assert "random_pairs" not in by_state["0 pairs, 8 ratings"]


def test_documents_are_json_and_become_tables(document, paradigms, tmp_path):
    for name, one in (("matching", document), ("paradigm", paradigms)):
        assert json.loads(json.dumps(one, allow_nan=False)) == one
        files = write_report(name, one, tmp_path)
        assert [file.name for file in files] == [f"{name}.json", f"{name}.md"]
        text = files[1].read_text()
        assert all(" | ".join(row) in text for row in [*table(one), *table(one, fewer=True)])
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="not a folder"):
        write_report("matching", document, tmp_path / "file")


def test_every_method_is_measured_at_every_stop_and_all_start_alike(paradigms):
    assert [state["answers"] for state in paradigms["summary"]] == [0, 6, 12, 24]
    at_0, at_6, at_12, at_24 = paradigms["summary"]
    assert {*METHODS} <= set(at_0)
    for same in ("no_fine_tuning", "no_continual", "no_quiz", "gradient", "forgetting"):
        assert at_0[same]["srcc"] == pytest.approx(at_0["paa+"]["srcc"], abs=1e-6)
    assert at_0["prevailing"]["gain"]["mean"] == at_0["prevailing_shrunken"]["gain"]["mean"] == 0
    assert at_24["no_fine_tuning"] | {"ahead": 0} == at_6["paa+"] | {"ahead": 0}
    assert at_24["no_continual"] | {"ahead": 0} == at_12["paa+"] | {"ahead": 0}
    assert at_24["paa+"]["gain"]["mean"] > 0.05
    assert at_24["paa+"]["ahead"]["mean"] == 0


def test_tuning_keeps_the_outer_test_images_from_the_experts(data):
    """Of a split within the train side, images of the outer test side are in neither: nobody may learn from them."""
    split = within_train_side(data.folder, at_random(data))(0)
    with pytest.warns(SmallDataWarning):
        stage = ExpertsStage(data, Round(0, split, split.test_people))
    num_images = len(split.train_images)  # everybody rated every image
    assert num_images < len(data.folder.images) - len(split.test_images)
    assert {expert.num_ratings for expert in stage.experts} == {num_images}
    assert len(stage.rated_in_training(split.train_people[0])) == num_images


def test_answers_are_counted_alike(data):
    """As many answers under every method: pairs and ratings of PAA+ together, ratings of the prevailing paradigm."""
    split = split_folder(data.folder, 0)
    stage = ExpertsStage(data, Round(0, split, split.test_people))
    user = stage.user(split.test_people[0])
    paths = paradigm._Paths(stage, user, STOPS, stage.panel(None), stage.panel(2))
    quiz = stage.quiz(user, stage.panel(None), 6)
    assert len({image for pair in quiz for image in pair}) == 12
    for answers in STOPS.answers:
        rated, compared = paths._said(quiz, answers)
        assert len(rated) + len(compared) == answers
    assert not set(user.support) & set(user.test.tolist())
    said = stage.compared(user, quiz)
    for (first, second), preference in zip(quiz, said.preference_CA[:, 0], strict=True):
        assert preference == (np.sign(user.score_of[first][0] - user.score_of[second][0]) + 1) / 2


def test_intervals_are_paired_over_people():
    people, generic_U = ["a", "b", "c"] * 2, np.zeros(6)
    srcc_U = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    found = entry(people, srcc_U, generic_U, srcc_U - 0.05)
    assert found["srcc"] == pytest.approx(0.2)
    assert found["ahead"] == pytest.approx({"mean": 0.05, "low": 0.05, "high": 0.05})
    assert 0.1 <= found["gain"]["low"] < 0.2 < found["gain"]["high"] <= 0.3
    assert found["share_improved"] == 1.0


@pytest.mark.parametrize(
    "change", [{"pairs": ()}, {"ks": (0,)}, {"num_experts": (1,)}, {"seeds": (1, 1)}, {"limit_people": 0}]
)
def test_matching_config_is_refused_when_it_makes_no_sense(change):
    with pytest.raises(InvalidInput):
        MatchingConfig(**change)


@pytest.mark.parametrize("change", [{"answers": (0, 10)}, {"answers": (5, 10, 20)}, {"seeds": ()}, {"limit_people": 0}])
def test_paradigm_config_is_refused_when_it_makes_no_sense(change):
    with pytest.raises(InvalidInput):
        ParadigmConfig(**change)
