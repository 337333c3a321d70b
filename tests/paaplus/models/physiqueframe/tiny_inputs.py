"""A small batch for the tiny network: noise with joints, meshes and preferences of the right shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from paaplus.models.physiqueframe.inputs import adjacency
from paaplus.models.physiqueframe.network.frame import Mesh, Posture


def tiny_inputs(num_images: int, seed: int = 1) -> tuple[Tensor, Tensor, Posture, Mesh]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(num_images, 3, 56, 56, generator=generator)
    preference = torch.rand(num_images, 5, generator=generator)
    heatmaps = torch.rand(num_images, 15, 16, 16, generator=generator) ** 8
    points = torch.randn(num_images, 120, 3, generator=generator)
    return image, preference, Posture(heatmaps, torch.ones(num_images, 15), adjacency()), Mesh(points)
