"""Shares of promoted candidates, checked by hand; and the report files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.gate.report import table, write_report
from paaplus.evaluation.gate.summary import FIRST, UPDATE, CandidateMeasurement, summary


def candidate(
    user: str, origin: str, *, worse: bool, promoted: bool, plain: bool = True, version: str = FIRST
) -> CandidateMeasurement:
    rules = {"gate": promoted, "plain": plain}
    return CandidateMeasurement(
        user, "taste_vector:bayes", version, 25, origin, worse, -1.0 if worse else 1.0, 0.0, rules, 0.002
    )


PEOPLE = [
    candidate("a", "honest", worse=False, promoted=True),
    candidate("b", "honest", worse=False, promoted=False),
    candidate("c", "honest", worse=True, promoted=True),
    candidate("a", "shuffled", worse=True, promoted=False),
    candidate("b", "shuffled", worse=True, promoted=True),
    candidate("c", "shuffled", worse=False, promoted=True),
    candidate("a", "constant", worse=True, promoted=False),
    candidate("a", "flipped", worse=True, promoted=False),
]


def test_good_are_honest_and_not_worse_bad_are_spoiled_and_worse() -> None:
    (entry,) = summary(PEOPLE, ["taste_vector:bayes"], [10, 25])
    assert (entry["when"], entry["k"], entry["num_people"]) == (FIRST, 25, 3)
    assert (entry["good"]["num"], entry["good"]["refused"]["gate"]["share"]) == (2, 0.5)
    assert (entry["bad"]["num"], entry["bad"]["live"]["gate"]["share"]) == (4, 0.25)
    assert entry["bad"]["live"]["plain"]["share"] == 1.0
    assert entry["honest_but_worse"]["live"]["gate"] == {"share": 1.0, "low": 1.0, "high": 1.0}
    assert (entry["spoiled_but_not_worse"]["num"], entry["spoiled_but_not_worse"]["live"]["gate"]["share"]) == (1, 1.0)
    assert entry["origins"]["shuffled"]["share_worse"] == pytest.approx(2 / 3)
    assert entry["origins"]["shuffled"]["mse_gain"] == pytest.approx(-1 / 3)
    assert entry["origins"]["shuffled"]["worse_live"]["gate"]["share"] == 0.5
    assert entry["median_judge_ms"] == pytest.approx(2.0)


def test_first_versions_and_updates_are_told_apart() -> None:
    updates = [candidate("a", origin, worse=True, promoted=True, version=UPDATE) for origin in ("honest", "shuffled")]
    updates += [
        candidate("a", origin, worse=True, promoted=False, version=UPDATE) for origin in ("constant", "flipped")
    ]
    first, update = summary([*PEOPLE, *updates], ["taste_vector:bayes"], [25])
    assert (first["when"], update["when"]) == (FIRST, UPDATE)
    assert update["good"] == {"num": 0, "refused": {"gate": None, "plain": None}}
    assert update["bad"]["live"]["gate"]["share"] == pytest.approx(1 / 3)


def test_report_holds_the_table(tmp_path: Path) -> None:
    config = {"data": "/somewhere/faces", "mse_tolerance": 0.05, "srcc_tolerance": 0.02, "seeds": [0]}
    document = {"summary": summary(PEOPLE, ["taste_vector:bayes"], [25]), "config": config}
    rows = table(document)
    assert [row[3] for row in rows] == ["gate", "plain"]
    assert rows[0][4] == "25.0%"
    assert rows[0][6:9] == ("50.0%", "0.0%", "0.0%")
    assert rows[0][9] == "50.0%"
    files = write_report(document, tmp_path / "out")
    assert json.loads(files[0].read_text())["summary"] == document["summary"]
    assert "| taste_vector:bayes | first | 25 | gate | 25.0%" in files[1].read_text()
    assert "somewhere" not in files[1].read_text()
    with pytest.raises(InvalidInput, match="is not a folder"):
        write_report(document, files[0])
