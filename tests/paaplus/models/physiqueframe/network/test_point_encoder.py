from __future__ import annotations

import pytest
import torch

from paaplus.models.physiqueframe.network import point_encoder
from paaplus.models.physiqueframe.network.config import PointConfig
from paaplus.models.physiqueframe.network.geometry import Grouping, collate, mesh_neighbours
from paaplus.models.physiqueframe.network.point_encoder import NormLinear, PointEncoder, Stage

CONFIG = PointConfig(width=8, expansions=(2, 2), blocks=(1, 2), num_neighbours=6)


@pytest.fixture(scope="module")
def encoder() -> PointEncoder:
    torch.manual_seed(0)
    encoder = PointEncoder(CONFIG).eval()
    for module in encoder.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
    for stage in encoder.stages:
        torch.nn.init.normal_(stage.affine_alpha, 1, 0.2)
        torch.nn.init.normal_(stage.affine_beta, std=0.2)
    return encoder


def meshes(num_meshes: int = 2, num_points: int = 160) -> tuple[torch.Tensor, Grouping]:
    points = torch.randn(num_meshes, num_points, 3, generator=torch.Generator().manual_seed(2))
    return points, collate([mesh_neighbours(mesh.numpy(), 2, CONFIG.num_neighbours) for mesh in points])


def written_out(stage: Stage, x: torch.Tensor, anchors: torch.Tensor, neighbours: torch.Tensor) -> torch.Tensor:
    """A stage as the paper says it, one mesh at a time, with plain convolutions' arithmetic."""
    out = []
    for x_VC, anchor_S, neighbour_SK in zip(x, anchors, neighbours, strict=True):
        anchor = x_VC[anchor_S][:, None]
        difference = x_VC[neighbour_SK] - anchor
        relative = stage.affine_alpha * difference / (difference.std() + 1e-5) + stage.affine_beta
        both = torch.cat([relative, anchor.expand_as(relative)], -1)
        value = torch.relu(
            stage.transfer.norm((both @ stage.transfer.linear.weight.T).flatten(0, 1)).unflatten(0, neighbour_SK.shape)
        )
        for block in stage.before:
            value = residual(block, value)
        pooled = value.max(1).values
        for block in stage.after:
            pooled = residual(block, pooled)
        out.append(pooled)
    return torch.stack(out)


def residual(block: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    def normed(layer: NormLinear, value: torch.Tensor) -> torch.Tensor:
        return layer.norm((value @ layer.linear.weight.T).flatten(0, -2)).view(*value.shape[:-1], -1)

    return torch.relu(normed(block.net2, torch.relu(normed(block.net1, x))) + x)


@pytest.mark.parametrize("chunk", [1, 400_000])
def test_fast_stage_is_the_stage_written_out_when_there_are_no_gradients(encoder, monkeypatch, chunk):
    monkeypatch.setattr(point_encoder, "_CHUNK_VALUES", chunk)
    points, grouping = meshes()
    x = torch.relu(encoder.embedding(points))
    with torch.no_grad():
        found = encoder.stages[0](x, *grouping[0])
        torch.testing.assert_close(found, written_out(encoder.stages[0], x, *grouping[0]), atol=2e-5, rtol=1e-5)


def test_stage_with_gradients_is_the_stage_written_out(encoder):
    points, grouping = meshes()
    x = torch.relu(encoder.embedding(points))
    found = encoder.stages[0](x, *grouping[0])
    assert found.requires_grad
    torch.testing.assert_close(found, written_out(encoder.stages[0], x, *grouping[0]), atol=2e-5, rtol=1e-5)


def test_embedding_does_not_depend_on_the_other_meshes_outside_training(encoder):
    points, grouping = meshes(3)
    with torch.no_grad():
        together = encoder(points, grouping)
        alone = encoder(points[1:2], [(anchors[1:2], neighbours[1:2]) for anchors, neighbours in grouping])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_stage_keeps_small_differences_far_from_the_origin(encoder):
    points, grouping = meshes()
    x = torch.relu(encoder.embedding(points))
    away = x + 1000.0  # the anchor's own half of the map aside, a stage sees differences only
    stage = encoder.stages[0]
    weight = stage.transfer.linear.weight
    with torch.no_grad():
        before = weight.clone()
        weight[:, x.shape[-1] :] = 0
        found, expected = stage(away, *grouping[0]), stage(away.double().float() - 1000.0, *grouping[0])
        weight.copy_(before)
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=0)


def test_normalisation_in_training_is_that_of_all_points():
    torch.manual_seed(0)
    layer = NormLinear(4, 3).train()
    x = torch.randn(2, 5, 7, 4)
    y = (x @ layer.linear.weight.T).detach()
    expected = (y - y.flatten(0, 2).mean(0)) / (y.flatten(0, 2).var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x).detach(), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.norm.running_mean, 0.1 * y.flatten(0, 2).mean(0))


def test_batch_statistics_are_exact_over_many_rows():
    # Summed in float32 row after row, the mean of a million numbers near 100 is off in its fifth digit.
    layer = NormLinear(1, 1).train()
    torch.nn.init.ones_(layer.linear.weight)
    x = 100 + torch.rand(1_000_000, 1, generator=torch.Generator().manual_seed(0))
    layer(x)
    assert layer.norm.running_mean.item() == pytest.approx(0.1 * x.double().mean().item(), rel=1e-6)
