"""One image alone and in a batch: the same numbers, unless a switch of the official code is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from paaplus.models.siblings import parity
from paaplus.models.siblings.dat import Eat
from paaplus.models.siblings.exposure_net import ExposureNet
from paaplus.models.siblings.icaa import Icaa
from paaplus.models.siblings.mobilenet_lab import LabMobileNet
from paaplus.models.siblings.tanet import TaNet
from tests.support.siblings import SMALL, with_weights


def noise(side_px: int, seed: int = 0) -> Tensor:
    return torch.rand(2, 3, side_px, side_px, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("build", "side_px"),
    [
        (lambda: ExposureNet(4, 2), 256),
        (lambda: Eat(10, SMALL), 224),
        (lambda: Icaa(SMALL), 224),
        (lambda: TaNet(1), 224),
        (lambda: TaNet(10), 224),
        (LabMobileNet, 256),
    ],
    ids=["exposure", "eat", "icaa", "tanet", "tanet_ava", "mnet"],
)
def test_neighbours_change_nothing_beyond_rounding(build: Callable[[], nn.Module], side_px: int) -> None:
    network = with_weights(build())
    image = noise(side_px)
    with torch.inference_mode():
        alone, together = network(image[:1]), network(image)
    assert torch.allclose(alone[0], together[0], rtol=1e-4, atol=1e-4)


def test_switches_of_the_official_code_make_neighbours_matter() -> None:
    image, other = noise(224), 5.0 * noise(224, seed=1) - 2.0
    other[0] = image[0]
    # TAD66K's: AVA's normalises two numbers over the batch, which are then 1 and -1 whatever they were
    eat, tanet = with_weights(Eat(10, SMALL)), with_weights(TaNet(1))
    tanet.hypernet.last_out_w.weight.mul_(0.01)  # else the softmax is all at one image
    tanet.hypernet.last_out_w.bias.mul_(0.01)
    exposure = with_weights(ExposureNet(4, 2))
    with torch.inference_mode():
        assert not torch.allclose(eat(image, True)[0], eat(other, True)[0], atol=1e-4)
        assert not torch.allclose(tanet(image, "batch")[0], tanet(other, "batch")[0], atol=1e-4)
        image, other = noise(256), noise(256, seed=1)
        other[0] = image[0]
        assert not torch.allclose(exposure(image, True)[0], exposure(other, True)[0], atol=1e-4)


def test_parity_functions_see_one_image_at_a_time_like_tools() -> None:
    """To the bit: a batch as such may change the last bits of a convolution."""
    network = with_weights(LabMobileNet())
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    image = noise(224).numpy()
    together = parity.nima_attack(weights, {"image": image, "whole_map": True}, "batch")
    alone = parity.nima_attack(weights, {"image": image[1:], "whole_map": True}, "single")
    for name, array in alone.items():
        assert np.array_equal(array[0], together[name][1]), name


def test_theme_that_is_off_is_ten_zeros_and_recorded_in_the_version() -> None:
    from paaplus.tools.files import TOOL_FILES

    network = with_weights(TaNet(10))
    seen: dict[str, Tensor] = {}
    with torch.inference_mode():
        network(noise(224), "off", seen)
        assert (seen["concat"][:, 10:20] == 0).all()
        network(noise(224), "per_sample", seen)
        theme = seen["concat"][:, 10:20]
        assert (theme == theme[:, :1]).all()
    versions = {TOOL_FILES[name].version_of("a" * 64) for name in ("tanet_ava", "tanet_ava_no_theme")}
    assert versions == {"aaaaaaaaaaaa-1-theme-per-sample", "aaaaaaaaaaaa-1-theme-off"}


def test_empty_histogram_gives_the_biases_with_little_confidence() -> None:
    from PIL import Image

    from paaplus.models.siblings.tools import BIAS_CONFIDENCE, BUILDERS
    from paaplus.tools.tool import ToolImage

    network = with_weights(Icaa(SMALL))
    network.hist_feature.bin_widths_conv.bias.fill_(-1e6)
    tool = BUILDERS["icaa"]("1", lambda: network, "cpu", None)
    [judgement] = tool.score([ToolImage(Image.new("RGB", (40, 40), (9, 90, 200)))])
    bias = torch.sigmoid(network.class_head2.bias)[0]
    assert judgement.scores["colour"] == pytest.approx(10 * float(bias), abs=1e-5)
    assert set(judgement.confidences.values()) == {BIAS_CONFIDENCE}
