"""The matching study on simulated people."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.expert_base import ExpertBase
from paaplus.evaluation.matching.config import MatchingConfig, State
from paaplus.evaluation.matching.report import few_experts_table, table, write_report
from paaplus.evaluation.matching.run import run_matching
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.splits import split_folder, within_train_side
from paaplus.models.base_fit import SmallDataWarning
from tests.paaplus.evaluation.simulated import at_random

QUICK = MatchingConfig(pairs=(0, 6), ks=(8,), num_experts=(3,), seeds=(0,), limit_people=5)


@pytest.fixture(scope="module")
def document(data):
    calls = []
    document = run_matching(data, at_random(data), QUICK, lambda done, total: calls.append((done, total)))
    assert calls == [(n, 5) for n in range(6)]
    return document


def test_states_are_pairs_ratings_and_ratings_after_all_pairs():
    states = MatchingConfig(pairs=(0, 4, 12), ks=(5, 10, 25)).states
    assert states == (
        State(0, 0), State(4, 0), State(12, 0),
        State(0, 5), State(0, 10), State(0, 25),
        State(12, 5), State(12, 10), State(12, 25),
    )  # fmt: skip
    assert MatchingConfig(pairs=(0,)).states[-1] == State(0, 25)


def test_quality_rises_with_the_quiz_and_with_ratings(document):
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
        selected = document["selected"][state["state"]]
        assert sum(selected.values()) == document["config"]["num_people"] == 5
        assert "combination of 3" in state
    assert "random_pairs" in by_state["6 pairs, 0 ratings"]
    assert "random_pairs" not in by_state["0 pairs, 8 ratings"]


def test_document_is_json_and_becomes_tables(document, tmp_path):
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    files = write_report(document, tmp_path)
    assert [file.name for file in files] == ["matching.json", "matching.md"]
    text = files[1].read_text()
    rows = [*table(document), *few_experts_table(document)]
    assert len(rows) > len(table(document)) > 0
    assert all(" | ".join(row) in text for row in rows)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="not a folder"):
        write_report(document, tmp_path / "file")


def test_tuning_keeps_the_outer_test_images_from_the_experts(data):
    """A split within the train side has no images of the outer test side: nobody may be trained on them."""
    split = within_train_side(data.folder, at_random(data))(0)
    with pytest.warns(SmallDataWarning):
        base = ExpertBase(data, Round(0, split, split.test_people))
    num_images = len(split.train_images)  # everybody rated every image
    assert num_images < len(data.folder.images) - len(split.test_images)
    assert {expert.num_ratings for expert in base.experts} == {num_images}
    assert len(base.rated_in_training(split.train_people[0])) == num_images


def test_comparisons_are_worked_out_from_ratings(data):
    split = split_folder(data.folder, 0)
    base = ExpertBase(data, Round(0, split, split.test_people))
    user = base.user(split.test_people[0])
    quiz = base.quiz(user, base.panel(None), 6)
    assert quiz[4][::-1] in quiz[:3]  # the fifth pair is an earlier one with its sides swapped: it counts once
    counted = {frozenset(pair): pair for pair in quiz}.values()
    assert len({image for pair in counted for image in pair}) == 2 * len(counted) == 10
    compared = base.compared(user, quiz)
    for (first, second), preference in zip(counted, compared.preference_CA[:, 0], strict=True):
        assert preference == (np.sign(user.score_of[first][0] - user.score_of[second][0]) + 1) / 2


@pytest.mark.parametrize(
    "change", [{"pairs": ()}, {"ks": (0,)}, {"num_experts": (1,)}, {"seeds": (1, 1)}, {"limit_people": 0}]
)
def test_config_is_refused_when_invalid(change):
    with pytest.raises(InvalidInput):
        MatchingConfig(**change)
