"""A base model whose generic scores come from a network's own heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.frame_heads import FrameHeads
from paaplus.scoring.tensors import pack, unpack
from tests.support.tiny import FEATURE_DIM, TASTE_DIM, tiny_base, tiny_heads

FEATURES_BD = np.random.default_rng(1).normal(size=(40, FEATURE_DIM)).astype(np.float16)


@pytest.fixture(scope="module")
def base() -> BaseScorer:
    return tiny_base(("posture", "appearance")).with_heads(tiny_heads())


def test_generic_score_is_that_of_the_heads_without_a_preference(base: BaseScorer) -> None:
    expected = tiny_heads().score(FEATURES_BD, np.full(5, 0.5))[:, [2, 0]]
    np.testing.assert_allclose(base.generic(base.project(FEATURES_BD)), expected, atol=5e-6)
    assert np.ptp(expected) > 3


def test_taste_space_keeps_its_coordinates_and_gains_small_ones(base: BaseScorer) -> None:
    taste_BR, before_BR = base.project(FEATURES_BD), tiny_base(("posture", "appearance")).project(FEATURES_BD)
    assert base.taste_dim == TASTE_DIM + 2
    np.testing.assert_array_equal(taste_BR[:, :TASTE_DIM], before_BR)
    assert np.abs(taste_BR[:, TASTE_DIM:]).max() <= 0.005


def test_a_row_has_the_same_bits_alone_and_in_any_batch(base: BaseScorer) -> None:
    alone = np.concatenate([base.project(row[None]) for row in FEATURES_BD])
    assert np.array_equal(base.project(FEATURES_BD), alone)
    assert np.array_equal(base.project(FEATURES_BD[7:23]), alone[7:23])


def test_no_images_have_no_scores(base: BaseScorer) -> None:
    """Such as the past of a first training."""
    taste_BR = base.project(FEATURES_BD[:0])
    assert taste_BR.shape == (0, base.taste_dim)
    assert base.generic(taste_BR).shape == (0, 2)


def test_artifact_brings_the_heads_back_and_names_them(base: BaseScorer) -> None:
    again = BaseScorer.from_bytes(base.to_bytes())
    assert np.array_equal(again.project(FEATURES_BD), base.project(FEATURES_BD))
    other = replace(tiny_heads(), last_bias_A=np.ones(3, np.float32))
    digests = {base.digest, again.digest, tiny_base(("posture", "appearance")).with_heads(other).digest}
    assert len(digests) == 2


def test_heads_are_refused_when_they_do_not_fit(base: BaseScorer) -> None:
    with pytest.raises(InvalidInput, match=r"not \['beauty'\]"):
        tiny_base(("beauty",)).with_heads(tiny_heads())
    with pytest.raises(InvalidInput, match="dim 12, heads for 9"):
        tiny_base(("posture",)).with_heads(tiny_heads(9))
    arrays, metadata = unpack(base.to_bytes())
    with pytest.raises(InvalidInput, match="not an artifact"):
        BaseScorer.from_bytes(pack({**arrays, "heads": arrays["heads"][:50]}, metadata))


def test_preference_changes_generic_scores_and_no_other_coordinate_of_taste_space(base: BaseScorer) -> None:
    wish = [0.1, 0.9, 0.4, 0.7, 0.0]
    taste_BR, own_BR = base.project(FEATURES_BD), base.project(FEATURES_BD, wish)
    np.testing.assert_array_equal(own_BR[:, :TASTE_DIM], taste_BR[:, :TASTE_DIM])
    expected = tiny_heads().score(FEATURES_BD, np.array(wish))[:, [2, 0]]
    np.testing.assert_allclose(base.generic(own_BR), expected, atol=5e-6)
    assert np.abs(base.generic(own_BR) - base.generic(taste_BR)).max() > 0.5
    np.testing.assert_array_equal(base.project(FEATURES_BD, [0.5] * 5), taste_BR)
    alone = np.concatenate([base.project(row[None], wish) for row in FEATURES_BD])
    assert np.array_equal(own_BR, alone)


def test_preference_is_refused_by_a_model_without_one(base: BaseScorer) -> None:
    assert (base.preference_dim, tiny_base().preference_dim) == (5, 0)
    with pytest.raises(InvalidInput, match="takes 5 values of a preference, got 4"):
        base.project(FEATURES_BD, [0.5] * 4)
    with pytest.raises(InvalidInput, match="takes 0 values of a preference, got 5"):
        tiny_base().project(FEATURES_BD, [0.5] * 5)


def test_preference_that_changes_no_score_has_no_effect(base: BaseScorer) -> None:
    wish = [0.5, 0.5, 0.9, 0.5, 0.5]
    assert base.effective(wish) == wish
    assert base.effective([0.5] * 5) is None
    assert base.effective(wish[:4]) is None
    assert tiny_base().effective(wish) is None


def test_features_show_which_branches_were_used() -> None:
    heads = tiny_heads()
    features_D = FEATURES_BD[0].copy()
    assert heads.used_branches(features_D) == ("image", "posture", "mesh")
    features_D[8:] = heads.absent_E[4:]
    assert heads.used_branches(features_D) == ("image", "posture")
    features_D[4:8] = heads.absent_E[:4]
    assert FrameHeads.from_bytes(heads.to_bytes()).used_branches(features_D) == ("image",)
    without_branches = replace(heads, branches=(), absent_E=None)
    assert without_branches.used_branches(features_D) is None
    assert FrameHeads.from_bytes(without_branches.to_bytes()).used_branches(features_D) is None


def test_branches_that_do_not_fit_are_refused() -> None:
    heads = tiny_heads()
    with pytest.raises(InvalidInput, match="with branches"):
        replace(heads, branches=(("image", 4), ("posture", 4)))
    with pytest.raises(InvalidInput, match="absent_E"):
        replace(heads, absent_E=None)
    with pytest.raises(InvalidInput, match="absent_E"):
        replace(heads, absent_E=heads.absent_E.astype(np.float32))
    arrays, metadata = unpack(heads.to_bytes())
    for wrong in ("image", [["image"]], [["image", "4"]], [[1, 4], ["posture", 8]]):
        with pytest.raises(InvalidInput, match="with branches"):
            FrameHeads.from_bytes(pack(arrays, metadata | {"branches": wrong}))
