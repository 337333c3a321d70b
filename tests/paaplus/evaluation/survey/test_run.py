"""The survey study on simulated people: pairs that ask about taste improve scores, random columns do not."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.survey.config import SurveyConfig
from paaplus.evaluation.survey.report import HEADINGS, table, write_report
from paaplus.evaluation.survey.run import COLUMNS, COMPARED, PAIRS, SHUFFLED, run_survey
from paaplus.evaluation.survey.summary import SurveyMeasurement, summary
from paaplus.evaluation.train_side import EvaluationData
from paaplus.evaluation.user_columns import column_answers
from tests.paaplus.evaluation.simulated import at_random, evaluation_data
from tests.support.taste_data import simulate

CONFIG = SurveyConfig(ks=(0, 10), seeds=(0,), num_pairs=6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    """Simulated people whose tastes differ along one direction; their columns are random."""
    data = evaluation_data(tmp_path_factory.mktemp("survey"), simulate(num_people=90, num_images=180))
    rng = np.random.default_rng(3)
    columns = {
        name: {f"item{i}": str(rng.integers(1, 8)) for i in range(6)} | {"band": ["young", "old"][rng.integers(2)]}
        for name in data.folder.people
    }
    return dataclasses.replace(data, folder=dataclasses.replace(data.folder, user_columns=columns))


@pytest.fixture(scope="module")
def document(data: EvaluationData) -> dict:
    return run_survey(data, at_random(data), CONFIG)


def entry(document: dict, survey: str, k: int) -> dict:
    (found,) = [e for e in document["summary"] if (e["survey"], e["k"]) == (survey, k)]
    return found


def test_pairs_improve_scores_and_random_columns_do_not(document: dict) -> None:
    for survey in (PAIRS, COMPARED):
        assert entry(document, survey, 0)["gain_low"] > 0.02
        assert (
            entry(document, survey, 0)["gain"] > entry(document, survey, 10)["gain"]
        )  # ratings hold the same information
    for survey in (COLUMNS, SHUFFLED):
        for k in CONFIG.ks:
            assert abs(entry(document, survey, k)["gain"]) < 0.01
    assert entry(document, COLUMNS, 0)["without"] == entry(document, PAIRS, 0)["without"]


def test_document_is_json_with_a_report(document: dict, tmp_path) -> None:
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert len(document["encoders"]) == 1
    assert document["encoders"][0][PAIRS]["gain_low"] > 0
    assert document["encoders"][0][COLUMNS]["num_columns"] == 8
    written = write_report(document, tmp_path / "out")
    assert [file.name for file in written] == ["survey.json", "survey.md"]
    text = written[1].read_text()
    assert all(name in text for name in (COLUMNS, PAIRS, SHUFFLED, COMPARED))
    assert all(len(row) == len(HEADINGS) for row in table(document))
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="not a folder"):
        write_report(document, tmp_path / "file")


def test_test_people_and_images_of_pairs_stay_apart(data: EvaluationData) -> None:
    """People saw one of two halves of the images: each half has pairs of its own, and nobody is asked the other's."""
    folder = data.folder
    half = {name: {"subset": "a" if i % 2 else "b"} for i, name in enumerate(folder.images)}
    kept_N = np.array(
        [
            half[folder.images[image]]["subset"] == ("a" if person % 2 else "b")
            for person, image in zip(folder.person_N, folder.image_N, strict=True)
        ]
    )
    halved = dataclasses.replace(
        folder,
        image_columns=half,
        user_columns={},
        person_N=folder.person_N[kept_N],
        image_N=folder.image_N[kept_N],
        rating_NA=folder.rating_NA[kept_N],
    )
    halved_data = dataclasses.replace(data, folder=halved)
    config = dataclasses.replace(CONFIG, ks=(0,), limit_people=6, learned_prior=False)
    found = run_survey(halved_data, at_random(halved_data), config)
    assert found["encoders"][0]["num_groups"] == 2
    assert found["encoders"][0][PAIRS]["num_columns"] == 2 * CONFIG.num_pairs
    assert {e["survey"] for e in found["summary"]} == {PAIRS, SHUFFLED, COMPARED}


def test_columns_of_numbers_and_words_become_answers() -> None:
    columns = {"a": {"age": "30", "band": "x", "name": "n1"}, "b": {"age": "", "band": "y", "name": "n2"}}
    columns |= {f"c{i}": {"age": "20", "band": "x", "name": f"m{i}"} for i in range(20)}
    found = column_answers(columns, [*columns, "nobody"])
    np.testing.assert_array_equal(found["a"], [30, 1, 0])
    np.testing.assert_array_equal(found["b"], [np.nan, 0, 1])
    assert np.isnan(found["nobody"]).all()
    with pytest.raises(InvalidInput, match="no column"):
        column_answers({f"c{i}": {"name": f"m{i}"} for i in range(20)}, [f"c{i}" for i in range(20)])


def test_gain_is_of_the_same_people_and_over_seeds() -> None:
    nan = float("nan")
    measured = [
        SurveyMeasurement("a", 0, np.array([0.5]), np.array([[0.6], [nan]])),
        SurveyMeasurement("b", 0, np.array([0.1]), np.array([[0.1], [nan]])),
        SurveyMeasurement("a", 1, np.array([0.4]), np.array([[0.7], [nan]])),
        SurveyMeasurement("c", 1, np.array([nan]), np.array([[0.9], [nan]])),
    ]
    (only,) = summary(measured, ["one", "none"], [5])
    assert (only["survey"], only["num_people"]) == ("one", 3)
    assert only["gain"] == pytest.approx((0.05 + 0.3) / 2)
    assert only["share_improved"] == pytest.approx(2 / 3)
    with pytest.raises(InvalidInput, match="undefined for all 1"):
        summary(measured[3:], ["one", "none"], [5])


@pytest.mark.parametrize(
    "change", [{"ks": ()}, {"ks": (0, 0)}, {"seeds": (-1,)}, {"num_pairs": 0}, {"limit_people": 0}]
)
def test_config_is_refused_when_invalid(change: dict) -> None:
    with pytest.raises(InvalidInput):
        dataclasses.replace(CONFIG, **change)
