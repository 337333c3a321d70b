"""The gate on numbers worked out by hand, and its posterior against numerical integration."""

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
from paaplus.errors import InvalidInput
from paaplus.gate import Evidence, GateReport, judge, posterior_of_mean

CONFIG = GateConfig(
    min_evidence=5,
    margin=0.05,
    min_probability=0.1,
    forgetting_margin=0.15,
    max_negative_flip_rate=0.02,
    trust_region=1.0,
)


def evidence(
    target: list[float], active: list[float], candidate: list[float], *, boundary: int = 0, shift: float = 0.5
) -> Evidence:
    """Held-out ratings of one aspect, numbered from 1, and a pool whose scores move by `shift`."""
    columns = [np.array(values, float).reshape(-1, 1) for values in (target, active, candidate)]
    pool_PA = np.full((4, 1), 5.0)
    return Evidence(np.arange(1, len(target) + 1), *columns, boundary, pool_PA, pool_PA + shift)


def rising(count: int) -> np.ndarray:
    """Targets that are all different, so that every pair counts."""
    return np.linspace(3.0, 5.0, count)


def errs(count: int, active: float, candidate: float, **more: object) -> Evidence:
    """Both order all pairs right and are off by a constant."""
    target = rising(count)
    return evidence(target, target + active, target + candidate, **more)


def check(report: GateReport, name: str):
    return next(check for check in report.checks if check.name == name)


def test_posterior_is_that_worked_out_by_hand() -> None:
    # eight differences of 1: kappa 9, degrees 10, mean 8/9, spread 2 * 9 + 8/9
    posterior = posterior_of_mean(np.ones(8), prior_sd=3.0)
    assert posterior.mean == pytest.approx(8 / 9)
    assert posterior.degrees == 10
    assert posterior.scale == pytest.approx(np.sqrt((18 + 8 / 9) / 10 / 9))
    expected = stats.t(10, 8 / 9, np.sqrt((18 + 8 / 9) / 90)).sf(-0.05)
    assert posterior.probability_above(-0.05) == pytest.approx(expected)


@pytest.mark.parametrize("difference", [[], [2.0], [1.0, -3.0, 0.5, 4.0, 4.0]])
def test_posterior_is_prior_times_likelihood(difference: list[float]) -> None:
    """On a grid of means and precisions: inverse-gamma variance (1, sd^2), normal mean of one observation's weight."""
    values, prior_sd = np.array(difference), 3.0
    mean_G = np.linspace(-60, 60, 4001)[:, None]
    log_variance_G = np.linspace(-4, 14, 1200)[None]
    variance_G = np.exp(log_variance_G)
    log_density = stats.invgamma(1.0, scale=prior_sd**2).logpdf(variance_G) + log_variance_G
    log_density = log_density + stats.norm(0.0, np.sqrt(variance_G)).logpdf(mean_G)
    for value in values:
        log_density = log_density + stats.norm(mean_G, np.sqrt(variance_G)).logpdf(value)
    density_G = np.exp(log_density - log_density.max()).sum(1)
    expected = density_G[mean_G[:, 0] > -0.05].sum() / density_G.sum()
    assert posterior_of_mean(values, prior_sd).probability_above(-0.05) == pytest.approx(expected, abs=5e-3)


def test_a_clearly_better_candidate_goes_live() -> None:
    report = judge(errs(10, active=2.0, candidate=1.0), CONFIG)  # 4 - 1 on every rating
    assert report.promote
    assert report.reason.startswith("Promoted: on 10 unseen ratings squared error is 3.00 lower")
    expected = stats.t(12, 30 / 11, np.sqrt((18 + 10 / 11 * 9) / 12 / 11)).sf(-0.05)
    assert check(report, "loss").value == pytest.approx(expected)


def test_a_clearly_worse_candidate_is_refused() -> None:
    report = judge(errs(10, active=1.0, candidate=2.0), CONFIG)
    assert not report.promote
    assert report.reason.startswith("Refused: on 10 unseen ratings squared error is 3.00 higher")
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
@pytest.mark.parametrize("place", ["candidate_NA", "pool_candidate_PA"])
def test_scores_that_are_not_numbers_in_range_are_refused(place: str, score: float) -> None:
    sound = errs(10, active=2.0, candidate=1.0)
    broken = getattr(sound, place).copy()
    broken[2] = score
    report = judge(replace(sound, **{place: broken}), CONFIG)
    assert not report.promote
    assert report.reason == "Refused: 1 of 14 scores are not numbers from 0 to 10."


@pytest.mark.parametrize(("shift", "promote", "words"), [(0.5, True, "within"), (4.0, False, "beyond")])
def test_with_too_little_evidence_the_size_of_the_change_decides(shift: float, promote: bool, words: str) -> None:
    # four of the pool move by the shift, four held-out ratings by 1: the candidate is worse on them, which is noise
    report = judge(errs(4, active=1.0, candidate=2.0, shift=shift), CONFIG)
    assert report.promote is promote
    mean = (4 * shift + 4 * 1.0) / 8
    verdict = "Promoted" if promote else "Refused"
    assert report.reason == (
        f"{verdict}: only 4 unseen rating(s) to judge by, 5 needed; "
        f"scores move by {mean:.2f} on average, {words} the trusted 1."
    )
    assert check(report, "trust_region").value == pytest.approx(mean)


