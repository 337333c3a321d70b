"""Taste space against textbook PCA and kernel PCA, computed another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist

from paaplus.errors import InvalidInput
from paaplus.models import taste_space
from paaplus.models.extractor import FeatureBlock
from paaplus.models.taste_space import block_scales, fit_taste_spaces


@pytest.fixture
def features():
    return np.random.default_rng(0).normal(size=(40, 10)) * np.linspace(3, 0.5, 10) + 2.0


def centered_gram(gram):
    """Gram matrix of the same points around their mean."""
    return gram - gram.mean(0) - gram.mean(1)[:, None] + gram.mean()


@pytest.mark.parametrize("num_images", [40, 8])  # more and fewer images than features
def test_linear_space_keeps_all_inner_products_when_nothing_is_cut(features, num_images):
    features = features[:num_images]
    (space,) = fit_taste_spaces(features, (None,), 256)
    taste = space.project(features)
    gram = centered_gram(features @ features.T)
    np.testing.assert_allclose(taste @ taste.T, gram / np.mean(np.diag(gram)), atol=1e-9)


def test_linear_space_holds_the_leading_components_when_cut(features):
    (space,) = fit_taste_spaces(features, (None,), 3)
    taste = space.project(features)
    _, singular, right = np.linalg.svd(features - features.mean(0), full_matrices=False)
    expected = (features - features.mean(0)) @ right[:3].T / np.sqrt((singular**2).sum() / len(features))
    np.testing.assert_allclose(np.abs(taste), np.abs(expected), atol=1e-9)


def test_kernel_space_is_linear_in_the_centered_rbf_kernel(features):
    linear, kernel = fit_taste_spaces(features, (None, 0.5), 256)
    taste = kernel.project(features)
    principal = linear.project(features)
    rbf = np.exp(-cdist(principal, principal, "sqeuclidean") / (0.5 * np.median(pdist(principal, "sqeuclidean"))))
    gram = centered_gram(rbf)
    np.testing.assert_allclose(taste @ taste.T, gram / np.mean(np.diag(gram)), atol=1e-6)
    np.testing.assert_allclose(taste.mean(0), 0, atol=1e-9)


def test_unseen_images_meet_the_same_kernel(features):
    seen, unseen = features[:30], features[30:]
    linear, kernel = fit_taste_spaces(seen, (None, 1.0), 256)
    principal, other = linear.project(seen), linear.project(unseen)
    width = np.median(pdist(principal, "sqeuclidean"))
    rbf = np.exp(-cdist(principal, principal, "sqeuclidean") / width)
    cross = np.exp(-cdist(other, principal, "sqeuclidean") / width)
    expected = cross - rbf.mean(0) - cross.mean(1)[:, None] + rbf.mean()
    found = kernel.project(unseen) @ kernel.project(seen).T
    np.testing.assert_allclose(found, expected / np.mean(np.diag(centered_gram(rbf))), atol=1e-6)


def test_anchors_are_a_part_of_the_images_when_there_are_many(features, monkeypatch):
    monkeypatch.setattr(taste_space, "MAX_ANCHORS", 15)
    (space,) = fit_taste_spaces(features, (1.0,), 256)
    assert space.anchors_TP.shape[0] == 15
    principal = (features - space.mean_D) @ space.components_DP
    assert cdist(space.anchors_TP, principal).min(1).max() < 1e-9
    assert space.project(features).shape[1] <= 14


def test_fit_uses_a_part_of_the_images_when_there_are_too_many(features, monkeypatch):
    monkeypatch.setattr(taste_space, "MAX_FITTED_IMAGES", 20)
    (space,) = fit_taste_spaces(features, (None,), 256)
    assert np.abs(space.mean_D - features.mean(0)).max() > 1e-6
    assert space.project(features).shape == (40, 10)


def test_transformed_space_gives_transformed_points(features):
    matrix = np.random.default_rng(1).normal(size=(9, 4))
    (space,) = fit_taste_spaces(features, (1.0,), 9)
    np.testing.assert_allclose(space.transformed(matrix).project(features), space.project(features) @ matrix)


def test_repeated_images_do_no_harm(features):
    for space in fit_taste_spaces(np.repeat(features[:5], 8, axis=0), (None, 0.5), 256):
        assert space.map_QR.shape[1] == 4
        assert np.isfinite(space.project(features)).all()


def test_images_that_are_all_alike_are_refused(features):
    with pytest.raises(InvalidInput, match="3 images"):
        fit_taste_spaces(np.repeat(features[:1], 3, axis=0), (None,), 256)


def test_block_scales_make_every_block_weigh_alike():
    rng = np.random.default_rng(4)
    features = np.concatenate([rng.normal(0, 30, (50, 6)), rng.normal(0, [1, 9, 0.1], (50, 3))], axis=1)
    centered = features - features.mean(0)
    scale = block_scales(centered, (FeatureBlock(6), FeatureBlock(3, standardize=True)))
    scaled = centered * scale
    for part in (scaled[:, :6], scaled[:, 6:]):
        assert np.square(part).sum(1).mean() == pytest.approx(1.0)
    np.testing.assert_allclose(scaled[:, 6:].var(0), 1 / 3)  # each feature of the second block alike
    np.testing.assert_allclose(np.ptp(scale[:6]), 0)  # the first keeps its proportions


def test_block_scales_of_features_that_never_change_are_zero():
    centered = np.zeros((5, 4))
    centered[:, 1] = [-2, -1, 0, 1, 2]
    scale = block_scales(centered, (FeatureBlock(2, standardize=True), FeatureBlock(2)))
    np.testing.assert_allclose(scale, [0, 1 / np.sqrt(2), 0, 0])
    with pytest.raises(InvalidInput, match="features, 4 in all"):
        block_scales(centered, (FeatureBlock(3),))


def test_without_blocks_the_unit_of_the_features_does_not_matter():
    features = np.random.default_rng(5).normal(0, 1, (40, 8))
    (space,) = fit_taste_spaces(features, (1.0,), 16)
    (scaled,) = fit_taste_spaces(features * 50, (1.0,), 16)
    np.testing.assert_allclose(space.project(features), scaled.project(features * 50), atol=1e-8)
