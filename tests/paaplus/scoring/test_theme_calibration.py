"""Theme calibration: the closed form by hand, any order the same bits, undone exactly."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import InvalidInput
from paaplus.scoring.theme_calibration import K_CHOICES, ThemeCalibrator, fit_theme_calibrator

RATINGS = st.lists(
    st.tuples(
        st.sampled_from(["sea", "dogs", "streets", None]), st.floats(0, 10, width=32), st.floats(0, 10, width=32)
    ),
    max_size=20,
)


def test_closed_form_by_hand() -> None:
    calibrator = fit_theme_calibrator(["sea", "sea", "dogs"], np.array([5.0, 5.0, 5.0]), np.array([7.0, 8.0, 4.0]), 8.0)
    assert calibrator.offset("sea") == pytest.approx(2 / (2 + 8) * 2.5)
    assert calibrator.offset("dogs") == pytest.approx(1 / 9 * -1.0)
    assert calibrator.offset("unknown") == calibrator.offset(None) == 0.0
    np.testing.assert_allclose(calibrator.apply(np.array([5.0, 9.9, 3.0]), ["sea", "sea", None]), [5.5, 10.0, 3.0])


@given(RATINGS, st.randoms())
def test_the_order_does_not_matter_and_a_rating_is_undone_exactly(ratings, random) -> None:  # type: ignore[no-untyped-def]
    calibrator, shuffled = ThemeCalibrator(), list(ratings)
    for one in ratings:
        calibrator = calibrator.with_rating(*one)
    random.shuffle(shuffled)
    again = ThemeCalibrator()
    for one in shuffled:
        again = again.with_rating(*one)
    assert again == calibrator
    themes, scores, given_ = zip(*ratings, strict=True) if ratings else ((), (), ())
    assert fit_theme_calibrator(list(themes), np.array(scores), np.array(given_)) == calibrator
    if ratings:
        removed = random.choice(ratings)
        rest = list(ratings)
        rest.remove(removed)
        without = ThemeCalibrator()
        for one in rest:
            without = without.with_rating(*one)
        assert calibrator.without_rating(*removed) == without


def test_json_keeps_every_bit() -> None:
    calibrator = fit_theme_calibrator(["a", "b", "a"], np.array([0.1, 0.2, 0.3]), np.array([0.7, 9.1, 3.3]))
    assert ThemeCalibrator.from_json(json.loads(json.dumps(calibrator.to_json()))) == calibrator


def test_k_by_leave_one_out_follows_the_signal() -> None:
    rng = np.random.default_rng(0)
    theme_N = np.array(["a", "b"] * 200)
    score_N = np.full(400, 5.0)
    strong = score_N + np.where(theme_N == "a", 2.0, -2.0) + rng.normal(0, 0.5, 400)
    assert fit_theme_calibrator(theme_N, score_N, strong, None).k == min(K_CHOICES)
    nothing = [fit_theme_calibrator(theme_N, score_N, score_N + rng.normal(0, 2, 400), None).k for _ in range(20)]
    assert np.mean(nothing) > 40


@pytest.mark.parametrize("document", [None, {}, {"k": 1}, {"k": 0, "themes": {}}, {"k": 1, "themes": {"a": ["1", 0]}}])
def test_other_json_is_refused(document: object) -> None:
    with pytest.raises(InvalidInput):
        ThemeCalibrator.from_json(document)


def test_bad_numbers_are_refused() -> None:
    with pytest.raises(InvalidInput):
        ThemeCalibrator().with_rating("a", float("nan"), 1.0)
    with pytest.raises(InvalidInput):
        ThemeCalibrator().without_rating("a", 1.0, 1.0)
    with pytest.raises(InvalidInput):
        fit_theme_calibrator(["a"], np.array([1.0, 2.0]), np.array([1.0]))
    with pytest.raises(InvalidInput):
        fit_theme_calibrator(["a"], np.array([np.inf]), np.array([1.0]))
