"""The gate on numbers worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from paaplus.configs import GateConfig
from paaplus.gate import Evidence, GateReport, UnseenRatings, judge

CONFIG = GateConfig(
    min_evidence=5,
    margin=0.05,
    min_probability=0.1,
    forgetting_margin=0.15,
    max_negative_flip_rate=0.02,
    min_agreement=-1.0,  # whatever order: most of these are about one check at a time
    trust_region=1.0,
)
AGREEING = replace(CONFIG, min_agreement=0.33)
NONE = UnseenRatings(np.empty(0, int), *(np.empty((0, 1)) for _ in range(4)))


def unseen(
    target: list[float], active: list[float], candidate: list[float], *, generic: object = None
) -> UnseenRatings:
    """Ratings of one aspect, numbered from 1."""
    columns = (target, active if generic is None else generic, active, candidate)
    return UnseenRatings(np.arange(1, len(target) + 1), *(np.array(values, float).reshape(-1, 1) for values in columns))


def evidence(
    target: list[float], active: list[float], candidate: list[float], *, boundary: int = 0, shift: float = 0.5
) -> Evidence:
    """Held-out ratings, and a pool whose scores move by `shift`."""
    pool_PA = np.full((4, 1), 5.0)
    return Evidence(unseen(target, active, candidate), NONE, boundary, pool_PA, pool_PA + shift)


def rising(count: int) -> np.ndarray:
    """Targets that are all different, so that every pair counts."""
    return np.linspace(3.0, 5.0, count)


def errs(count: int, active: float, candidate: float, **more: object) -> Evidence:
    """Both order all pairs right and are off by a constant."""
    target = rising(count)
    return evidence(target, target + active, target + candidate, **more)


def check(report: GateReport, name: str):
    return next(check for check in report.checks if check.name == name)


def test_a_clearly_better_candidate_goes_live() -> None:
    report = judge(errs(10, active=2.0, candidate=1.0), CONFIG)  # 4 - 1 on every rating
    assert report.promote
    assert report.reason.startswith("Promoted. Squared error on 10 unseen ratings: 3.00 lower (allowed: 0.05 higher;")
    expected = stats.t(12, 30 / 11, np.sqrt((18 + 10 / 11 * 9) / 12 / 11)).sf(-0.05)
    assert check(report, "loss").value == pytest.approx(expected)


def test_a_clearly_worse_candidate_is_refused() -> None:
    report = judge(errs(10, active=1.0, candidate=2.0), CONFIG)
    assert not report.promote
    assert report.reason.startswith("Refused. Squared error on 10 unseen ratings: 3.00 higher (allowed: 0.05 higher;")
    assert not check(report, "loss").passed
    assert check(report, "forgetting").passed


def test_a_candidate_as_good_as_the_active_goes_live() -> None:
    assert judge(errs(10, active=1.0, candidate=1.0), CONFIG).promote
    assert judge(errs(10, active=1.0, candidate=-1.0), CONFIG).promote


def test_noise_on_few_ratings_does_not_refuse() -> None:
    target = rising(5)
    # squared errors of 1 against 2.25, 0.25, 2.25, 0.25, 2.25: worse by 0.45 on average, give or take
    noisy = evidence(target, target + 1.0, target + np.array([1.5, 0.5, 1.5, 0.5, 1.5]))
    report = judge(noisy, replace(CONFIG, max_negative_flip_rate=1.0))
    assert report.promote
    assert "0.45 higher" in report.reason


@pytest.mark.parametrize("score", [np.nan, np.inf, -0.01, 10.01])
@pytest.mark.parametrize("place", ["held_out", "pool"])
def test_scores_that_are_not_numbers_in_range_are_refused(place: str, score: float) -> None:
    sound = errs(10, active=2.0, candidate=1.0)
    broken = (sound.held_out.candidate_NA if place == "held_out" else sound.pool_candidate_PA).copy()
    broken[2] = score
    if place == "held_out":
        sound = replace(sound, held_out=replace(sound.held_out, candidate_NA=broken))
    else:
        sound = replace(sound, pool_candidate_PA=broken)
    report = judge(sound, CONFIG)
    assert not report.promote
    assert report.reason == "Refused. Scores: 1 of 14 are not numbers from 0 to 10."


@pytest.mark.parametrize(("shift", "promote"), [(0.5, True), (4.0, False)])
def test_with_too_little_evidence_the_size_of_the_change_decides(shift: float, promote: bool) -> None:
    # four of the pool move by the shift, four held-out ratings by 1: the candidate is worse on them, which is noise
    report = judge(errs(4, active=1.0, candidate=2.0, shift=shift), CONFIG)
    assert report.promote is promote
    mean = (4 * shift + 4 * 1.0) / 8
    note = "Only 4 unseen ratings (5 needed), so the size of the change decides."
    size = f"Size of the change: scores move by {mean:.2f} on average (allowed: 1)."
    assert report.reason == (
        (f"Promoted. {note} {size} " if promote else f"Refused. {size} {note} ")
        + "Consistency: not tested, only 4 new ratings (5 needed). Scores: all 8 are numbers from 0 to 10."
    )
    assert check(report, "trust_region").value == pytest.approx(mean)


def test_with_nothing_at_all_to_measure_the_candidate_is_refused() -> None:
    nothing = Evidence(NONE, NONE, 0, np.empty((0, 1)), np.empty((0, 1)))
    report = judge(nothing, CONFIG)
    assert not report.promote
    assert "Size of the change: unknown, there is no image to measure it on." in report.reason


def test_forgetting_is_refused_though_the_newest_ratings_got_better() -> None:
    target = rising(28)
    earlier = np.arange(28) < 8
    active = target + np.where(earlier, 1.0, 3.0)
    candidate = target + np.where(earlier, 2.0, 1.0)  # 3 worse on 8 earlier ratings, 8 better on 20 new ones
    forgetful = evidence(target, active, candidate, boundary=8)
    report = judge(forgetful, replace(CONFIG, max_negative_flip_rate=1.0))
    assert not report.promote
    assert check(report, "loss").passed
    assert report.reason.startswith(
        "Refused. Forgetting: squared error on 8 old held-out ratings is 3.00 higher (allowed: 0.15"
    )
    assert judge(replace(forgetful, boundary=0), replace(CONFIG, max_negative_flip_rate=1.0)).promote


def test_few_earlier_ratings_say_nothing_about_forgetting() -> None:
    report = judge(errs(10, active=1.0, candidate=1.2, boundary=4), CONFIG)
    assert check(report, "forgetting").passed
    assert check(report, "forgetting").value is None
    assert "Forgetting: not tested, only 4 old held-out ratings (5 needed)." in report.reason


def test_a_candidate_that_scores_everything_alike_is_refused_though_its_errors_are_smaller() -> None:
    target = np.linspace(4.2, 5.8, 12)
    flat = evidence(target, target + 1.0, np.full(12, 5.0))
    report = judge(flat, CONFIG)
    assert not report.promote
    assert check(report, "loss").passed
    assert (
        "Pairs in the wrong order: 50.0 percentage points more (allowed: 2 more;" in report.reason
    )  # the active had all pairs right, a tie is half right


def test_flips_are_net_of_pairs_that_turn_right() -> None:
    target = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    active = [1.0, 2.0, 3.0, 4.0, 6.0, 5.0]  # one of 15 pairs wrong
    candidate = [2.0, 1.0, 3.0, 4.0, 5.0, 6.0]  # another one
    report = judge(evidence(target, active, candidate), CONFIG)
    assert "Pairs in the wrong order: 0.0 percentage points fewer (allowed: 2 more;" in report.reason
    assert report.promote


def test_pairs_that_the_user_rated_alike_do_not_count() -> None:
    alike = evidence([5.0] * 6, [4.0, 4.1, 4.2, 4.3, 4.4, 4.5], [4.5, 4.4, 4.3, 4.2, 4.1, 4.0])
    report = judge(alike, CONFIG)
    assert check(report, "negative_flips").value is None
    assert report.promote


def test_missing_aspects_do_not_count() -> None:
    target_NA = np.column_stack([rising(8), np.full(8, np.nan)])
    target_NA[7] = np.nan  # a rating of nothing at all
    active_NA, candidate_NA = np.nan_to_num(target_NA) + 2.0, np.nan_to_num(target_NA) + 1.0
    rows = UnseenRatings(np.arange(8), target_NA, active_NA, active_NA, candidate_NA)
    none = UnseenRatings(np.empty(0, int), *(np.empty((0, 2)) for _ in range(4)))
    report = judge(Evidence(rows, none, 0, np.empty((0, 2)), np.empty((0, 2))), CONFIG)
    assert report.reason.startswith("Promoted. Squared error on 7 unseen ratings: 3.00 lower")


def test_training_ratings_count_where_there_is_a_leave_one_out_prediction() -> None:
    held_out = errs(2, active=1.0, candidate=1.0)
    target = rising(9)
    candidate = target + 2.0
    candidate[4] = np.nan
    both = replace(held_out, new=unseen(target, target + 1.0, candidate))
    assert np.array_equal(both.gains(), [0.0] * 2 + [-3.0] * 8)
    assert not judge(both, CONFIG).promote
    assert "Only 2 unseen ratings (5 needed)" in judge(held_out, CONFIG).reason


def test_ratings_in_random_order_are_refused_though_the_candidate_errs_less() -> None:
    target = np.array([4.0, 7.0, 5.0, 6.0, 4.5, 6.5, 5.5, 6.0, 4.0, 7.0, 5.0, 6.5] * 3)
    score = np.linspace(3.0, 4.0, 36)  # has nothing to do with them
    random = evidence(target, score, score + 2.0)
    report = judge(random, AGREEING)
    assert check(report, "loss").passed
    assert not report.promote
    assert report.reason.startswith(
        "Refused. Consistency: the order of 36 new ratings agrees best with the generic scores, Kendall correlation 0.0"
    )
    assert judge(random, CONFIG).promote


@pytest.mark.parametrize(
    ("follows", "words"),
    [("generic", "the generic scores"), ("active", "the served scores"), ("candidate", "the candidate's scores")],
)
def test_new_ratings_that_follow_one_of_three_orders_are_enough(follows: str, words: str) -> None:
    target = rising(20)
    scores = dict.fromkeys(("generic", "active", "candidate"), 8.0 - target) | {follows: target + 1.0}
    rows = unseen(target, scores["active"], scores["candidate"], generic=scores["generic"])
    pool_PA = np.full((4, 1), 5.0)
    report = judge(Evidence(rows, NONE, 0, pool_PA, pool_PA), AGREEING)
    assert check(report, "agreement").passed
    assert f"agrees best with {words}, Kendall correlation 1.00" in check(report, "agreement").detail


def test_agreement_is_a_posterior_of_row_means_with_doubled_error() -> None:
    report = judge(errs(10, active=1.0, candidate=1.0), AGREEING)  # every row agrees fully
    scale = 2 * np.sqrt((2 * 0.16 + 10 / 11) / 12 / 11)
    assert check(report, "agreement").value == pytest.approx(stats.t(12, 10 / 11, scale).sf(0.33))


def test_ratings_that_are_all_alike_are_refused() -> None:
    alike = np.full(20, 5.0)
    report = judge(evidence(alike, rising(20), alike), AGREEING)
    assert check(report, "loss").passed
    assert check(report, "negative_flips").value is None
    assert not report.promote
    assert "20 new ratings agrees best with the generic scores, Kendall correlation 0.00" in report.reason


def test_only_ratings_after_the_active_version_must_follow_an_order() -> None:
    target = np.concatenate([rising(30), np.full(12, 4.0)])
    score = np.concatenate([rising(30), rising(12)])
    assert judge(evidence(target, score, score), AGREEING).promote
    assert not judge(evidence(target, score, score, boundary=30), AGREEING).promote
    few = judge(evidence(target, score, score, boundary=38), AGREEING)
    assert few.promote
    assert check(few, "agreement").value is None


def test_leave_two_out_differences_order_the_training_ratings() -> None:
    target = rising(12)
    wrong = unseen(target, 8.0 - target, target - target.mean())  # leave-one-out predictions are no order to go by
    difference_LLA = (target[:, None] - target[None])[:, :, None]
    new = replace(wrong, candidate_NA=8.0 - wrong.target_NA, difference_LLA=difference_LLA)
    report = judge(replace(errs(2, active=1.0, candidate=1.0), new=new), AGREEING)
    detail = check(report, "agreement").detail
    assert "14 new ratings agrees best with the candidate's scores, Kendall correlation 1.00" in detail


scores = st.floats(0, 10, width=32)


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float32, (n, 2), elements=scores)] * 3)))
def test_every_report_is_json_with_a_reason(columns: tuple[np.ndarray, ...]) -> None:
    target_NA, active_NA, candidate_NA = columns
    rows = UnseenRatings(np.arange(len(target_NA)), target_NA, candidate_NA, active_NA, candidate_NA)
    report = judge(Evidence(rows, rows, 3, active_NA, candidate_NA), GateConfig())
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["promote"] is report.promote
    assert report.reason.startswith("Promoted. " if report.promote else "Refused. ")
    assert all(check.detail in report.reason for check in report.checks)
    assert report.reason.isprintable(), "one line"
    assert report.promote is all(check.passed for check in report.checks)
