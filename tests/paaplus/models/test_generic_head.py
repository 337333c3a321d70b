from __future__ import annotations

import numpy as np
import pytest

from paaplus.models import generic_head
from paaplus.models.generic_head import HeadChoice, assign_folds, choose_head, crowd_means, fit_head, ridge_regression
from paaplus.models.taste_space import fit_taste_spaces


def test_ridge_is_the_least_penalised_squared_error():
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(20, 4)) + 1, rng.normal(size=20), rng.uniform(0.5, 2, 20)
    weight_RL, bias_L = ridge_regression(x, y, weight, np.array([0.0, 3.0]))
    design = np.column_stack([x, np.ones(20)])
    for column, ridge in enumerate((0.0, 3.0)):  # the intercept is not penalised
        penalty = np.diag([ridge] * 4 + [0.0])
        expected = np.linalg.solve(design.T @ (weight[:, None] * design) + penalty, design.T @ (weight * y))
        np.testing.assert_allclose([*weight_RL[:, column], bias_L[column]], expected)


def test_mean_rating_without_offsets_equals_the_one_computed_by_hand():
    # Two people, two images: the second rates everything 2 higher; image 1 is 4 above image 0.
    person, image = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    crowd = crowd_means(person, image, np.array([[2.0], [6.0], [4.0], [8.0]]), num_images=3)
    # Habits: total deviation from the mean 5 over (2 ratings + 2), -2 / 4 and +2 / 4. They leave +-0.5 behind.
    np.testing.assert_allclose(crowd.mean_IA[:, 0], [3.0, 7.0, np.nan])
    assert crowd.num_ratings_IA[:, 0].tolist() == [2, 2, 0]
    assert crowd.disagreement_A[0] == pytest.approx(4 * 0.5**2 / (4 - 2))
    np.testing.assert_allclose(crowd.weight_I(0), [1.0, 1.0, 0.0])


def test_crowd_mean_is_fair_when_a_harsh_person_rated_other_images():
    rng = np.random.default_rng(0)
    truth, offset = rng.normal(5, 1.5, 60), rng.normal(0, 2, 40)
    person, image = np.nonzero(rng.random((40, 60)) < 0.3)
    score = truth[image] + offset[person] + rng.normal(0, 0.3, len(person))
    crowd = crowd_means(person, image, score[:, None], 60)
    raw = np.array([score[image == i].mean() for i in range(60)])
    assert np.std(crowd.mean_IA[:, 0] - truth) < 0.6 * np.std(raw - truth)


def test_images_with_more_ratings_weigh_more_but_not_without_end():
    person, image = np.arange(1000), np.repeat([0, 1, 2], [1, 9, 990])
    weight = crowd_means(person, image, np.ones((1000, 1)), 3).weight_I(0)
    assert weight[1] / weight[0] == pytest.approx((9 / 12) / (1 / 4))
    assert weight[2] / weight[1] == pytest.approx(990 / 993 / (9 / 12))


def test_folds_keep_scenes_together_and_are_of_like_size():
    group = np.random.default_rng(0).integers(0, 24, 300)
    fold = assign_folds(group)
    assert all(len(np.unique(fold[group == g])) == 1 for g in range(24))
    sizes = np.bincount(fold)
    assert len(sizes) == 5
    assert sizes.max() - sizes.min() <= np.bincount(group).max()


def test_folds_are_as_many_as_scenes_when_there_are_few():
    fold = assign_folds(np.array([7, 7, 9]))
    assert fold[0] == fold[1] != fold[2]
    assert set(fold) == {0, 1}


def test_some_images_are_never_held_out_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr(generic_head, "MAX_CV_IMAGES", 30)
    assert (assign_folds(np.arange(100)) >= 0).sum() == 30


def everybody_agrees(truth):
    """A crowd of two whose mean is the truth."""
    person, image = (index.ravel() for index in np.indices((2, len(truth))))
    return crowd_means(person, image, np.tile(truth, 2)[:, None], len(truth))


@pytest.mark.slow
def test_linear_head_is_chosen_when_the_crowd_is_linear_and_a_kernel_when_it_is_not():
    features = np.random.default_rng(0).normal(size=(300, 4))
    fold = assign_folds(np.arange(300))
    linear = choose_head(features, everybody_agrees(5 + features[:, 0]), fold, 256)
    bent = choose_head(features, everybody_agrees(5 + np.abs(features[:, 0])), fold, 256)
    assert linear.width is None
    assert linear.error_variance_A[0] < 0.01
    assert bent.width is not None
    assert bent.error_variance_A[0] < 0.2  # of a variance of 0.36


def test_held_out_scores_come_from_a_head_that_never_saw_the_scene():
    rng = np.random.default_rng(0)
    features, group = rng.normal(size=(60, 5)), np.repeat(np.arange(12), 5)
    truth = 5 + features[:, 0] + rng.normal(0, 0.5, 60)
    crowd, fold = everybody_agrees(truth), assign_folds(group)
    choice = choose_head(features, crowd, fold, 256)
    for number in range(5):
        out = fold == number
        (space,) = fit_taste_spaces(features[~out], (choice.width,), 256)
        x = np.column_stack([space.project(features), np.ones(60)])
        # Every image has as many ratings as any other, so all weigh 1.
        penalty = np.diag([choice.ridge_A[0]] * (x.shape[1] - 1) + [0.0])
        solution = np.linalg.solve(x[~out].T @ x[~out] + penalty, x[~out].T @ crowd.mean_IA[~out, 0])
        np.testing.assert_allclose(choice.held_out_IA[out, 0], x[out] @ solution, atol=1e-6)
    assert choice.error_variance_A[0] == pytest.approx(np.mean((choice.held_out_IA[:, 0] - crowd.mean_IA[:, 0]) ** 2))


def test_head_on_all_images_skips_those_that_nobody_rated():
    rng = np.random.default_rng(0)
    taste = rng.normal(size=(30, 3))
    person, image = (index.ravel() for index in np.indices((2, 20)))
    score = 5 + taste[image, :1]
    crowd = crowd_means(person, image, score, 30)
    weight_RA, bias_A = fit_head(taste, crowd, np.array([1e-9]))
    np.testing.assert_allclose(weight_RA[:, 0], [1, 0, 0], atol=1e-6)
    assert bias_A[0] == pytest.approx(5, abs=1e-6)


def test_others_opinion_leaves_the_own_rating_out_and_leans_on_the_head_when_they_are_few():
    person, image = np.array([0, 1, 2, 0]), np.array([0, 0, 0, 1])
    score = np.array([[4.0], [5.0], [9.0], [7.0]])
    crowd = crowd_means(person, image, score, 2)
    choice = HeadChoice(None, np.ones(1), held_out_IA=np.array([[5.0], [6.0]]), error_variance_A=np.array([2.0]))
    found = choice.others_N(crowd, person, image, score[:, 0], 0)
    trust = 2 / (2 + crowd.disagreement_A[0] / 2.0)
    without_first = (5.0 + 9.0 - crowd.offset_UA[1, 0] - crowd.offset_UA[2, 0]) / 2
    assert found[0] == pytest.approx(5.0 + trust * (without_first - 5.0))
    assert found[3] == pytest.approx(6.0)  # nobody else: the held-out score
