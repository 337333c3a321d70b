"""The four measures against worked examples."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.robustness.measures import art, basr, msi, rasr

EXAMPLES = Path(os.environ.get("PAAPLUS_TEST_SHARED", "/nowhere")) / "siblings/parity/nima_attack/metrics.json"


def test_by_hand() -> None:
    clean, attacked = [4.0, 5.5, 5.4, 6.0, 7.0], [5.6, 5.6, 5.5, 6.2, 6.9]
    assert basr(clean, attacked, 5.5) == pytest.approx(200 / 3)  # 5.5 itself is still negative
    assert rasr(clean, attacked) == pytest.approx(80.0)
    assert msi(clean, attacked) == pytest.approx(0.38)
    assert basr([6.0, 7.5], [6.5, 7.0], 5.5) is None  # undefined, not 0
    assert rasr([5.0] * 3, [5.0] * 3) == msi([5.0] * 3, [5.0] * 3) == 0.0  # equal is no rise
    assert msi([5.0, 6.0], [4.0, 4.5]) == -1.25  # signed, over all images


def test_time_until_the_rate_is_reached() -> None:
    moments = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert art(moments, [40.0, 70.0, 81.0, 81.0, 80.5]) == 0.3
    assert art(moments, [40.0, 80.5, 81.0, 81.2, 80.5], 1.0) == 0.2
    assert art([1, 2], [80.0, 10.0], 1.0) is None


@pytest.mark.skipif(not EXAMPLES.is_file(), reason="the examples are in PAAPLUS_TEST_SHARED, which is not here")
def test_published_examples() -> None:
    document = json.loads(EXAMPLES.read_text())
    for one in document["examples"]:
        if "basr" not in one:
            continue  # what the published code counts instead
        found = basr(one["clean"], one["attacked"], document["cut"])
        assert found == (None if one["basr"] is None else pytest.approx(one["basr"])), one["name"]
        assert rasr(one["clean"], one["attacked"]) == pytest.approx(one["rasr"]), one["name"]
        assert msi(one["clean"], one["attacked"]) == pytest.approx(one["msi"]), one["name"]
    for one in document["reach"]:
        assert art(one["hours"], one["rasr"], one.get("tolerance")) == one["art"], one["name"]


@pytest.mark.parametrize("pair", [([], []), ([1.0], [1.0, 2.0]), ([1.0], [float("nan")])])
def test_wrong_numbers_are_refused(pair: tuple[list[float], list[float]]) -> None:
    with pytest.raises(InvalidInput):
        rasr(*pair)
