from __future__ import annotations

import numpy as np
import pytest

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.geometry import (
    farthest_points,
    mesh_neighbours,
    nearest_neighbours,
)


def cloud(num_points: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_points, 3)).astype(np.float32)


def kernel_farthest_points(point_V3: np.ndarray, num: int) -> list[int]:
    """The CUDA kernel, lane by lane: each lane keeps its first best point, then halves of the lanes are compared."""
    num_points = len(point_V3)
    lanes = min(1024, 2 ** int(np.log2(num_points)))
    nearest = np.full(num_points, 1e10, np.float32)
    chosen = [0]
    while len(chosen) < num:
        nearest = np.minimum(nearest, ((point_V3 - point_V3[chosen[-1]]) ** 2).sum(1))
        best = [max(range(lane, num_points, lanes), key=lambda k: (nearest[k], -k)) for lane in range(lanes)]
        half = lanes // 2
        while half:
            for lane in range(half):
                if nearest[best[lane + half]] > nearest[best[lane]]:
                    best[lane] = best[lane + half]
            half //= 2
        chosen.append(best[0])
    return chosen


def test_farthest_points_are_those_of_the_kernel_on_a_plain_cloud():
    points = cloud(150)
    chosen, num_clear = farthest_points(points, 75)
    assert chosen.tolist() == kernel_farthest_points(points, 75)
    assert num_clear == 75


def test_farthest_points_break_ties_as_the_kernel_does_on_a_grid():
    points = np.stack(np.meshgrid(*[np.arange(5.0)] * 3, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    points = points[np.random.default_rng(1).permutation(len(points))]
    chosen, num_clear = farthest_points(points, 60)
    assert chosen.tolist() == kernel_farthest_points(points, 60)
    assert num_clear < 30


def test_farthest_points_stay_at_the_first_when_all_are_equal():
    chosen, _ = farthest_points(np.zeros((40, 3), np.float32), 20)
    assert chosen.tolist() == [0] * 20


def test_farthest_points_of_an_ordered_set_are_its_beginning_without_ties():
    points = cloud(400)
    chosen, num_clear = farthest_points(points, 200)
    assert num_clear == 200
    again, _ = farthest_points(points[chosen], 100)
    assert again.tolist() == list(range(100))


@pytest.mark.parametrize("mirrored", [False, True])
def test_every_stage_has_the_farthest_points_of_the_stage_before(mirrored):
    points = cloud(301)
    if mirrored:  # ties on the way: the beginning of an ordered set will not do
        points[151:] = points[:150] * (-1, 1, 1)
        points[150, 0] = 0
    mesh = mesh_neighbours(points, num_stages=3, num_neighbours=8)
    for anchor_S in mesh.anchors:
        assert anchor_S.tolist() == kernel_farthest_points(points, len(points) // 2)
        points = points[anchor_S]


def test_neighbours_are_those_of_a_full_search():
    points = cloud(200) + np.float32(40)
    anchors = np.arange(0, 200, 3)
    distance = np.linalg.norm(points[anchors, None].astype(np.float64) - points[None], axis=-1)
    found = nearest_neighbours(points, anchors, 12)
    assert np.array_equal(np.sort(found), np.sort(np.argsort(distance, 1)[:, :12]))


def test_neighbours_of_lower_index_win_when_equally_near():
    points = np.zeros((30, 3), np.float32)
    points[1:, 0] = 1.0  # all as far from the first
    found = nearest_neighbours(points, np.array([0]), 5)
    assert sorted(found[0].tolist()) == [0, 1, 2, 3, 4]


def test_neighbours_include_all_points_when_no_more_are_asked_for():
    assert sorted(nearest_neighbours(cloud(8), np.array([3]), 8)[0].tolist()) == list(range(8))


def test_rounded_search_differs_only_far_from_the_origin():
    points = cloud(600) * np.float32(0.3)
    near = (mesh_neighbours(points, 1, 12), mesh_neighbours(points, 1, 12, rounded=True))
    assert np.array_equal(*(np.sort(mesh.neighbours[0]) for mesh in near))
    away = points + np.array([0, 0, 40], np.float32)
    far = (mesh_neighbours(away, 1, 12), mesh_neighbours(away, 1, 12, rounded=True))
    assert not np.array_equal(*(np.sort(mesh.neighbours[0]) for mesh in far))


def test_neighbours_refuse_bad_meshes():
    with pytest.raises(InvalidInput, match="8 points at least"):
        mesh_neighbours(cloud(15), 2, 8)
    with pytest.raises(InvalidInput, match="not finite"):
        mesh_neighbours(np.full((100, 3), np.nan), 2, 8)
