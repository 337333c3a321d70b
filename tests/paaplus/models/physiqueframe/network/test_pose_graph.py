from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from paaplus.models.physiqueframe.inputs import adjacency
from paaplus.models.physiqueframe.network.config import tiny_config
from paaplus.models.physiqueframe.network.pose_graph import (
    PoseGraph,
    ProposalGenerator,
    bilinear_matrix,
    encode_grid,
    encode_points,
    hidden_joints,
    normalised_adjacency,
)


@pytest.fixture(scope="module")
def graph() -> PoseGraph:
    torch.manual_seed(0)
    return PoseGraph(tiny_config().graph, num_channels=20, map_side=6, heatmap_size=16).eval()


def graph_inputs(num_images: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "map_BCHW": torch.randn(num_images, 20, 6, 6, generator=generator),
        "heatmap_BJSS": torch.rand(num_images, 15, 16, 16, generator=generator),
        "weight_BJ": torch.ones(num_images, 15),
        "adjacency_BJJ": adjacency().expand(num_images, -1, -1),
    }


@pytest.mark.parametrize(("num_out", "num_in"), [(64, 14), (16, 6), (5, 7)])
def test_bilinear_matrix_is_what_interpolate_does(num_out, num_in):
    matrix = torch.from_numpy(bilinear_matrix(num_out, num_in))
    identity = torch.eye(num_in)[None]
    expected = functional.interpolate(identity, num_out, mode="linear", align_corners=False)[0].T
    torch.testing.assert_close(matrix, expected, atol=1e-6, rtol=0)


def test_look_is_the_weighted_mean_of_the_enlarged_map(graph):
    given = graph_inputs()
    large = functional.interpolate(given["map_BCHW"], (16, 16), mode="bilinear", align_corners=False)
    share = given["heatmap_BJSS"] / given["heatmap_BJSS"].sum((-2, -1), keepdim=True)
    expected = torch.einsum("bjhw,bchw->bjc", share, large)
    found = graph.joint_features(given["map_BCHW"], given["heatmap_BJSS"], given["weight_BJ"])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_point_encoding_is_y_first_sine_and_cosine_in_turns():
    encoding = encode_points(torch.tensor([[[0.25, 0.5]]]), 8)[0, 0]
    y, x = math.pi, math.pi / 2
    expected = [math.sin(y), math.cos(y), math.sin(y / 100), math.cos(y / 100)]
    expected += [math.sin(x), math.cos(x), math.sin(x / 100), math.cos(x / 100)]
    assert encoding.tolist() == pytest.approx(expected, abs=1e-6)


def test_grid_encoding_counts_cells_from_one():
    encoding = encode_grid(2, 3, 8, torch.device("cpu"))
    assert encoding.shape == (6, 8)
    y, x = 2 * 2 * math.pi / 2, 1 * 2 * math.pi / 3  # second row, first column
    assert encoding[3, 0] == pytest.approx(math.sin(y), abs=1e-5)
    assert encoding[3, 4] == pytest.approx(math.sin(x), abs=1e-5)


def test_adjacency_divides_rows_and_leaves_hidden_joints_out():
    edges = torch.tensor([[[0.0, 1, 1], [1, 0, 0], [1, 0, 0]]])
    kernels = normalised_adjacency(edges, torch.tensor([[False, False, False]]))
    assert kernels[0, 0].tolist() == torch.eye(3).tolist()
    assert kernels[0, 1].tolist() == [[0, 0.5, 0.5], [1, 0, 0], [1, 0, 0]]
    kernels = normalised_adjacency(edges, torch.tensor([[False, True, False]]))
    assert kernels[0, 0].diagonal().tolist() == [1, 0, 1]
    assert kernels[0, 1].tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_first_joint_is_seen_when_all_are_out_of_frame():
    hidden_BJ = hidden_joints(torch.tensor([[0.0, 0, 0], [0.0, 1, 0]]))
    assert hidden_BJ.tolist() == [[False, True, True], [True, False, True]]


def test_proposal_is_the_mean_of_the_best_cell_and_its_neighbours():
    torch.manual_seed(0)
    generator = ProposalGenerator(8)
    memory, token = torch.randn(1, 20, 8), torch.randn(1, 2, 8)
    similarity = generator.similarity(memory, token)[0, 0].detach().numpy().reshape(4, 5)
    row, column = np.unravel_index(similarity.argmax(), (4, 5))
    rows = slice(max(row - 1, 0), row + 2)
    columns = slice(max(column - 1, 0), column + 2)
    near = similarity[rows, columns] / similarity[rows, columns].sum()
    y = (near.sum(1) * (np.arange(4)[rows] + 0.5) / 4).sum()
    x = (near.sum(0) * (np.arange(5)[columns] + 0.5) / 5).sum()
    found = generator(memory, token, 4, 5)[0, 0].tolist()
    assert found == pytest.approx([x, y], abs=1e-6)


def test_an_image_is_the_same_in_any_batch_order(graph):
    given = graph_inputs(3)
    given["weight_BJ"][0, 5] = 0  # hidden in the first image only
    order = [2, 0, 1]
    straight = graph(**given).state_LBJD
    turned = graph(**{name: value[order] for name, value in given.items()}).state_LBJD
    torch.testing.assert_close(turned, straight[:, order], atol=1e-5, rtol=0)


def test_a_joint_hidden_in_one_image_changes_no_other(graph):
    given = graph_inputs()
    before = graph(**given).state_LBJD
    given["weight_BJ"][0, 5] = 0
    after = graph(**given).state_LBJD
    assert torch.equal(before[:, 1], after[:, 1])
    assert not torch.allclose(before[:, 0], after[:, 0], atol=1e-3)


def test_an_image_with_all_joints_hidden_has_finite_states(graph):
    given = graph_inputs()
    given["weight_BJ"][1] = 0
    assert graph(**given).state_LBJD.isfinite().all()


def test_points_move_without_gradient_and_stay_inside(graph):
    output = graph(**graph_inputs())
    assert len(output.points) == 3
    assert output.points[0].requires_grad
    for point_BJ2 in output.points[1:]:
        assert not point_BJ2.requires_grad
        assert ((point_BJ2 > 0) & (point_BJ2 < 1)).all()