def test_with_nothing_at_all_to_measure_the_candidate_is_refused() -> None:
    nothing = Evidence(np.empty(0, int), *(np.empty((0, 1)) for _ in range(3)), 0, np.empty((0, 1)), np.empty((0, 1)))
    report = judge(nothing, CONFIG)
    assert not report.promote
    assert "no image to measure the size of the change on" in report.reason


def test_forgetting_is_refused_though_the_newest_ratings_got_better() -> None:
    target = rising(28)
    earlier = np.arange(28) < 8
    active = target + np.where(earlier, 1.0, 3.0)
    candidate = target + np.where(earlier, 2.0, 1.0)  # 3 worse on 8 earlier ratings, 8 better on 20 new ones
    forgetful = evidence(target, active, candidate, boundary=8)
    report = judge(forgetful, replace(CONFIG, max_negative_flip_rate=1.0))
    assert not report.promote
    assert check(report, "loss").passed
    assert report.reason.startswith("Refused: on 8 of earlier increments it is 3.00 higher")
    assert judge(replace(forgetful, boundary=0), replace(CONFIG, max_negative_flip_rate=1.0)).promote


def test_few_earlier_ratings_say_nothing_about_forgetting() -> None:
    report = judge(errs(10, active=1.0, candidate=1.2, boundary=4), CONFIG)
    assert check(report, "forgetting").passed
    assert check(report, "forgetting").value is None


def test_a_candidate_that_scores_everything_alike_is_refused_though_its_errors_are_smaller() -> None:
    target = np.linspace(4.2, 5.8, 12)
    flat = evidence(target, target + 1.0, np.full(12, 5.0))
    report = judge(flat, CONFIG)
    assert not report.promote
    assert check(report, "loss").passed
    assert "50.0% of pairs net turn wrong" in report.reason  # the active had all pairs right, a tie is half right


def test_flips_are_net_of_pairs_that_turn_right() -> None:
    target = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    active = [1.0, 2.0, 3.0, 4.0, 6.0, 5.0]  # one of 15 pairs wrong
    candidate = [2.0, 1.0, 3.0, 4.0, 5.0, 6.0]  # another one
    report = judge(evidence(target, active, candidate), CONFIG)
    assert "0.0% of pairs net turn right" in report.reason
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
    report = judge(
        Evidence(np.arange(8), target_NA, active_NA, candidate_NA, 0, np.empty((0, 2)), np.empty((0, 2))), CONFIG
    )
    assert report.reason.startswith("Promoted: on 7 unseen ratings squared error is 3.00 lower")


def test_prequential_ratings_count_where_there_is_a_prediction() -> None:
    held_out = errs(2, active=1.0, candidate=1.0)
    target = rising(9).reshape(-1, 1)
    candidate = target + 2.0
    candidate[4] = np.nan
    both = replace(
        held_out,
        prequential_sequence_N=np.arange(9),
        prequential_target_NA=target,
        prequential_active_NA=target + 1.0,
        prequential_candidate_NA=candidate,
    )
    assert np.array_equal(both.gains(), [0.0] * 2 + [-3.0] * 8)
    assert not judge(both, CONFIG).promote
    assert "only 2 unseen" in judge(held_out, CONFIG).reason


def test_evidence_of_unequal_columns_is_refused() -> None:
    sound = errs(6, active=1.0, candidate=1.0)
    with pytest.raises(InvalidInput, match=r"held-out evidence: 5 sequence numbers, .*\(6, 1\)"):
        replace(sound, sequence_N=np.arange(5))
    with pytest.raises(InvalidInput, match=r"pool scores of \(4, 1\) and \(3, 1\)"):
        replace(sound, pool_candidate_PA=np.zeros((3, 1)))
    with pytest.raises(InvalidInput, match="prequential evidence needs 4 columns together, got 1"):
        replace(sound, prequential_sequence_N=np.arange(5))


scores = st.floats(0, 10, width=32)


@given(st.integers(0, 12).flatmap(lambda n: st.tuples(*[hnp.arrays(np.float32, (n, 2), elements=scores)] * 3)))
def test_every_report_is_json_with_a_reason(columns: tuple[np.ndarray, ...]) -> None:
    target_NA, active_NA, candidate_NA = columns
    report = judge(
        Evidence(np.arange(len(target_NA)), target_NA, active_NA, candidate_NA, 3, active_NA, candidate_NA),
        GateConfig(),
    )
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["promote"] is report.promote
    assert report.reason.startswith("Promoted: " if report.promote else "Refused: ")
    assert report.promote is all(check.passed for check in report.checks)
