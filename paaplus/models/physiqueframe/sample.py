"""Samples: pixels, joints and mesh of one photograph; and batches of them in the network's form.

Shape letters: B = images, S = pixels of a side, K = joints, V = vertices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.inputs import adjacency, heatmaps, normalise
from paaplus.models.physiqueframe.network.config import FrameConfig
from paaplus.models.physiqueframe.network.frame import Mesh, Posture
from paaplus.models.physiqueframe.network.geometry import MeshNeighbours, collate, mesh_neighbours

# Index of each joint in the mirrored image: left and right hips, knees, ankles, shoulders, elbows and wrists swap.
_MIRRORED_K = np.array([0, 2, 1, 4, 3, 6, 5, 7, 9, 8, 11, 10, 13, 12, 14])
_OUT_OF_FRAME_PX = -1e4  # coordinate of an unknown joint, which gives no spot and weight 0


@dataclass(frozen=True, eq=False)
class Sample:
    """One photograph. Without joints or without a mesh, its score is degraded."""

    pixel_3SS: Tensor  # letterboxed, 0-1
    joints_K2: np.ndarray | None  # pixels of the square; NaN for an unknown joint
    vertices_V3: np.ndarray | None  # camera space in metres, all signs reversed
    neighbours: MeshNeighbours | None  # of the mesh; None: not computed yet

    def flipped(self) -> Sample:
        """The sample mirrored left to right: pixels, joints and mesh; the neighbours stay the same."""
        joints_K2, vertices_V3 = self.joints_K2, self.vertices_V3
        if joints_K2 is not None:
            joints_K2 = joints_K2[_MIRRORED_K].copy()
            joints_K2[:, 0] = self.pixel_3SS.shape[-1] - 1 - joints_K2[:, 0]
        if vertices_V3 is not None:
            vertices_V3 = vertices_V3 * np.array([-1, 1, 1], np.float32)
        return replace(self, pixel_3SS=self.pixel_3SS.flip(-1), joints_K2=joints_K2, vertices_V3=vertices_V3)


@dataclass(frozen=True, eq=False)
class Inputs:
    """A batch in the form of `PhysiqueFrame`'s arguments."""

    image: Tensor  # (B, 3, S, S), normalised
    posture: Posture | None
    mesh: Mesh | None

    def to(self, device: str) -> Inputs:
        """The same batch on a device."""
        posture, mesh = self.posture, self.mesh
        if posture is not None:
            posture = Posture(**{name: value.to(device) for name, value in vars(posture).items()})
        if mesh is not None:
            grouping = [(anchor.to(device), neighbour.to(device)) for anchor, neighbour in mesh.grouping or []]
            mesh = Mesh(mesh.point_BV3.to(device), grouping, _to(mesh.present_B, device))
        return Inputs(self.image.to(device), posture, mesh)


def find_neighbours(vertices_V3: np.ndarray, config: FrameConfig) -> MeshNeighbours:
    """Anchors and neighbours of a mesh for a network of this configuration."""
    points = config.points
    rounded = config.compatibility.rounded_neighbours
    return mesh_neighbours(vertices_V3, len(points.expansions), points.num_neighbours, rounded)


def collate_samples(samples: Sequence[Sample], config: FrameConfig) -> Inputs:
    """Samples as one batch.

    Raises:
        InvalidInput: the meshes have different numbers of vertices.
    """
    image = normalise(torch.stack([sample.pixel_3SS for sample in samples]))
    return Inputs(image, _posture(samples, config), _mesh(samples, config))


def _posture(samples: Sequence[Sample], config: FrameConfig) -> Posture | None:
    present = [sample.joints_K2 is not None for sample in samples]
    if not any(present):
        return None
    nowhere_K2 = np.full((config.num_joints, 2), _OUT_OF_FRAME_PX)
    spots = [
        heatmaps(
            nowhere_K2 if sample.joints_K2 is None else np.nan_to_num(sample.joints_K2, nan=_OUT_OF_FRAME_PX),
            config.image_size,
            config.heatmap_size,
        )
        for sample in samples
    ]
    return Posture(
        heatmap_BJMM=torch.from_numpy(np.stack([heatmap for heatmap, _ in spots])),
        weight_BJ=torch.from_numpy(np.stack([weight for _, weight in spots])),
        adjacency_BJJ=adjacency(),
        present_B=torch.tensor(present),
    )


def _mesh(samples: Sequence[Sample], config: FrameConfig) -> Mesh | None:
    """An image without a mesh gets a copy of another's: it is not used, but keeps batch statistics those of bodies."""
    present = [sample.vertices_V3 is not None for sample in samples]
    if not any(present):
        return None
    placeholder = samples[present.index(True)]
    points, neighbours = [], []
    for sample, has_mesh in zip(samples, present, strict=True):
        source = sample if has_mesh else placeholder
        assert source.vertices_V3 is not None
        points.append(source.vertices_V3)
        neighbours.append(source.neighbours or find_neighbours(source.vertices_V3, config))
    if len(sizes := {len(vertices_V3) for vertices_V3 in points}) > 1:
        raise InvalidInput(f"meshes of {sorted(sizes)} vertices in one batch")
    return Mesh(torch.from_numpy(np.stack(points)), collate(neighbours), torch.tensor(present))


def _to(value: Tensor | None, device: str) -> Tensor | None:
    return None if value is None else value.to(device)
