from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.heads_numpy import export_heads
from paaplus.models.physiqueframe.network.config import tiny_config
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.scoring.frame_heads import FrameHeads


@pytest.fixture(scope="module")
def network() -> PhysiqueFrame:
    torch.manual_seed(0)
    network = PhysiqueFrame(tiny_config()).eval()
    for module in network.heads.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.3, 3)
            torch.nn.init.normal_(module.weight, 1, 0.3)
            torch.nn.init.normal_(module.bias)
    return network


@pytest.fixture(scope="module")
def heads(network) -> FrameHeads:
    return export_heads(network)


def batch(heads: FrameHeads, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features_BD = rng.normal(size=(num_items, heads.feature_dim)).astype(np.float32)
    return features_BD, rng.random((num_items, heads.preference_dim), np.float32)


def test_numpy_heads_give_the_networks_scores(network, heads):
    features_BD, preference_BF = batch(heads, 40)
    with torch.no_grad():
        expected = network.score(torch.from_numpy(features_BD), torch.from_numpy(preference_BF)).numpy()
    assert np.ptp(expected) > 1
    assert heads.score(features_BD, preference_BF) == pytest.approx(expected, abs=1e-5)


def test_a_score_has_the_same_bits_alone_and_in_any_batch(heads):
    features_BD, preference_BF = batch(heads, 33)
    together = heads.score(features_BD, preference_BF)
    for b in (0, 7, 32):
        assert np.array_equal(heads.score(features_BD[b : b + 1], preference_BF[b]), together[b : b + 1])
    assert np.array_equal(heads.score(features_BD[5:20], preference_BF[5:20]), together[5:20])


def test_one_preference_serves_all_items(heads):
    features_BD, _ = batch(heads, 3)
    half = np.full(heads.preference_dim, 0.5)
    assert np.array_equal(heads.score(features_BD, half), heads.score(features_BD, np.tile(half, (3, 1))))


def test_heads_survive_bytes(heads):
    again = FrameHeads.from_bytes(heads.to_bytes())
    assert again.aspects == ("appearance", "health", "posture")
    assert again.to_bytes() == heads.to_bytes()
    given = batch(heads, 4)
    assert np.array_equal(again.score(*given), heads.score(*given))


def test_heads_refuse_what_does_not_fit(heads):
    features_BD, preference_BF = batch(heads, 2)
    with pytest.raises(InvalidInput, match="features of dim"):
        heads.score(features_BD[:, :-1], preference_BF)
    with pytest.raises(InvalidInput, match="not finite"):
        heads.score(np.full_like(features_BD, np.nan), preference_BF)
    with pytest.raises(InvalidInput, match="not an artifact"):
        FrameHeads.from_bytes(b"nothing")
    with pytest.raises(InvalidInput, match="Q is"):
        replace(heads, last_weight_AQ=heads.last_weight_AQ[:, :-1])
