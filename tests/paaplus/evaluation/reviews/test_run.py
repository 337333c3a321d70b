"""The review study on simulated people: reviews improve labels, and the kinds of labels are in the expected order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.reviews.config import ReviewStudyConfig
from paaplus.evaluation.reviews.labels import LABELS
from paaplus.evaluation.reviews.report import HEADINGS, table, write_report
from paaplus.evaluation.reviews.run import run_reviews
from paaplus.evaluation.train_side import EvaluationData
from tests.paaplus.evaluation.simulated import at_random, evaluation_data
from tests.support.taste_data import simulate

QUICK = ReviewStudyConfig(counts=(0, 20, 60, 5000), seeds=(0,), limit_people=6)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> EvaluationData:
    return evaluation_data(tmp_path_factory.mktemp("reviews"), simulate(num_people=40, num_images=180, own_sd=0.6))


def run(data: EvaluationData, config: ReviewStudyConfig) -> dict[str, Any]:
    return run_reviews(data, at_random(data), config)


@pytest.fixture(scope="module")
def document(data: EvaluationData) -> dict[str, Any]:
    return run(data, QUICK)


def entry(document: dict[str, Any], order: str, count: int) -> Any:
    return next(e for e in document["summary"] if (e["order"], e["count"]) == (order, count))


def maes(document: dict[str, Any], order: str, count: int) -> dict[str, float]:
    return {kind: label["mae"]["mean"] for kind, label in entry(document, order, count)["labels"].items()}


def test_before_any_review_every_label_is_raw_and_the_mean_is_that_of_the_train_people(
    document: dict[str, Any],
) -> None:
    for order in ("random", "value"):
        before = maes(document, order, 0)
        assert len({before[kind] for kind in ("raw", "calibrated", "calibrated+reward", "own")}) == 1
        assert before["mean"] > before["raw"]
        assert entry(document, order, 0)["share_corrected"] is None


def test_reviews_improve_labels_and_taste_improves_them_more_than_calibration(document: dict[str, Any]) -> None:
    for order in ("random", "value"):
        after = maes(document, order, 60)
        assert after["calibrated"] < min(after["raw"] + 0.03, after["mean"])  # offsets are small here, noise is not
        assert after["calibrated+reward"] < after["calibrated"] - 0.05
        assert after["own"] < after["calibrated"] - 0.05
        assert entry(document, order, 60)["share_with_reward_head"] > 0.5


def test_counts_that_nobody_rated_enough_for_are_listed(document: dict[str, Any]) -> None:
    assert document["config"]["not_measured"] == [5000]
    assert {(e["order"], e["count"]) for e in document["summary"]} == {
        (order, count) for order in ("random", "value") for count in (0, 20, 60)
    }


def test_experts_who_accept_everything_teach_nothing(data: EvaluationData) -> None:
    document = run(data, dataclasses.replace(QUICK, counts=(20,), limit_people=2, tolerance=10.0))
    after = maes(document, "random", 20)
    assert entry(document, "random", 20)["share_corrected"] == 0.0
    assert after["calibrated"] == pytest.approx(after["raw"], abs=0.05)
    assert after["calibrated+reward"] == pytest.approx(after["raw"], abs=0.05)


def test_team_teaches_one_tool_and_labels_are_measured_against_each_expert(data: EvaluationData) -> None:
    document = run(data, dataclasses.replace(QUICK, counts=(0, 150), limit_people=5, experts_per_tool=2))
    both = entry(document, "random", 150)  # more than one of them rated
    assert both["num_people"] == 4  # the fifth has no team
    errors = maes(document, "random", 150)
    assert errors["own"] < errors["calibrated+reward"]  # one tool cannot fit two tastes


def test_document_is_json_the_same_when_run_again_and_has_a_table(
    data: EvaluationData, document: dict[str, Any], tmp_path: Path
) -> None:
    small = dataclasses.replace(QUICK, counts=(20,), limit_people=2)
    one = run(data, small)
    assert one == run(data, small)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    rows = table(document)
    assert len(rows) == len(document["summary"]) * len(LABELS)
    assert {len(row) for row in rows} == {len(HEADINGS)}
    files = write_report(document, tmp_path / "out")
    assert "Nobody rated enough for [5000]" in files[1].read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"counts": ()},
        {"counts": (-1,)},
        {"seeds": (0, 0)},
        {"limit_people": 0},
        {"tolerance": -1.0},
        {"round_size": 0},
        {"experts_per_tool": 0},
    ],
)
def test_config_is_refused_when_invalid(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        dataclasses.replace(QUICK, **change)
