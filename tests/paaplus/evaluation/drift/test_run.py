"""The drift trigger on simulated people, and its summary by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.configs import DriftConfig
from paaplus.errors import InvalidInput
from paaplus.evaluation.drift.run import DriftCurveConfig, run_drift_curve
from paaplus.evaluation.drift.summary import Watched, summary, table
from paaplus.evaluation.rounds import no_progress
from paaplus.evaluation.stream.person_streams import DRIFT, STEADY
from tests.paaplus.evaluation.simulated import at_random


def run(data, progress=no_progress, **options):
    config = DriftCurveConfig(num_ratings=80, seeds=(0,), limit_people=4, **options)
    return run_drift_curve(data, at_random(data), config, progress)


def test_a_quick_trigger_finds_drift_and_a_deaf_one_finds_nothing(data):
    quick = run(data, drift=DriftConfig(tolerance=0.1, threshold=5.0, recency_half_life=15.0))["summary"]
    assert quick["found"] >= 0.5
    assert 0 < quick["median_ratings_until_found"] <= 40
    assert quick["after_found"]["mae_forgetting_faster"] < quick["after_found"]["mae_as_before"]
    counted = []
    deaf = run(data, lambda done, total: counted.append((done, total)), drift=DriftConfig(threshold=1e6))
    assert counted == [(n, 4) for n in range(5)]
    assert (deaf["summary"]["found"], deaf["summary"]["false_alarms"]) == (0, 0)
    assert deaf["summary"]["median_ratings_until_found"] is None
    assert json.loads(json.dumps(deaf, allow_nan=False)) == deaf


def test_summary_tells_false_alarms_from_found_ones():
    def watched(alarm_at):
        return Watched(alarm_at, srcc=(0.4, 0.5), mae=(2.0, 1.5))

    found = {
        STEADY: [watched(None), watched(None), watched(30), watched(None)],
        DRIFT: [watched(60), watched(80), watched(20), watched(None)],
    }
    told = summary(found, drift_begins=50)
    assert told["false_alarms"] == 0.25
    assert told["false_alarms_before_drift"] == 0.25
    assert told["found"] == 0.5
    assert told["median_ratings_until_found"] == 20
    assert told["after_found"]["num"] == 2
    assert told["after_found"]["mae_forgetting_faster"] == pytest.approx(1.5)
    rows = dict(table({"summary": told, "config": {"num_ratings": 100}}))
    assert rows["drift: found after it begins"] == "50.0%"
    assert rows["found: SRCC at the end, as before and forgetting faster (2)"] == "0.400 0.500"
    assert np.all([isinstance(value, str) for value in rows.values()])


@pytest.mark.parametrize("change", [{"seeds": ()}, {"increment": 1}, {"num_ratings": 95}])
def test_config_is_refused_when_it_makes_no_sense(change):
    with pytest.raises(InvalidInput):
        DriftCurveConfig(**change)
