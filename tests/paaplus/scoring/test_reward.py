"""The reward head: it corrects labels as experts do, and is used only if it lowers the error."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.records import NO_COMPARISONS, RatedSet
from paaplus.scoring.calibration import IDENTITY
from paaplus.scoring.closed_form import fit
from paaplus.scoring.priors import OwnPrior, design
from paaplus.scoring.revision import Revision
from paaplus.scoring.reward import (
    STEP,
    Reviewed,
    RewardHead,
    fit_reward_head,
    fit_weights,
    probability_corrected,
)
from tests.support.learning import base_of, person

BASE = base_of(1)


def reviewed(num: int, strength: float = 1.0, seed: int = 0, tolerance: float = 0.0) -> Reviewed:
    """Reviews by one simulated expert, who accepts a label that is within the tolerance."""
    rng = np.random.default_rng([seed, 3])
    taste_NR = rng.normal(size=(num, BASE.taste_dim)).astype(np.float32) / np.sqrt(BASE.taste_dim)
    generic_N = rng.uniform(4, 6, num)
    expert_N = generic_N + strength * (taste_NR @ person(BASE, 0))[:, 0] + 0.3 * rng.normal(size=num)
    expert_N = np.clip(expert_N, 0, 10)
    expert_N = np.where(np.abs(expert_N - generic_N) <= tolerance, generic_N, expert_N)
    return Reviewed(taste_NR, generic_N, generic_N, generic_N, expert_N)


def test_weights_maximize_the_log_posterior():
    """Against a general optimizer, on the likelihood in the module's docstring."""
    from scipy.optimize import minimize

    some = reviewed(25, tolerance=0.3)
    prior, noise_sd = OwnPrior(BASE), float(BASE.noise_sd_A[0])
    design_NP = design(some.taste_NR, some.generic_N)

    def minus_log_posterior(coordinate_K: np.ndarray) -> float:
        target_N = some.label_N + design_NP @ prior.weights(coordinate_K, 0)
        value = 0.5 * coordinate_K @ coordinate_K
        for target, rating, shown in zip(target_N, some.expert_N, some.shown_N, strict=True):
            others = [o for o in (rating - STEP * noise_sd, rating + STEP * noise_sd) if 0 <= o <= 10]
            for other in [*others, *([shown] if shown != rating else [])]:
                rewards = [-((y - target) ** 2) / (2 * noise_sd**2) for y in (rating, other)]
                value += np.logaddexp(0, rewards[1] - rewards[0])
        return float(value)

    best = minimize(minus_log_posterior, np.zeros(prior.num_coordinates), method="BFGS", options={"gtol": 1e-8})
    assert np.allclose(prior.weights(best.x, 0), fit_weights(BASE, 0, some), atol=1e-4)


def test_preferences_of_many_reviews_weigh_about_what_ratings_do():
    some = reviewed(80)
    rated = RatedSet.of(np.arange(1, 81), some.taste_NR, some.generic_N[:, None], some.expert_N[:, None])
    closed = fit(BASE, OwnPrior(BASE), rated, NO_COMPARISONS).adapter
    new = reviewed(200, seed=9)
    move_N = design(new.taste_NR, new.generic_N) @ fit_weights(BASE, 0, some)
    closed_N = closed.score(new.taste_NR, new.generic_N[:, None].astype(np.float32))[:, 0] - new.generic_N
    assert np.corrcoef(move_N, closed_N)[0, 1] > 0.98


def test_head_is_used_only_if_it_lowers_the_error_on_left_out_reviews():
    taught, noise = reviewed(60), reviewed(60, strength=0.0)
    rng = np.random.default_rng(0)
    noise = Reviewed(
        noise.taste_NR, noise.generic_N, noise.label_N, noise.shown_N, np.clip(5 + 2 * rng.normal(size=60), 0, 10)
    )
    head, [report] = fit_reward_head(BASE, [taught], [np.arange(60)])
    assert head is not None
    assert report["used"]
    assert report["mae_target"] < 0.7 * report["mae_label"]
    head, [report] = fit_reward_head(BASE, [noise], [np.arange(60)])
    assert (head, report["used"]) == (None, False)
    assert fit_reward_head(BASE, [taught.select(np.arange(9))], [np.arange(9)]) == (None, [None])
    assert fit_reward_head(BASE, [None], [None]) == (None, [None])


def test_reviews_of_one_image_are_left_out_together():
    """Two experts with equal labels of pure noise: a head that was trained on one would predict the other."""
    rng = np.random.default_rng(0)
    taste_NR = np.repeat(rng.normal(size=(30, BASE.taste_dim)).astype(np.float32), 2, axis=0)
    expert_N = np.repeat(np.clip(5 + 2 * rng.normal(size=30), 0, 10), 2)
    five_N = np.full(60, 5.0)
    some = Reviewed(taste_NR, five_N, five_N, five_N, expert_N)
    head, [report] = fit_reward_head(BASE, [some], [np.repeat(np.arange(30), 2)])
    assert report["mae_target"] > 0.9 * report["mae_label"]
    assert head is None or report["mae_target"] < report["mae_label"] * 1.05


def test_probability_of_a_correction_rises_with_distance_and_uncertainty():
    assert probability_corrected(0.0, 1.0) == pytest.approx(1 - 0.6827, abs=1e-4)
    assert probability_corrected(3.0, 1.0) > probability_corrected(2.0, 1.0) > probability_corrected(-1.0, 1.0)
    assert probability_corrected(1.5, 1.0) == pytest.approx(probability_corrected(-1.5, 1.0))
    assert (probability_corrected(0.5, 0.0), probability_corrected(1.5, 0.0)) == (0.0, 1.0)


def test_revision_round_trips_and_other_bytes_are_refused():
    head, _ = fit_reward_head(BASE, [reviewed(40)], [np.arange(40)])
    revision = Revision({"aspect0": IDENTITY}, head, BASE.aspects)
    again = Revision.from_bytes(revision.to_bytes())
    assert again.digest == revision.digest
    taste_R, generic_A = np.ones(BASE.taste_dim, np.float32), np.array([5.0], np.float32)
    assert again.moved("aspect0", 5.0, taste_R, generic_A) == revision.moved("aspect0", 5.0, taste_R, generic_A) != 5.0
    assert again.moved("other", 5.0, taste_R, generic_A) == 5.0
    assert again.calibrated("other", 3.0) == 3.0
    plain = Revision.from_bytes(Revision({"a": IDENTITY}).to_bytes())
    assert plain.head is None
    for bad in (b"", b"nonsense", BASE.to_bytes()):
        with pytest.raises(InvalidInput):
            Revision.from_bytes(bad)
    poisoned = RewardHead(BASE.digest, np.full((BASE.taste_dim + 2, 1), np.nan, np.float32))
    with pytest.raises(InvalidInput, match="not finite"):
        Revision.from_bytes(Revision({}, poisoned, BASE.aspects).to_bytes())
