"""A base model whose generic scores come from a network's own heads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.scoring.base import BaseScorer
from paaplus.scoring.frame_heads import FrameHeads
from paaplus.scoring.tensors import pack, unpack
from tests.tiny import FEATURE_DIM, TASTE_DIM, tiny_base

ASPECTS = ("appearance", "health", "posture")
FEATURES_BD = np.random.default_rng(1).normal(size=(40, FEATURE_DIM)).astype(np.float16)


def heads(feature_dim: int = FEATURE_DIM) -> FrameHeads:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in (
        (3, feature_dim + 5, 8), (3, 8), (3, 8, 6), (3, 6), (3, 6), (3,)
    )]  # fmt: skip
    return FrameHeads(ASPECTS, 5, *arrays)


@pytest.fixture(scope="module")
def base() -> BaseScorer:
    return tiny_base(("posture", "appearance")).with_heads(heads())


def test_generic_score_is_the_heads_for_nobody_in_particular(base: BaseScorer) -> None:
    expected = heads().score(FEATURES_BD, np.full(5, 0.5))[:, [2, 0]]
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


def test_artifact_brings_the_heads_back_and_names_them(base: BaseScorer) -> None:
    again = BaseScorer.from_bytes(base.to_bytes())
    assert np.array_equal(again.project(FEATURES_BD), base.project(FEATURES_BD))
    other = replace(heads(), last_bias_A=np.ones(3, np.float32))
    digests = {base.digest, again.digest, tiny_base(("posture", "appearance")).with_heads(other).digest}
    assert len(digests) == 2


def test_heads_are_refused_when_they_do_not_fit(base: BaseScorer) -> None:
    with pytest.raises(InvalidInput, match=r"not \['beauty'\]"):
        tiny_base(("beauty",)).with_heads(heads())
    with pytest.raises(InvalidInput, match="dim 12, heads for 9"):
        tiny_base(("posture",)).with_heads(heads(9))
    arrays, metadata = unpack(base.to_bytes())
    with pytest.raises(InvalidInput, match="not an artifact"):
        BaseScorer.from_bytes(pack({**arrays, "heads": arrays["heads"][:50]}, metadata))
