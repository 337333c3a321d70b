"""The stream study on simulated people: its measures, that it is repeatable, and its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from paaplus.configs import TrainingConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.learner import Learner
from paaplus.evaluation.splits import split_folder
from paaplus.evaluation.stream.config import ALL_LEARNERS, StreamConfig
from paaplus.evaluation.stream.report import HEADINGS, table, title, write_report
from paaplus.evaluation.stream.run import run_stream
from paaplus.evaluation.stream.summary import MEASURES, StreamMeasurement, summary
from tests.paaplus.evaluation.simulated import at_random, evaluation_data
from tests.support.taste_data import simulate

BAYES, NAIVE, REPLAY = (Learner("taste_vector", name) for name in ("bayes", "naive", "replay"))
QUICK = StreamConfig(
    learners=(BAYES, NAIVE, REPLAY),
    num_ratings=30,
    increment=10,
    seeds=(0,),
    limit_people=4,
    training=TrainingConfig(num_steps=15),
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return evaluation_data(tmp_path_factory.mktemp("stream"), simulate(num_people=40, num_images=160))


def run(data, config=QUICK, **options):
    return run_stream(data, at_random(data), config, **options)


@pytest.fixture(scope="module")
def document(data):
    return run(data)


def entry(document, scenario, learner):
    return next(e for e in document["summary"][scenario] if e["learner"] == learner.name)


def without_seconds(document):
    return [{**e, "seconds": 0} for entries in document["summary"].values() for e in entries]


def test_personal_scores_are_better_than_the_generic_score(document):
    for learner in QUICK.learners:
        found = entry(document, "steady", learner)
        assert found["num_people"] == 4
        assert found["gain"]["low"] > 0
        assert len(found["curve"]) == 3
        assert found["curve"][-1] == pytest.approx(found["srcc"]["mean"])
        assert found["gain"]["mean"] == pytest.approx(found["srcc"]["mean"] - found["generic_srcc"])
        assert found["seconds"] > 0


def test_every_measure_has_an_interval_around_it(document):
    for entries in document["summary"].values():
        for found in entries:
            for measure in MEASURES:
                assert found[measure]["low"] <= found[measure]["mean"] <= found[measure]["high"], measure


def test_the_first_learner_is_not_ahead_of_itself(document):
    assert entry(document, "steady", BAYES)["ahead"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    naive = entry(document, "steady", NAIVE)
    ahead = naive["srcc"]["mean"] - entry(document, "steady", BAYES)["srcc"]["mean"]
    assert naive["ahead"]["mean"] == pytest.approx(ahead)


def test_naive_forgets_more_than_replay_and_a_drift_makes_it_worse(document):
    steady, drift = (entry(document, scenario, NAIVE)["forgetting"]["mean"] for scenario in ("steady", "drift"))
    assert steady > entry(document, "steady", REPLAY)["forgetting"]["mean"]
    assert drift > steady
    assert entry(document, "drift", NAIVE)["bwt"]["mean"] < entry(document, "steady", NAIVE)["bwt"]["mean"]


def test_document_is_the_same_when_run_again_except_seconds(data, document):
    assert without_seconds(run(data)) == without_seconds(document)


def test_drift_scenario_does_not_depend_on_the_steady_one(data, document):
    alone = run(data, replace(QUICK, scenarios=("drift",)))["summary"]["drift"]
    assert [{**e, "seconds": 0} for e in alone] == without_seconds({"summary": {"d": document["summary"]["drift"]}})


def test_progress_ends_at_its_total(data):
    seen = []
    config = replace(QUICK, learners=(BAYES,), seeds=(0,), scenarios=("steady",))
    run(data, config, progress=lambda *numbers: seen.append(numbers))
    assert seen == [(done, 4) for done in range(5)]


def test_report_files_hold_what_was_measured(document, tmp_path: Path):
    files = write_report(document, tmp_path / "out")
    assert [file.name for file in files] == ["stream.json", "stream.md", "stream-steady.png", "stream-drift.png"]
    assert json.loads(files[0].read_text()) == document
    text = files[1].read_text()
    assert title(document, "drift") in text
    for row in table(document["summary"]["steady"]):
        assert len(row) == len(HEADINGS)
        assert " | ".join(row) in text
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files[2:])


def test_summary_equals_the_one_computed_by_hand():
    values = dict.fromkeys(MEASURES, 0.5) | {"seconds": 2.0, "adapter_bytes": 10, "state_bytes": 4, "curve": [0.1, 0.3]}
    better = {**values, "srcc": 0.7, "curve": [0.3, 0.5]}
    results = [StreamMeasurement("anna", 0, 0.4, [values, better]), StreamMeasurement("ben", 0, 0.2, [values, values])]
    first, second = summary(results, ["one", "two"])
    assert first["gain"]["mean"] == pytest.approx((0.1 + 0.3) / 2)
    assert second["ahead"]["mean"] == pytest.approx(0.1)
    assert second["srcc"]["mean"] == pytest.approx(0.6)
    assert (second["ahead"]["low"], second["ahead"]["high"]) == pytest.approx((0.0, 0.2))
    assert second["curve"] == pytest.approx([0.2, 0.4])
    assert (first["seconds"], first["adapter_bytes"], first["state_bytes"]) == (2.0, 10.0, 4.0)
    assert first["generic_srcc"] == pytest.approx(0.3)


def test_people_with_undefined_srcc_are_left_out_and_counted(data):
    folder = data.folder
    split = split_folder(folder, 0)
    person = folder.people.index(split.test_people[0])
    constant_NA = np.where((folder.person_N == person)[:, None], 4.0, folder.rating_NA)
    config = replace(QUICK, learners=(BAYES,), seeds=(0,), scenarios=("steady",))
    found = run_stream(replace(data, folder=replace(folder, rating_NA=constant_NA)), lambda seed: split, config)
    assert found["config"]["num_dropped"] == {"steady": 1}
    assert found["summary"]["steady"][0]["num_people"] == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learners": ()}, "learners"),
        ({"learners": (BAYES, BAYES)}, "none twice"),
        ({"seeds": (1, 1)}, "seeds"),
        ({"increment": 20}, "30 ratings in increments of 20"),
        ({"increment": 30}, "two or more"),
        ({"limit_people": 1}, "2 or more"),
        ({"scenarios": ("storm",)}, "storm"),
        ({"learners": (Learner("taste_vector", "bayes", asked=True),)}, "people choose what they rate"),
    ],
)
def test_config_is_refused_when_invalid(change, message):
    with pytest.raises(InvalidInput, match=message):
        replace(QUICK, **change)


def test_too_few_ratings_are_an_error_with_the_seed(data):
    with pytest.raises(InvalidInput, match="seed 0: 0 test people with 140 ratings"):
        run(data, replace(QUICK, num_ratings=140, increment=10))


def test_a_learned_prior_is_fitted_on_the_train_side_and_used(tmp_path):
    """Many people differ along two directions and each gives few ratings, so that a fitted prior helps."""
    data = evaluation_data(tmp_path, simulate(num_people=90, num_images=160))
    learners = (BAYES, Learner("taste_vector", "bayes", prior=True))
    config = replace(QUICK, learners=learners, num_ratings=10, increment=5, limit_people=8, scenarios=("steady",))
    own, learned = run(data, config)["summary"]["steady"]
    assert learned["learner"] == "taste_vector:bayes+prior"
    assert learned["srcc"] != own["srcc"]
    assert learned["srcc"]["mean"] > own["srcc"]["mean"] - 0.01


def test_default_learners_are_all_strategies():
    assert len(ALL_LEARNERS) == 27
    assert ALL_LEARNERS[0] == BAYES
