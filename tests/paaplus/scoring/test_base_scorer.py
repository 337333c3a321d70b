"""The base model against its formula in plain loops, and invalid artifacts."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paaplus.errors import InvalidInput
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.tensors import pack, unpack
from tests.support.tiny import tiny_base


def kernel_base(num_aspects: int = 2, feature_dim: int = 40, num_anchors: int = 37, taste_dim: int = 9) -> BaseScorer:
    rng = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    ones_A = np.ones(num_aspects, np.float32)
    return BaseScorer(
        name="kernel",
        aspects=tuple(f"aspect {a}" for a in range(num_aspects)),
        extractor_digest="e" * 64,
        mean_D=array(feature_dim),
        components_DP=array(feature_dim, 11) / 6,
        anchors_TP=array(num_anchors, 11),
        inverse_width=0.05,
        map_QR=array(num_anchors, taste_dim),
        shift_R=array(taste_dim),
        head_weight_RA=array(taste_dim, num_aspects),
        head_bias_A=array(num_aspects),
        prior_sd_A=ones_A,
        noise_sd_A=ones_A,
        offset_sd_A=ones_A,
        slope_sd_A=ones_A,
    )


BASE = kernel_base()
FEATURES_BD = np.random.default_rng(1).normal(size=(64, 40)).astype(np.float16)
ALONE_BR = np.concatenate([BASE.project(row[None]) for row in FEATURES_BD])
ALONE_BA = np.concatenate([BASE.generic(row[None]) for row in ALONE_BR])


def test_projection_and_score_follow_the_formula():
    feature_D = FEATURES_BD[0].astype(float)
    principal = [sum((feature_D[d] - BASE.mean_D[d]) * BASE.components_DP[d, p] for d in range(40)) for p in range(11)]
    seen = [
        math.exp(-0.05 * sum((p - a) ** 2 for p, a in zip(principal, anchor, strict=True)))
        for anchor in BASE.anchors_TP.astype(float)
    ]
    taste = [sum(seen[t] * float(BASE.map_QR[t, r]) for t in range(37)) + float(BASE.shift_R[r]) for r in range(9)]
    np.testing.assert_allclose(ALONE_BR[0], taste, rtol=1e-5, atol=1e-6)
    raw = [
        sum(taste[r] * float(BASE.head_weight_RA[r, a]) for r in range(9)) + float(BASE.head_bias_A[a]) for a in (0, 1)
    ]
    np.testing.assert_allclose(ALONE_BA[0], np.clip(raw, 0, 10), rtol=1e-4, atol=1e-4)


def test_projection_is_linear_when_there_are_no_anchors():
    base = tiny_base()
    features = np.random.default_rng(0).normal(size=(5, 12))
    expected = features @ base.components_DP @ base.map_QR + base.shift_R
    np.testing.assert_allclose(base.project(features), expected, rtol=1e-5, atol=1e-6)


@given(st.lists(st.integers(0, 63), min_size=1, max_size=40))
def test_bits_do_not_depend_on_the_batch(rows):
    taste_BR = BASE.project(FEATURES_BD[rows])
    np.testing.assert_array_equal(taste_BR, ALONE_BR[rows])
    np.testing.assert_array_equal(BASE.generic(taste_BR), ALONE_BA[rows])


def test_empty_batch_gives_empty_arrays():
    taste = BASE.project(np.empty((0, 40), np.float16))
    assert (taste.shape, BASE.generic(taste).shape) == ((0, 9), (0, 2))


def test_generic_scores_stay_on_the_scale():
    far = dataclasses.replace(BASE, head_bias_A=np.array([1e6, -1e6], np.float32))
    assert np.unique(far.generic(ALONE_BR), axis=0).tolist() == [[10.0, 0.0]]


@pytest.mark.parametrize("shape", [(3, 39), (40,), (0, 41)])
def test_features_of_another_shape_are_refused(shape):
    with pytest.raises(InvalidInput, match="features of dim 40"):
        BASE.project(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_are_refused_when_not_finite(value):
    features = FEATURES_BD.copy()
    features[7, 3] = value
    with pytest.raises(InvalidInput, match="not finite"):
        BASE.project(features)


def test_bytes_give_the_same_model_back():
    again = BaseScorer.from_bytes(BASE.to_bytes())
    assert again.to_bytes() == BASE.to_bytes()
    assert (again.digest, again.name, again.aspects) == (BASE.digest, "kernel", ("aspect 0", "aspect 1"))
    np.testing.assert_array_equal(again.project(FEATURES_BD), ALONE_BR)
    np.testing.assert_array_equal(again.generic(ALONE_BR), ALONE_BA)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"aspects": ("a", "b")},
        {"extractor_digest": "f" * 64},
        {"inverse_width": 0.051},
        {"shift_R": np.zeros(9, np.float32)},
        {"noise_sd_A": np.full(2, 2.0, np.float32)},
    ],
)
def test_digest_changes_when_anything_does(change):
    assert dataclasses.replace(BASE, **change).digest != BASE.digest


def altered(arrays=None, drop=None, **metadata) -> bytes:
    """The bytes of BASE with arrays replaced or dropped, and other metadata."""
    own_arrays, own_metadata = unpack(BASE.to_bytes())
    own_arrays.update(arrays or {})
    if drop:
        del own_arrays[drop]
    return pack(own_arrays, {**own_metadata, **metadata})


@pytest.mark.parametrize("name", [f.name for f in dataclasses.fields(BaseScorer) if f.name.rsplit("_")[-1].isupper()])
def test_bytes_are_refused_when_an_array_is_missing_or_wrong(name):
    array = getattr(BASE, name)
    with pytest.raises(InvalidInput, match="needs arrays"):
        BaseScorer.from_bytes(altered(drop=name))
    with pytest.raises(InvalidInput, match=name):
        BaseScorer.from_bytes(altered({name: array[..., None]}))
    with pytest.raises(InvalidInput, match=name):
        BaseScorer.from_bytes(altered({name: array.astype(np.int32)}))
    broken = array.copy()
    broken.flat[0] = np.nan
    with pytest.raises(InvalidInput, match=f"{name}: numbers that are not finite"):
        BaseScorer.from_bytes(altered({name: broken}))
    with pytest.raises(InvalidInput):
        BaseScorer.from_bytes(altered({name: array[:-1]}))


@pytest.mark.parametrize("name", ["prior_sd_A", "noise_sd_A", "offset_sd_A", "slope_sd_A"])
def test_bytes_are_refused_when_a_deviation_is_negative(name):
    with pytest.raises(InvalidInput, match="negative"):
        BaseScorer.from_bytes(altered({name: np.array([1.0, -1.0], np.float32)}))


@pytest.mark.parametrize(
    "metadata",
    [
        {"format": "base-scorer-1"},
        {"aspects": None},
        {"aspects": []},
        {"aspects": ["same", "same"]},
        {"aspects": ["one"]},
        {"inverse_width": "wide"},
        {"inverse_width": None},
        {"inverse_width": -1.0},
        {"inverse_width": math.inf},
    ],
)
def test_bytes_are_refused_when_metadata_is_wrong(metadata):
    with pytest.raises(InvalidInput):
        BaseScorer.from_bytes(altered(**metadata))


def test_bytes_are_refused_when_they_are_something_else():
    adapter_like = pack({"weight_RA": np.zeros((2, 1), np.float32)}, {"format": "adapter-1"})
    for data in (b"", b"hello", adapter_like, BASE.to_bytes()[:-7]):
        with pytest.raises(InvalidInput):
            BaseScorer.from_bytes(data)
    with pytest.raises(InvalidInput, match="needs arrays"):
        BaseScorer.from_bytes(altered({"extra_A": np.zeros(2, np.float32)}))
    with pytest.raises(InvalidInput, match="noise sds"):
        BaseScorer.from_bytes(altered({"noise_sd_A": np.zeros(2, np.float32)}))
