"""The drift study on simulated people, and its summary checked by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.configs import DriftConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.drift.config import DriftStudyConfig
from paaplus.evaluation.drift.report import table
from paaplus.evaluation.drift.run import run_drift
from paaplus.evaluation.drift.summary import DriftMeasurement, summary
from paaplus.evaluation.person_streams import DRIFT, STEADY
from paaplus.evaluation.rounds import no_progress
from tests.paaplus.evaluation.simulated import at_random


def run(data, progress=no_progress, **options):
    config = DriftStudyConfig(num_ratings=80, seeds=(0,), limit_people=4, **options)
    return run_drift(data, at_random(data), config, progress)


def test_sensitive_test_finds_drift_and_insensitive_test_finds_nothing(data):
    sensitive = run(data, drift=DriftConfig(tolerance=0.1, threshold=5.0, recency_half_life=15.0))["summary"]
    assert sensitive["found"] >= 0.5
    assert 0 < sensitive["median_ratings_until_found"] <= 40
    assert sensitive["after_found"]["mae_forgetting_faster"] < sensitive["after_found"]["mae_as_before"]
    progress_calls = []
    insensitive = run(data, lambda done, total: progress_calls.append((done, total)), drift=DriftConfig(threshold=1e6))
    assert progress_calls == [(n, 4) for n in range(5)]
    assert (insensitive["summary"]["found"], insensitive["summary"]["false_alarms"]) == (0, 0)
    assert insensitive["summary"]["median_ratings_until_found"] is None
    assert json.loads(json.dumps(insensitive, allow_nan=False)) == insensitive


def test_summary_separates_false_alarms_from_found_drifts():
    def measured(alarm_at):
        return DriftMeasurement(alarm_at, srcc=(0.4, 0.5), mae=(2.0, 1.5))

    measurements = {
        STEADY: [measured(None), measured(None), measured(30), measured(None)],
        DRIFT: [measured(60), measured(80), measured(20), measured(None)],
    }
    result = summary(measurements, drift_begins=50)
    assert result["false_alarms"] == 0.25
    assert result["false_alarms_before_drift"] == 0.25
    assert result["found"] == 0.5
    assert result["median_ratings_until_found"] == 20
    assert result["after_found"]["num"] == 2
    assert result["after_found"]["mae_forgetting_faster"] == pytest.approx(1.5)
    rows = dict(table({"summary": result, "config": {"num_ratings": 100}}))
    assert rows["drift: found after it begins"] == "50.0%"
    assert rows["found: SRCC at the end, without and with faster forgetting (2 streams)"] == "0.400 0.500"
    assert np.all([isinstance(value, str) for value in rows.values()])


@pytest.mark.parametrize("change", [{"seeds": ()}, {"increment": 1}, {"num_ratings": 95}])
def test_config_is_refused_when_invalid(change):
    with pytest.raises(InvalidInput):
        DriftStudyConfig(**change)
