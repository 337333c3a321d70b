"""The gate on numbers worked out by hand."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from paaplus.configs import GateConfig
from paaplus.gate import Evidence, FeedbackVerdict, GateReport, UnseenComparisons, UnseenRatings, judge
from paaplus.scoring.comparisons import log_likelihood

CONFIG = GateConfig(
    min_evidence=5,
    margin=0.05,
    min_probability=0.1,
    forgetting_margin=0.15,
    max_negative_flip_rate=0.02,
    comparison_margin=0.1,
)
ORDERED = FeedbackVerdict(num_answers=40, num_in_window=40, first=None, last=None, score=5.0, needed=math.log(3.0))
NONE = UnseenRatings(np.empty(0, int), *(np.empty((0, 1)) for _ in range(4)))


NO_PAIRS = UnseenComparisons(*(np.empty((0, 1)) for _ in range(4)), np.ones(1))


def made(
    held_out: UnseenRatings,
    new: UnseenRatings,
    boundary: int,
    pool_candidate_PA: np.ndarray,
    **more: object,
) -> Evidence:
    """Evidence with a verdict that lets everything go live, unless another one is given."""
    others = {"verdict": ORDERED, "is_live": False, "compared": NO_PAIRS} | more
    return Evidence(
        held_out=held_out,
        new=new,
        boundary=boundary,
        pool_candidate_PA=pool_candidate_PA,
        **others,
    )


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
    return made(unseen(target, active, candidate), NONE, boundary, pool_PA + shift)


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
    assert report.reason.startswith("Promoted. Order: the odds that 40 answers follow an order are 148 to 1")
    assert "Squared error on 10 unseen ratings: 3.00 lower (allowed: 0.05 higher;" in report.reason
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


def test_with_few_unseen_ratings_the_order_of_all_feedback_decides() -> None:
    few = errs(4, active=1.0, candidate=2.0)
    report = judge(few, CONFIG)
    assert report.promote
    assert "Squared error: not tested, only 4 unseen ratings (5 needed)." in report.reason
    assert not judge(replace(few, verdict=replace(ORDERED, score=1.0)), CONFIG).promote


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
    report = judge(made(rows, none, 0, np.empty((0, 2))), CONFIG)
    assert "Squared error on 7 unseen ratings: 3.00 lower" in report.reason


def test_training_ratings_count_where_there_is_a_leave_one_out_prediction() -> None:
    held_out = errs(2, active=1.0, candidate=1.0)
    target = rising(9)
    candidate = target + 2.0
    candidate[4] = np.nan
    both = replace(held_out, new=unseen(target, target + 1.0, candidate))
    assert np.array_equal(both.gains(), [0.0] * 2 + [-3.0] * 8)
    assert not judge(both, CONFIG).promote
    assert "only 2 unseen ratings (5 needed)" in judge(held_out, CONFIG).reason


@pytest.mark.parametrize(
    ("score", "is_live", "promote"), [(1.0, False, False), (1.2, False, True), (0.01, True, True), (-0.01, True, False)]
)
def test_first_version_needs_three_to_one_and_a_later_one_even_odds(score: float, is_live: bool, promote: bool) -> None:
    better = replace(errs(10, active=2.0, candidate=1.0), verdict=replace(ORDERED, score=score), is_live=is_live)
    report = judge(better, CONFIG)
    assert report.promote is promote
    assert check(report, "order").passed is promote
    assert f"needed: {1 if is_live else 3} to 1" in check(report, "order").detail


def test_ratings_that_are_all_alike_are_called_so() -> None:
    alike = replace(ORDERED, score=-4.0, num_alike=40)
    report = judge(replace(errs(10, active=2.0, candidate=1.0), verdict=alike), CONFIG)
    assert report.reason.startswith(
        "Refused. Order: all 40 answers are alike, so they show no order: answers that differ are needed "
        "(odds: 0.018 to 1, needed: 3 to 1)."
    )


def test_candidate_that_orders_worse_than_the_generic_scores_is_refused_though_the_active_does_too() -> None:
    target = rising(12)
    both_wrong = replace(
        made(unseen(target, 8.0 - target, 8.0 - target, generic=target), NONE, 0, target[:, None]),
        is_live=True,
    )
    report = judge(both_wrong, CONFIG)
    assert check(report, "negative_flips").passed
    assert not check(report, "generic").passed
    assert report.reason.startswith("Refused. Pairs in the wrong order, against generic scores: 100.0 percent")
    assert "generic" not in {each.name for each in judge(replace(both_wrong, is_live=False), CONFIG).checks}


def pairs(active: float, candidate: float, count: int = 10) -> UnseenComparisons:
    """Comparisons that all prefer the first image, with the same differences of scores."""
    columns = (np.full((count, 1), value) for value in (1.0, active, active, candidate))
    return UnseenComparisons(*columns, np.ones(1))


def test_held_out_comparisons_judge_by_their_log_loss() -> None:
    worse, better = pairs(active=2.0, candidate=-2.0), pairs(active=-2.0, candidate=2.0)
    differences, preference, noise_sd = np.array([[2.0], [-2.0]]), np.ones((2, 1)), np.ones(1)
    right, wrong = log_likelihood(differences, preference, noise_sd)[:, 0]
    np.testing.assert_allclose(better.gains(), right - wrong)
    assert (worse.right_share(worse.candidate_CA), worse.right_share(worse.generic_CA)) == (0.0, 1.0)
    nothing = errs(0, active=1.0, candidate=1.0)
    refused = judge(replace(nothing, compared=worse), CONFIG)
    assert not refused.promote
    assert refused.reason.startswith("Refused. Log loss on 10 unseen comparisons: ")
    assert "0 % in the right order (generic scores: 100 %)" in refused.reason
    assert judge(replace(nothing, compared=better), CONFIG).promote
    few = judge(replace(nothing, compared=pairs(2.0, -2.0, count=4)), CONFIG)
    assert few.promote
    assert check(few, "comparisons").value is None


def test_comparisons_without_an_answer_do_not_count() -> None:
    answers = replace(pairs(2.0, -2.0), preference_CA=np.array([[np.nan]] * 6 + [[0.5]] * 4))
    assert len(answers.gains()) == 4
    assert answers.right_share(answers.candidate_CA) is None


scores = st.floats(0, 10, width=32)


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float32, (n, 2), elements=scores)] * 3)))
@pytest.mark.slow
def test_every_report_is_json_with_a_reason(columns: tuple[np.ndarray, ...]) -> None:
    target_NA, active_NA, candidate_NA = columns
    rows = UnseenRatings(np.arange(len(target_NA)), target_NA, candidate_NA, active_NA, candidate_NA)
    report = judge(made(rows, rows, 3, candidate_NA), GateConfig())
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["promote"] is report.promote
    assert report.reason.startswith("Promoted. " if report.promote else "Refused. ")
    assert all(check.detail in report.reason for check in report.checks)
    assert report.reason.isprintable(), "one line"
    assert report.promote is all(check.passed for check in report.checks)
