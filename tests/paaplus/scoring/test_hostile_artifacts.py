"""Invalid artifacts of base models and adapters are refused as invalid input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Bottleneck, TasteVector, adapter_from_bytes
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.tensors import pack, unpack
from tests.support.hostile import hostile_artifacts, nearly
from tests.support.tiny import TASTE_DIM, tiny_base

BASE = tiny_base()
ADAPTER = TasteVector.zero(BASE.digest, TASTE_DIM, 1)
HOSTILE = hostile_artifacts()
READERS: list[Callable[[bytes], object]] = [unpack, BaseScorer.from_bytes, adapter_from_bytes]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_is_refused_by_every_reader(name: str) -> None:
    for read in READERS:
        if read is unpack and name in ("key_flood", "metadata_is_infinite"):
            continue  # well formed, but not a model
        with pytest.raises(InvalidInput) as refused:
            read(HOSTILE[name])
        assert len(str(refused.value)) < 2_000, "a message, not a copy of the file"


def test_message_about_very_many_arrays_is_short() -> None:
    flood = {f"array-{i}": np.zeros(0, np.float32) for i in range(2_000)}
    says_adapter = {"format": "adapter-1", "kind": "taste_vector", "base_digest": BASE.digest}
    says_base = {"format": "base-scorer-2", "aspects": ["beauty"], "inverse_width": 1.0}
    for read, metadata in ((adapter_from_bytes, says_adapter), (BaseScorer.from_bytes, says_base)):
        with pytest.raises(InvalidInput, match="unknown are 2000: array-0") as refused:
            read(pack(flood, metadata))
        assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("field", ["alpha_A", "beta_A", "weight_RA"])
def test_adapter_with_numbers_that_are_not_finite_is_refused(field: str, value: float) -> None:
    arrays = {name: array.copy() for name, array in ADAPTER.arrays().items()}
    arrays[field].flat[0] = value
    with pytest.raises(InvalidInput, match="not finite"):
        adapter_from_bytes(TasteVector(BASE.digest, **arrays).to_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"weight_RA": np.zeros((TASTE_DIM, 2), np.float32)},
        {"weight_RA": np.zeros(TASTE_DIM, np.float32)},
        {"alpha_A": np.zeros(1, np.float64)},
        {"alpha_A": np.zeros(1, np.int32)},
        {"alpha_A": np.zeros((0,), np.float32)},
        {"alpha_A": None},
        {"extra_A": np.zeros(1, np.float32)},
    ],
)
def test_adapter_whose_arrays_do_not_fit_is_refused(change: dict[str, np.ndarray | None]) -> None:
    arrays = {name: array for name, array in (ADAPTER.arrays() | change).items() if array is not None}
    data = pack(arrays, {"format": "adapter-1", "kind": "taste_vector", "base_digest": BASE.digest})
    with pytest.raises(InvalidInput):
        adapter_from_bytes(data)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"format": "adapter-1"},
        {"format": "adapter-1", "kind": "taste_vector"},
        {"format": "adapter-1", "kind": ["taste_vector"], "base_digest": "x"},
        {"format": "adapter-1", "kind": {}, "base_digest": "x"},
        {"format": "adapter-1", "kind": "__class__", "base_digest": "x"},
        {"format": "adapter-1", "kind": "taste_vector", "base_digest": 7},
    ],
)
def test_adapter_with_wrong_metadata_is_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        adapter_from_bytes(pack(ADAPTER.arrays(), metadata))


@settings(max_examples=200)
@given(nearly(BASE.to_bytes()))
def test_mutated_base_model_is_read_or_refused(data: bytes) -> None:
    try:
        scorer = BaseScorer.from_bytes(data)
    except InvalidInput:
        return
    assert np.isfinite(scorer.generic(scorer.project(np.zeros((1, scorer.feature_dim), np.float32)))).all()


@settings(max_examples=200)
@given(nearly(Bottleneck.zero(BASE.digest, TASTE_DIM, 1, rank=3).to_bytes()))
def test_mutated_adapter_is_read_or_refused(data: bytes) -> None:
    try:
        adapter = adapter_from_bytes(data)
    except InvalidInput:
        return
    assert adapter.is_finite()
