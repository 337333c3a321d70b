from __future__ import annotations

import pytest
import torch
from torch import nn

from paaplus.models.folding import fold_batch_norms
from paaplus.models.timm_backbone import build_network


@pytest.mark.slow
def test_a_folded_network_gives_the_same_outputs_with_fewer_layers():
    torch.manual_seed(0)
    network = build_network("tf_efficientnet_lite0", pretrained=False).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # away from the identity, which folding could forget unseen
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2.0)
            module.weight.uniform_(0.8, 1.2)
            module.bias.normal_(0, 0.1)
    pixels = torch.randn(2, 3, 64, 64)
    expected = network(pixels)
    assert expected.std() > 0
    folded = fold_batch_norms(network)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    torch.testing.assert_close(folded(pixels), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_batch_norm_that_follows_no_convolution_stays():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)).eval()
    fold_batch_norms(network)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in network) == 2
