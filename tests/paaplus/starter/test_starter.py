"""The shipped starter base model: its files fit together, its card tells recorded figures, float16 changes little."""

from __future__ import annotations

import json

import numpy as np
import pytest

from paaplus import starter
from paaplus.errors import InvalidInput
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.tensors import pack, unpack
from paaplus.starter.float16 import LARGE, from_float16, to_float16
from tests.developer import make_starter
from tests.support.tiny import tiny_base


def test_the_shipped_files_fit_together() -> None:
    shipped = starter.load()
    assert (shipped.base.name, shipped.base.aspects, shipped.base.taste_dim) == ("starter", ("beauty",), 256)
    assert shipped.prior.fits(shipped.base)
    assert shipped.config["extractor"] == "lite2"
    assert shipped.base_metrics["num_people"] == shipped.prior_metrics["num_people"] == 557
    features_BD = np.random.default_rng(0).normal(size=(5, shipped.base.feature_dim)).astype(np.float16)
    generic_BA = shipped.base.generic(shipped.base.project(features_BD))
    assert ((generic_BA > 0) & (generic_BA < 10)).all()


def test_the_card_is_made_from_the_facts_and_the_newest_recorded_split_runs() -> None:
    facts = json.loads((make_starter.FOLDER / starter.FACTS_FILE).read_text())
    made = make_starter.card(facts, make_starter.recorded_runs())
    assert starter.load().card == made, "renew it: python -m tests.developer.make_starter DATA --card-only"
    for part in ("557", "112,190", "free for research", "paaplus base-models train lite2 --data DIR", "float16"):
        assert part in made


def test_large_arrays_keep_three_digits_and_small_ones_all() -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "tiny_numbers": rng.normal(0, 1e-7, (LARGE,)).astype(np.float32),  # below what float16 can hold
        "zeros": np.zeros(LARGE, np.float32),
        "small": rng.normal(size=7).astype(np.float32),
    }
    data = pack(arrays, {"format": "x"})
    stored = to_float16(data)
    read, metadata = unpack(from_float16(stored))
    assert metadata == {"format": "x"}
    assert {array.dtype for array in read.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(read["small"], arrays["small"])
    np.testing.assert_array_equal(read["zeros"], arrays["zeros"])
    large = np.abs(arrays["tiny_numbers"]) > 1e-8
    np.testing.assert_allclose(read["tiny_numbers"][large], arrays["tiny_numbers"][large], rtol=1e-3)
    assert len(stored) < 0.6 * len(data)
    assert to_float16(from_float16(stored)) == stored


def test_other_artifacts_are_refused() -> None:
    with pytest.raises(InvalidInput, match="float16"):
        from_float16(tiny_base().to_bytes())
    assert BaseScorer.from_bytes(from_float16(to_float16(tiny_base().to_bytes()))).digest == tiny_base().digest
