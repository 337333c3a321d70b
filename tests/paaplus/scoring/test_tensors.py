"""Artifacts: what was written is read, however many have been read before."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.scoring import tensors
from paaplus.scoring.tensors import pack, unpack


def arrays(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "weight_RA": rng.normal(size=(7, 2)).astype(np.float32),
        "half_D": rng.normal(size=5).astype(np.float16),
        "number_1": np.array([seed], np.int64),
        "flags_N": rng.normal(size=3) > 0,
        "none_NA": np.zeros((0, 2), np.float32),
    }


@pytest.mark.parametrize("kept", [tensors.MAX_LAYOUTS, 0])
def test_arrays_with_a_known_header_are_read_as_with_an_unknown_one(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(tensors, "_layouts", {})
    monkeypatch.setattr(tensors, "MAX_LAYOUTS", kept)
    for seed in range(4):
        expected = arrays(seed)
        found, metadata = unpack(pack(expected, {"kind": "x", "of": "y"}))
        assert (found.keys(), metadata) == (expected.keys(), {"kind": "x", "of": "y"})
        for name, array in expected.items():
            assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
            assert found[name].tobytes() == array.tobytes(), name
        found["weight_RA"][0, 0] = 9  # arrays are the caller's own
        metadata["of"] = "changed"
    assert len(tensors._layouts) == (1 if kept else 0)


def test_nested_metadata_are_the_callers_own() -> None:
    data = pack(arrays(0), {"of": [1, 2]})
    for _ in range(2):
        unpack(data)[1]["of"].append(3)
    assert unpack(data)[1] == {"of": [1, 2]}


def test_small_arrays_take_little_more_memory_than_their_numbers() -> None:
    """They are what a process keeps of each user: `numpy.frombuffer` took 530 bytes for each array."""
    data = pack({"alpha_A": np.ones(1, np.float32), "weight_RA": np.ones((256, 1), np.float32)}, {"kind": "x"})
    unpack(data)
    tracemalloc.start()
    try:
        kept = [unpack(data)[0] for _ in range(100)]
        size = tracemalloc.get_traced_memory()[0] / len(kept)
    finally:
        tracemalloc.stop()
    assert size < 257 * 4 + 800, "with a dictionary"


def test_bytes_that_are_cut_or_longer_are_refused_under_a_known_header_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensors, "_layouts", {})
    data = pack(arrays(0))
    unpack(data)
    for wrong in (data[:-1], data + b"\0", data[:8], b"", data[:40]):
        with pytest.raises(InvalidInput, match="not an artifact"):
            unpack(wrong)
