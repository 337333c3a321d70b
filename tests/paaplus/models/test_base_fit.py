from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from paaplus.errors import InvalidInput
from paaplus.metrics import srcc
from paaplus.models import base_fit
from paaplus.models.base_fit import Ratings, SmallDataWarning, fit_base_scorer
from paaplus.scoring.base_scorer import BaseScorer
from tests.support.taste_data import simulate

DIGEST = "e" * 64


@pytest.mark.slow
def test_generic_scores_are_the_crowds_when_images_are_new():
    known = simulate(num_images=160)
    scorer, metrics = fit_base_scorer("m", DIGEST, known.features_ID[:100], first_images(known.ratings, 100))
    generic = scorer.generic(scorer.project(known.features_ID[100:]))[:, 0]
    assert srcc(generic, known.crowd_I[100:]) > 0.95
    assert np.sqrt(np.mean((generic - known.crowd_I[100:]) ** 2)) < 0.4
    assert metrics["num_people"] == 30
    assert metrics["num_images"] == 100
    assert metrics["num_ratings"] == 30 * 100
    assert metrics["cv_srcc"] > 0.4


def first_images(ratings: Ratings, count: int) -> Ratings:
    kept = ratings.image_N < count
    return Ratings(ratings.aspects, ratings.person_N[kept], ratings.image_N[kept], ratings.score_NA[kept])


@pytest.mark.slow
def test_taste_space_is_scaled_and_led_by_what_people_differ_in():
    known = simulate()
    scorer, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    taste = scorer.project(known.features_ID).astype(np.float64)
    assert np.mean(np.sum(taste**2, axis=1)) == pytest.approx(1, abs=1e-3)
    assert abs(np.corrcoef(taste[:, 0], known.features_ID[:, 1].astype(np.float64))[0, 1]) > 0.95
    assert np.all(np.diff(np.sum(taste**2, axis=0)) < 0.05)


@pytest.mark.slow
def test_priors_are_near_the_truth():
    known = simulate(num_people=60)
    scorer, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    assert scorer.prior_sd_A[0] == pytest.approx(3 * 0.35, rel=0.3)  # x is of unit variance
    assert scorer.offset_sd_A[0] == pytest.approx(0.8, rel=0.35)
    assert scorer.noise_sd_A[0] == pytest.approx(0.7, rel=0.25)
    assert scorer.slope_sd_A[0] < 0.2


@pytest.mark.slow
def test_artifact_is_the_same_when_fitted_again_and_survives_bytes():
    known = simulate(num_people=24, num_images=100)
    first, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    second, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    assert first.digest == second.digest == BaseScorer.from_bytes(first.to_bytes()).digest
    assert first.extractor_digest == DIGEST
    assert all(getattr(first, name).dtype == np.float32 for name in ("map_QR", "head_weight_RA", "prior_sd_A"))


@pytest.mark.slow
def test_artifact_does_not_depend_on_the_number_of_threads():
    known = simulate(num_people=24, num_images=100, feature_dim=300)
    digests = set()
    for num_threads in (1, 2):
        with threadpool_limits(num_threads):
            digests.add(fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)[0].digest)
    assert len(digests) == 1


@pytest.mark.slow
def test_each_aspect_has_its_own_head_and_priors_when_some_ratings_are_missing():
    known = simulate(aspects=("shape", "light"))
    score = known.ratings.score_NA.copy()
    score[:, 1] = 10 - score[:, 1] / 2  # the opposite, half as strong
    score[known.ratings.image_N % 3 == 0, 1] = np.nan
    ratings = Ratings(known.ratings.aspects, known.ratings.person_N, known.ratings.image_N, score)
    scorer, metrics = fit_base_scorer("m", DIGEST, known.features_ID, ratings)
    generic = scorer.generic(scorer.project(known.features_ID))
    assert scorer.aspects == ("shape", "light")
    assert srcc(generic[:, 0], known.crowd_I) > 0.95
    assert srcc(generic[:, 1], known.crowd_I) < -0.95
    assert scorer.prior_sd_A[1] == pytest.approx(scorer.prior_sd_A[0] / 2, rel=0.25)
    assert metrics["num_ratings"] == 30 * 120 + 30 * 80


def test_adapters_stay_small_when_there_are_many_aspects(monkeypatch):
    known = simulate(num_people=8, num_images=100, aspects=("a", "b", "c"))
    monkeypatch.setattr(base_fit, "MAX_NUMBERS", 24)
    scorer, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    assert scorer.taste_dim == 24 // 3 - 2


