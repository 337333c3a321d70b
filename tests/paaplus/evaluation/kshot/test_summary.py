from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.evaluation.intervals import bootstrap_interval
from paaplus.evaluation.kshot.report import HEADINGS, note_on_few_ratings, table, write_report
from paaplus.evaluation.kshot.summary import SplitResult, rows, summary

LEARNERS, KS = ["taste_vector:bayes", "bottleneck:replay"], [0, 10]


def result(seed, people, generic, personal, other):
    """A split's result; `personal` and `other` are per person, at k = 0 and 10."""
    srcc_ULK = np.stack([np.array(personal), np.array(other)], axis=1)
    ones = np.ones_like(srcc_ULK)
    coverage_ULKQ = np.full((*srcc_ULK.shape, 3), np.nan)
    coverage_ULKQ[:, 0, 1] = [0.4, 0.8, 0.9]  # the first learner has uncertainty, once it is trained
    return SplitResult(
        seed,
        tuple(people),
        np.array(generic),
        np.array([10, 9, 3][: len(people)]),
        srcc_ULK,
        0.5 * ones,
        100 * ones,
        30 * ones,
        coverage_ULKQ,
    )


FIRST = result(0, "abc", [0.2, 0.4, np.nan], [[0.2, 0.4], [0.4, 0.3], [0.9, 0.9]], [[0.2, 0.2], [0.4, 0.4], [0.9, 0.9]])
SECOND = result(1, "ad", [0.6, 0.5], [[0.6, 0.9], [0.5, np.nan]], [[0.6, 0.6], [0.5, 0.5]])


def test_rows_leave_out_people_with_an_undefined_srcc():
    assert rows(FIRST, LEARNERS, KS)[1] == {
        "k": 10,
        "seed": 0,
        "generic": pytest.approx(0.3),
        "personal": pytest.approx(0.35),
        "gain": pytest.approx(0.05),
        "num_people": 2,
        "num_dropped": 1,
        "num_fewer": 1,  # the person with 3 ratings is dropped
        "bottleneck:replay": pytest.approx(0.3),
    }
    assert [(row["num_people"], row["num_dropped"]) for row in rows(SECOND, LEARNERS, KS)] == [(1, 1), (1, 1)]


def test_summary_is_the_mean_over_seeds_and_the_share_over_people():
    at_0, at_10 = summary([FIRST, SECOND], LEARNERS, KS)
    assert at_0["k"] == 0
    assert (at_0["gain"], at_0["share_improved"]) == (pytest.approx(0), 0)
    assert at_10["generic"] == pytest.approx((0.3 + 0.6) / 2)
    assert at_10["personal"] == pytest.approx((0.35 + 0.9) / 2)
    assert at_10["gain"] == pytest.approx((0.05 + 0.3) / 2)
    assert at_10["share_improved"] == pytest.approx(2 / 3)  # +.2, -.1, +.3
    assert (at_10["seconds_per_user"], at_10["bytes_per_user"], at_10["state_bytes_per_user"]) == (0.5, 100, 30)
    assert at_10["bottleneck:replay"]["gain"] == pytest.approx(0)
    assert at_10["coverage"] == {"50%": 0.4, "80%": 0.8, "95%": 0.9}
    assert at_0["coverage"] is None
    assert at_10["bottleneck:replay"]["coverage"] is None
    assert at_10["gain_low"] <= at_10["gain"] <= at_10["gain_high"]


def test_interval_agrees_with_the_normal_one_when_people_are_many():
    values = np.random.default_rng(0).normal(0.05, 0.1, 400)
    low, high = bootstrap_interval([[value] for value in values])
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.002)
    assert high == pytest.approx(values.mean() + half, abs=0.002)


def test_interval_draws_people_not_values():
    rng = np.random.default_rng(0)
    people = rng.normal(0, 1, 50)
    once = bootstrap_interval([[value] for value in people])
    tenfold = bootstrap_interval([[value] * 10 for value in people])
    assert tenfold == pytest.approx(once)


@pytest.fixture
def document():
    return {
        "rows": rows(FIRST, LEARNERS, KS) + rows(SECOND, LEARNERS, KS),
        "summary": summary([FIRST, SECOND], LEARNERS, KS),
        "config": {"data": "/data/mine", "seeds": [0, 1], "personal": LEARNERS[0], "also": LEARNERS[1:]},
    }


def test_table_has_a_row_for_every_k_and_learner(document):
    shown = table(document)
    assert [row[:2] for row in shown] == [(str(k), learner) for k in KS for learner in LEARNERS]
    assert shown[2][2:5] == ("0.450", "0.625", "+0.175")
    assert all(len(row) == len(HEADINGS) for row in shown)


def test_note_counts_people_who_rated_fewer_than_k(document):
    assert (
        note_on_few_ratings(document)
        == "People who rated fewer than k train images and were trained on all of them: 1 of 3 at k = 10."
    )
    for row in document["rows"]:
        row["num_fewer"] = 0
    assert note_on_few_ratings(document) == ""


def test_report_is_written_as_json_table_and_plot(document, tmp_path):
    files = write_report(document, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["kshot.json", "kshot.md", "kshot.png"]
    assert json.loads(files[0].read_text()) == document
    assert "| 10 | taste_vector:bayes | 0.450 | 0.625 | +0.175 |" in files[1].read_text()
    assert "1 of 3 at k = 10." in files[1].read_text()
    assert files[2].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidInput, match="not a folder"):
        write_report(document, files[0])
