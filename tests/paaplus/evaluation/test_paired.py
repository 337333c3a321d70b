"""Means and paired intervals, checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.evaluation.paired import compare_method


def test_intervals_are_paired_over_people():
    people, generic_U = ["a", "b", "c"] * 2, np.zeros(6)
    srcc_U = np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])
    entry = compare_method(people, srcc_U, generic_U, srcc_U - 0.05)
    assert entry["srcc"] == pytest.approx(0.2)
    assert entry["ahead"] == pytest.approx({"mean": 0.05, "low": 0.05, "high": 0.05})
    assert 0.1 <= entry["gain"]["low"] < 0.2 < entry["gain"]["high"] <= 0.3
    assert entry["share_improved"] == 1.0
