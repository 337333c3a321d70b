"""The preference encoder as served."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from paaplus.errors import InvalidInput
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.scoring.tensors import pack, unpack
from tests.support.hostile import hostile_artifacts, nearly
from tests.support.tiny import TASTE_DIM, tiny_base

BASE = tiny_base()


def some_encoder(**changes: object) -> PreferenceEncoder:
    rng = np.random.default_rng(0)
    encoder = PreferenceEncoder(
        BASE.digest,
        ("a", "b", "c"),
        mean_Q=np.array([4, 0, 1], np.float32),
        scale_Q=np.array([2, 1, 0.5], np.float32),
        weight_QF=rng.normal(size=(3, 2)).astype(np.float32),
        shift_FPA=rng.normal(size=(2, TASTE_DIM + 2, 1)).astype(np.float32),
    )
    return replace(encoder, **changes)


def test_average_answers_and_no_answers_give_the_neutral_preference() -> None:
    encoder = some_encoder()
    for answers_Q in (np.array([4.0, 0.0, 1.0]), np.full(3, np.nan)):
        preference_F = encoder.encode(answers_Q)
        np.testing.assert_array_equal(preference_F, [0.5, 0.5])
        assert not encoder.shift(preference_F).any()


def test_shift_is_what_the_answers_weigh() -> None:
    encoder = some_encoder()
    answers_Q = np.array([6.0, np.nan, 0.5])  # one sd above the mean, no answer, one sd below
    latent_F = encoder.weight_QF[0].astype(float) - encoder.weight_QF[2]
    np.testing.assert_allclose(encoder.encode(answers_Q), 0.5 + latent_F / 6)
    expected_PA = np.einsum("f,fpa->pa", latent_F, encoder.shift_FPA)
    np.testing.assert_allclose(encoder.shift(encoder.encode(answers_Q)), expected_PA, rtol=1e-5, atol=1e-6)


def test_preference_stays_between_0_and_1_whatever_was_answered() -> None:
    preference_F = some_encoder().encode(np.array([1e6, -1e6, 1e6]))
    assert ((preference_F >= 0) & (preference_F <= 1)).all()


def test_inputs_that_do_not_fit_are_refused() -> None:
    encoder = some_encoder()
    for answers_Q in (np.zeros(2), np.array([0, 0, np.inf])):
        with pytest.raises(InvalidInput, match="3 finite numbers"):
            encoder.encode(answers_Q)
    for preference_F in (np.zeros(3), np.array([0.5, 1.1]), np.array([np.nan, 0.5])):
        with pytest.raises(InvalidInput, match="preference"):
            encoder.shift(preference_F)
    for change in (
        {"columns": ("a", "a", "b")},
        {"columns": ()},
        {"mean_Q": np.zeros(3)},
        {"scale_Q": np.zeros(3, np.float32)},
        {"weight_QF": np.full((3, 2), np.nan, np.float32)},
        {"shift_FPA": np.zeros((3, TASTE_DIM + 2, 1), np.float32)},
    ):
        with pytest.raises(InvalidInput, match="preference encoder"):
            some_encoder(**change)


def test_bytes_round_trip_and_digest_names_them() -> None:
    encoder = some_encoder()
    again = PreferenceEncoder.from_bytes(encoder.to_bytes())
    assert (again.digest, again.columns, again.fits(BASE)) == (encoder.digest, encoder.columns, True)
    assert again.digest != some_encoder(columns=("a", "b", "d")).digest
    assert not again.fits(tiny_base(seed=1))


@pytest.mark.parametrize("name", hostile_artifacts())
def test_hostile_file_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        PreferenceEncoder.from_bytes(hostile_artifacts()[name])
    assert len(str(refused.value)) < 2_000


@settings(max_examples=100)
@given(nearly(some_encoder().to_bytes()))
def test_mutated_encoder_is_read_or_refused(data: bytes) -> None:
    try:
        encoder = PreferenceEncoder.from_bytes(data)
    except InvalidInput:
        return
    assert np.isfinite(encoder.encode(np.full(len(encoder.columns), np.nan))).all()


def test_metadata_of_another_kind_is_refused() -> None:
    arrays, metadata = unpack(some_encoder().to_bytes())
    for change in ({"format": "x"}, {"columns": "abc"}, {"base_digest": 7}, {"columns": ["a"]}):
        with pytest.raises(InvalidInput):
            PreferenceEncoder.from_bytes(pack(arrays, metadata | change))