@pytest.mark.slow
def test_scenes_are_held_out_together():
    """Images of a scene are alike; its quality is not in the features: only a split that cuts scenes sees it."""
    rng = np.random.default_rng(0)
    scene = np.repeat(np.arange(24), 8)
    features = (rng.normal(size=(24, 12))[scene] + 0.05 * rng.normal(size=(192, 12))).astype(np.float16)
    quality = rng.normal(5, 1.5, 24)[scene]
    person, image = (index.ravel() for index in np.indices((12, 192)))
    ratings = Ratings(
        ("beauty",), person, image, np.clip(quality[image] + rng.normal(0, 0.5, 12 * 192), 0, 10)[:, None]
    )
    _, fair = fit_base_scorer("m", DIGEST, features, ratings, group_I=scene)
    _, flattering = fit_base_scorer("m", DIGEST, features, ratings)
    assert flattering["cv_srcc"] > 0.8
    assert fair["cv_srcc"] < 0.45


def test_it_fits_with_a_warning_when_there_is_little():
    known = simulate(num_people=3, num_images=20)
    with pytest.warns(SmallDataWarning, match="3 people and 20 images of 20 scenes"):
        scorer, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    assert np.isfinite(scorer.project(known.features_ID)).all()
    assert srcc(scorer.generic(scorer.project(known.features_ID))[:, 0], known.crowd_I) > 0.7


@pytest.mark.parametrize("num_people", [1, 2])
def test_it_fits_when_four_images_are_all_there_is(num_people):
    known = simulate(num_people=num_people, num_images=4)
    with pytest.warns(SmallDataWarning):
        scorer, _ = fit_base_scorer("m", DIGEST, known.features_ID, known.ratings)
    assert np.isfinite(scorer.generic(scorer.project(known.features_ID))).all()


def test_it_fits_when_everybody_gives_everything_the_same():
    known = simulate(num_people=10, num_images=100)
    same = Ratings(
        ("beauty",), known.ratings.person_N, known.ratings.image_N, np.full_like(known.ratings.score_NA, 7.0)
    )
    scorer, metrics = fit_base_scorer("m", DIGEST, known.features_ID, same)
    np.testing.assert_allclose(scorer.generic(scorer.project(known.features_ID)), 7.0, atol=1e-3)
    assert metrics["cv_srcc"] is None
    assert metrics["cv_num_dropped"] == 10


def test_images_without_ratings_are_welcome():
    known = simulate(num_people=10)
    scorer, metrics = fit_base_scorer("m", DIGEST, known.features_ID, first_images(known.ratings, 100))
    assert metrics["num_images"] == 100
    assert np.isfinite(scorer.project(known.features_ID)).all()


def test_bad_input_is_refused():
    known = simulate(num_people=8, num_images=110)
    features, ratings = known.features_ID, known.ratings
    broken = features.copy()
    broken[3, 2] = np.nan
    with pytest.raises(InvalidInput, match="every value finite"):
        fit_base_scorer("m", DIGEST, broken, ratings)
    with pytest.raises(InvalidInput, match="ratings of image 109, features of 50 images"):
        fit_base_scorer("m", DIGEST, features[:50], ratings)
    with pytest.raises(InvalidInput, match="3 rated images"):
        fit_base_scorer("m", DIGEST, features, first_images(ratings, 3))
    with pytest.raises(InvalidInput, match="2 groups for 110 images"):
        fit_base_scorer("m", DIGEST, features, ratings, group_I=np.array([0, 1]))
    with pytest.raises(InvalidInput, match="one scene"):
        fit_base_scorer("m", DIGEST, features, ratings, group_I=np.zeros(110))
    with pytest.raises(InvalidInput, match="images have the same features"):
        fit_base_scorer("m", DIGEST, np.ones_like(features), ratings)
    with pytest.raises(InvalidInput, match="no rating of aspect 'light'"):
        Ratings(("shape", "light"), np.array([0]), np.array([0]), np.array([[1.0, np.nan]]))
    with pytest.raises(InvalidInput, match="infinite"):
        Ratings(("beauty",), np.array([0]), np.array([0]), np.array([[np.inf]]))
    with pytest.raises(InvalidInput, match=r"\(1, 2\)"):
        Ratings(("beauty",), np.array([0]), np.array([0]), np.array([[1.0, 2.0]]))
