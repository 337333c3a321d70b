"""Our image encoders against timm's, which are other people's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.physiqueframe.network.clip_vit import ClipAdapter, ClipVit
from paaplus.models.physiqueframe.network.config import SwinConfig, VitConfig, tiny_config
from paaplus.models.physiqueframe.network.cpu_linear import PackedLinear, can_pack, pack_linears
from paaplus.models.physiqueframe.network.frame import PhysiqueFrame
from paaplus.models.physiqueframe.network.swin_v2 import DropPath, SwinV2
from paaplus.models.physiqueframe.weights import hub
from paaplus.models.torchvision_shim import ensure_torchvision

VIT = VitConfig(patch_size=14, width=32, num_layers=2, num_heads=4, out_dim=24)
SWIN = SwinConfig(width=16, depths=(2, 2), num_heads=(2, 4), window_size=7, pretrained_window_sizes=(6, 6))


def shaken(network: nn.Module) -> nn.Module:
    """Parameters that start at zero or one would hide mistakes."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@pytest.fixture(scope="module")
def timm_vit() -> nn.Module:
    ensure_torchvision()
    from timm.layers import QuickGELU
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    return shaken(
        VisionTransformer(
            img_size=56, patch_size=14, embed_dim=32, depth=2, num_heads=4, num_classes=24, pre_norm=True,
            act_layer=QuickGELU, norm_layer=partial(nn.LayerNorm, eps=1e-5),
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def timm_swin() -> nn.Module:
    ensure_torchvision()
    from timm.models.swin_transformer_v2 import SwinTransformerV2

    torch.manual_seed(0)
    return shaken(
        SwinTransformerV2(
            img_size=56, window_size=7, embed_dim=16, depths=(2, 2), num_heads=(2, 4), num_classes=0,
            pretrained_window_sizes=(6, 6),
        )
    )  # fmt: skip


def test_vit_is_timms_with_timms_weights(timm_vit):
    ours = ClipVit(VIT, 56).eval()
    state = {**timm_vit.state_dict(), "head.bias": torch.zeros(24)}
    timm_vit.load_state_dict(state)
    hub.load_clip(ours, state)
    image = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), timm_vit(image), atol=1e-5, rtol=1e-4)


def test_swin_is_timms_with_timms_weights(timm_swin):
    ours = SwinV2(SWIN, 56).eval()  # stage 0 has shifted windows, stage 1 has one window and no shift
    hub.load_swin(ours, timm_swin.state_dict())
    maps: list[torch.Tensor] = []
    ours.upsample.register_forward_hook(lambda module, inputs, output: maps.append(inputs[0]))
    image = torch.randn(2, 3, 56, 56)
    with torch.no_grad():
        assert ours(image).shape == (2, 32, 14, 14)
        expected = timm_swin.forward_features(image).permute(0, 3, 1, 2)
    torch.testing.assert_close(maps[0], expected, atol=1e-5, rtol=1e-4)


def test_hub_weights_of_another_size_are_refused(timm_vit, timm_swin):
    with pytest.raises(InvalidInput, match="another shape"):
        hub.load_clip(ClipVit(tiny_config().vit, 84), timm_vit.state_dict())
    state = timm_swin.state_dict()
    del state["norm.weight"]
    with pytest.raises(InvalidInput, match=r"missing \['norm.weight'\]"):
        hub.load_swin(SwinV2(SWIN, 56), state)


def test_hub_that_cannot_be_reached_is_unavailable(monkeypatch):
    def build(name: str, pretrained: bool, num_classes: int = 0) -> nn.Module:
        raise Unavailable(f"{name}: no route to the hub")

    monkeypatch.setattr(hub, "build_network", build)
    with pytest.raises(Unavailable, match=r"quickgelu_224\.openai"):
        hub.load_hub_encoders(PhysiqueFrame(tiny_config()))


def test_adapter_mixes_seven_to_three():
    adapter = ClipAdapter(2, 2, 0.7)
    with torch.no_grad():
        for linear in (adapter.fc[0], adapter.fc[2]):
            linear.weight.copy_(torch.eye(2))
    assert adapter(torch.tensor([[1.0, -1.0]])).tolist()[0] == pytest.approx([1.0, -0.3])


def test_drop_path_keeps_the_mean_in_training_and_does_nothing_outside():
    torch.manual_seed(0)
    drop, x = DropPath(0.25).train(), torch.ones(4000, 2)
    dropped = drop(x)
    assert sorted(set(dropped.flatten().tolist())) == pytest.approx([0, 4 / 3])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(x), x)


@pytest.mark.skipif(not can_pack(), reason="this torch has no oneDNN")
def test_packed_linears_give_the_same_products():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(128, 256), nn.ReLU(), nn.Linear(256, 8), nn.Linear(8, 4)).eval()
    x = torch.randn(3, 5, 128)
    with torch.no_grad():
        expected = network(x)
        assert pack_linears(network, 15) == 1
        assert isinstance(network[0], PackedLinear)
        torch.testing.assert_close(network(x), expected, atol=1e-5, rtol=1e-5)
