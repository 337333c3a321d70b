"""Anchors of a mesh and their neighbours: farthest point sampling and nearest neighbours.

Both depend on the mesh alone, so they are computed once per mesh and cached with it.

Shape letters: V = points, S = chosen points, K = neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from paaplus.errors import InvalidInput

_MAX_LANES = 1024


@dataclass(frozen=True)
class MeshNeighbours:
    """Per stage, the indices among the stage's points of the anchors, (S,), and of their neighbours, (S, K)."""

    anchors: tuple[np.ndarray, ...]
    neighbours: tuple[np.ndarray, ...]


Grouping = list[tuple[torch.Tensor, torch.Tensor]]  # per stage: anchors (B, S) and neighbours (B, S, K), int64


def collate(meshes: Sequence[MeshNeighbours]) -> Grouping:
    """The neighbours of several meshes of one size as a batch."""
    stages = range(len(meshes[0].anchors))
    return [
        (
            torch.from_numpy(np.stack([mesh.anchors[stage] for mesh in meshes])),
            torch.from_numpy(np.stack([mesh.neighbours[stage] for mesh in meshes])),
        )
        for stage in stages
    ]


def mesh_neighbours(
    point_V3: np.ndarray, num_stages: int, num_neighbours: int, rounded: bool = False
) -> MeshNeighbours:
    """Anchors and neighbours of every stage; each stage has half as many points as the one before.

    Args:
        point_V3: the mesh, any unit.
        num_stages: 1 or more.
        num_neighbours: K, including the anchor itself.
        rounded: search neighbours in float32, as the published code does (`Compatibility.rounded_neighbours`).

    Raises:
        InvalidInput: fewer than K points in the last stage, or a coordinate is not finite.
    """
    points = np.ascontiguousarray(point_V3, np.float32)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) >> (num_stages - 1) < num_neighbours:
        raise InvalidInput(f"mesh of shape {points.shape}: (V, 3), {num_neighbours} points at least in its last stage")
    if not np.isfinite(points).all():
        raise InvalidInput("coordinates of the mesh are not finite")
    anchors, neighbours, ordered = [], [], False
    for _ in range(num_stages):
        num_chosen = len(points) // 2
        if ordered:
            anchor_S = np.arange(num_chosen)
        else:
            # The farthest points of a set in this order are its first points, unless distances tied.
            anchor_S, num_clear = farthest_points(points, num_chosen)
            ordered = num_clear >= num_chosen // 2
        search = _rounded_neighbours if rounded else nearest_neighbours
        anchors.append(anchor_S)
        neighbours.append(search(points, anchor_S, num_neighbours))
        points = points[anchor_S]
    return MeshNeighbours(tuple(anchors), tuple(neighbours))


def farthest_points(point_V3: np.ndarray, num: int) -> tuple[np.ndarray, int]:
    """Farthest point sampling: `num` points, each the farthest from those before it, beginning at point 0, in float32.

    Among points at the same distance, the choice is that of the CUDA kernel's tree reduction: with lane = index %
    lanes, the lowest bit-reversed lane, then the lowest index.

    Returns:
        The indices, shape (num,), and the number of leading choices without a tie. Ties are searched in the first half
        only, which is all that the next stage needs.
    """
    num_points = len(point_V3)
    order_V = _tie_order(num_points)
    point_3V = np.ascontiguousarray(point_V3[order_V].T, dtype=np.float32)
    nearest_V = np.full(num_points, 1e10, np.float32)  # squared distance to the closest chosen point
    offset_3V, squared_V = np.empty_like(point_3V), np.empty_like(nearest_V)
    chosen = np.empty(num, np.int64)
    last = int(np.flatnonzero(order_V == 0)[0])
    num_clear = num
    for step in range(num):
        if step:
            last = int(nearest_V.argmax())
            if step < num // 2 <= num_clear and np.count_nonzero(nearest_V == nearest_V[last]) > 1:
                num_clear = step
        chosen[step] = last
        np.subtract(point_3V, point_3V[:, last, None], out=offset_3V)
        np.multiply(offset_3V, offset_3V, out=offset_3V)
        np.add.reduce(offset_3V, axis=0, out=squared_V)
        np.minimum(nearest_V, squared_V, out=nearest_V)
    return order_V[chosen], num_clear


def _tie_order(num_points: int) -> np.ndarray:
    """Point indices, most preferred first."""
    num_bits = min(_MAX_LANES, 1 << (num_points.bit_length() - 1)).bit_length() - 1
    index = np.arange(num_points)
    lane, reversed_lane = index % (1 << num_bits), np.zeros(num_points, np.int64)
    for bit in range(num_bits):
        reversed_lane |= ((lane >> bit) & 1) << (num_bits - 1 - bit)
    return np.lexsort((index, reversed_lane))


def nearest_neighbours(point_V3: np.ndarray, anchor_S: np.ndarray, num: int) -> np.ndarray:
    """The `num` points nearest to each anchor in float64, shape (S, num); lower indices first at equal distances."""
    points = point_V3.astype(np.float64)
    unique_S, inverse_S = np.unique(anchor_S, return_inverse=True)  # a mesh of equal points repeats one anchor
    tree = cKDTree(points)
    distance_SK, nearest_SK = tree.query(points[unique_S], k=num + 1)  # infinite where there are no more points
    nearest_SK = nearest_SK[:, :num]
    for row in np.flatnonzero(distance_SK[:, num - 1] == distance_SK[:, num]):
        squared_V = np.square(points - points[unique_S[row]]).sum(-1)
        nearest_SK[row] = np.argsort(squared_V, kind="stable")[:num]
    return nearest_SK[inverse_S]


def _rounded_neighbours(point_V3: np.ndarray, anchor_S: np.ndarray, num: int) -> np.ndarray:
    """The same by the expanded square in float32, in no particular order."""
    points = torch.from_numpy(point_V3)
    chosen = points[torch.from_numpy(anchor_S)]
    squared_SV = -2 * (chosen @ points.T)
    squared_SV += (chosen**2).sum(-1)[:, None]
    squared_SV += (points**2).sum(-1)[None]
    return squared_SV.topk(num, dim=-1, largest=False, sorted=False).indices.numpy()
