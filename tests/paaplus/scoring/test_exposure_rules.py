"""Exposure rules: no preset rewards a worse share, landscape is the strictest, and a hidden preset is found again."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.scoring.exposure_rules import (
    MIN_RATINGS,
    PRESETS,
    THRESHOLD,
    Shares,
    fit_own_rule,
    middle_ellipse,
    shares,
)

share = st.floats(0, 1)
NAMES = ("under", "over", "subject_under", "subject_over", "background_under", "background_over")


@hypothesis.given(st.tuples(*[share] * 6), st.sampled_from(NAMES), share)
def test_no_score_rises_with_a_share(values: tuple[float, ...], name: str, more: float) -> None:
    one = Shares(**dict(zip(NAMES, values, strict=True)))
    worse = Shares(**{**one.__dict__, name: min(1.0, getattr(one, name) + more)})
    for preset, rule in PRESETS.items():
        assert 0 <= rule(worse) <= rule(one) <= 10, preset


@hypothesis.given(share, share)
def test_landscape_is_the_strictest_without_a_subject(under: float, over: float) -> None:
    total = max(under + over, 1.0)
    without = Shares(under / total, over / total, 0.0, 0.0, under / total, over / total)
    strict = PRESETS["landscape"](without)
    for preset, rule in PRESETS.items():
        assert strict <= rule(without) + 1e-9, preset


def test_stated_points_of_the_source_are_met() -> None:
    def of(**some: float) -> Shares:
        return Shares(**{**dict.fromkeys(NAMES, 0.0), **some})

    landscape, night, portrait = PRESETS["landscape"], PRESETS["night"], PRESETS["portrait"]
    for total, score in ((0.02, 10), (0.05, 8), (0.1, 6), (0.2, 4), (0.3, 2), (0.4, 1), (1.0, 0)):
        assert landscape(of(under=total / 2, over=total / 2)) == pytest.approx(score)
    assert night(of(under=0.4)) == pytest.approx(10)
    for over, score in ((0.05, 10), (0.1, 8), (0.15, 6), (0.2, 4)):
        assert night(of(over=over)) == pytest.approx(score)
    assert night(of(over=1.0)) == pytest.approx(0)
    for subject, score in ((0.1, 6), (0.2, 4), (0.3, 2), (1.0, 0)):
        assert portrait(of(subject_under=subject)) == pytest.approx(score)
    assert portrait(of(under=0.3)) == pytest.approx(8)
    assert PRESETS["street"](of(under=0.3, background_under=0.3)) == pytest.approx(10)
    assert PRESETS["street"](of(background_over=0.2)) == pytest.approx(4)
    assert PRESETS["product"](of(over=0.4, background_over=0.4)) == pytest.approx(10)
    assert PRESETS["product"](of(subject_under=0.05)) == pytest.approx(8)


def test_shares_are_counted_in_the_ellipse_and_outside() -> None:
    map_HW = np.zeros((64, 96), np.float32)
    inside_HW = middle_ellipse(64, 96)
    assert inside_HW.mean() == pytest.approx(np.pi / 16, abs=0.01)  # half as wide and half as high
    map_HW[inside_HW] = THRESHOLD + 0.1
    told = shares(map_HW)
    assert (told.subject_under, told.background_under, told.over) == (1.0, 0.0, 0.0)
    assert told.under == pytest.approx(inside_HW.mean())
    nothing = shares(map_HW, np.zeros((64, 96), bool))
    assert (nothing.subject_under, nothing.background_under) == (0.0, pytest.approx(inside_HW.mean()))
    with pytest.raises(InvalidInput, match="a mask of"):
        shares(map_HW, np.zeros((64, 95), bool))


def some_scores(num: int, seed: int) -> dict[str, np.ndarray]:
    """What the presets say of images with too dark and too bright places, some of them in the subject."""
    rng = np.random.default_rng(seed)
    ellipse = np.pi / 16
    told = []
    for _ in range(num):
        under, over = rng.uniform(0, 0.7), rng.uniform(0, 0.4)
        subject_under, subject_over = rng.choice([0.0, under]), rng.choice([0.0, over])
        rest = 1.0 - ellipse
        background = ((under - ellipse * subject_under) / rest, (over - ellipse * subject_over) / rest)
        told.append(Shares(under, over, subject_under, subject_over, *(min(max(b, 0.0), 1.0) for b in background)))
    return {preset: np.array([rule(one) for one in told]) for preset, rule in PRESETS.items()}


@pytest.mark.parametrize("hidden", PRESETS)
def test_hidden_preset_is_found_from_eight_ratings(hidden: str) -> None:
    found = 0
    for seed in range(10):
        by_preset = some_scores(8, seed)
        noise_N = np.random.default_rng(100 + seed).normal(scale=0.4, size=8)
        rule = fit_own_rule(by_preset, np.clip(by_preset[hidden] + noise_N, 0, 10))
        found += rule.preset == hidden
    assert found >= 9


def test_taking_a_rating_back_gives_the_earlier_rule_exactly() -> None:
    by_preset = some_scores(9, 3)
    rating_N = np.clip(by_preset["night"] - 1.0, 0, 10)
    eight = {preset: one_N[:8] for preset, one_N in by_preset.items()}
    before = fit_own_rule(eight, rating_N[:8])
    fit_own_rule(by_preset, np.r_[rating_N[:8], 0.0])  # a ninth came, and went
    after = fit_own_rule(eight, rating_N[:8])
    assert (before.preset, before.errors) == (after.preset, after.errors)
    assert before.calibration.to_json() == after.calibration.to_json()


def test_too_few_ratings_and_arrays_that_do_not_fit_are_refused() -> None:
    by_preset = some_scores(MIN_RATINGS, 0)
    with pytest.raises(InvalidInput, match="needs 5"):
        fit_own_rule({preset: one_N[:4] for preset, one_N in by_preset.items()}, np.ones(4))
    with pytest.raises(InvalidInput, match="scores of presets"):
        fit_own_rule(by_preset, np.ones(MIN_RATINGS + 1))
    with pytest.raises(InvalidInput, match="scores of presets"):
        fit_own_rule({"night": np.ones(5)}, np.ones(5))
