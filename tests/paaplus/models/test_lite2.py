"""`lite2` against the networks that its weights were published with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paaplus.errors import InvalidInput
from paaplus.models import lite2
from paaplus.models.base_models import load_extractor
from paaplus.models.extractor import FeatureBlock
from paaplus.models.lite import packaged_weights, preprocessing
from paaplus.models.timm_backbone import read_state

HEAD = 1280
STAGES = {lite2.LITE1: (192, 320), lite2.LITE2: (208, 352)}


@pytest.fixture(scope="module")
def extractor():
    return load_extractor("lite2")


def _original(variant, picture):
    """Head, and both last stages, of the network as it was published, by its own forward pass; shape (D,)."""
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name(variant.timm_name.removeprefix("tf_").replace("_", "-"))
    network.load_state_dict(read_state(packaged_weights(variant)))
    network.eval()
    pixels = preprocessing(variant.size_px).pixels(picture)
    num_last = variant.stage_lengths[-1]
    with torch.no_grad():
        outputs, x = [], network._swish(network._bn0(network._conv_stem(pixels)))
        for block in network._blocks:
            x = block(x)
            outputs.append(x.mean((2, 3))[0].numpy())
        head = network.extract_features(pixels).mean((2, 3))[0].numpy()
    return np.concatenate([np.sqrt(head), outputs[-1 - num_last], outputs[-1]])


@pytest.mark.slow
def test_features_are_those_of_both_original_networks(extractor, pictures):
    expected_D = np.concatenate([_original(variant, pictures[2]) for variant in (lite2.LITE1, lite2.LITE2)])
    (found_D,) = extractor.extract([pictures[2]])
    assert found_D.dtype == np.float16
    np.testing.assert_allclose(found_D, expected_D, rtol=2e-3, atol=2e-3)


@pytest.mark.slow
def test_blocks_name_heads_and_stages_in_order(extractor):
    expected = []
    for variant in (lite2.LITE1, lite2.LITE2):
        expected += [FeatureBlock(HEAD), *(FeatureBlock(size, standardize=True) for size in STAGES[variant])]
    assert list(extractor.blocks) == expected
    assert extractor.feature_dim == sum(block.size for block in expected) == 3632


@pytest.mark.slow
def test_an_images_features_do_not_depend_on_its_batch(extractor, pictures):
    together = extractor.extract(pictures[:2])
    alone = np.concatenate([extractor.extract([picture]) for picture in pictures[:2]])
    np.testing.assert_array_equal(together, alone)
    assert (together[0] != together[1]).mean() > 0.5
    assert extractor.extract([]).shape == (0, 3632)


def test_another_file_of_weights_is_refused():
    with pytest.raises(InvalidInput, match="two networks"):
        load_extractor("lite2", Path("other.pth"))
