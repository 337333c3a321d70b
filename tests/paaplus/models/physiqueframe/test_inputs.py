from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.inputs import BONES, JOINTS, adjacency, heatmaps, letterbox, normalise


def test_heatmap_is_a_spot_of_13_cells_around_the_joint():
    heatmap_JMM, weight_J = heatmaps(np.array([[112.0, 70.0]]), 224, 64)  # 3.5 pixels a cell: column 32, row 20
    assert weight_J.tolist() == [1.0]
    assert heatmap_JMM[0, 20, 32] == 1.0
    assert heatmap_JMM[0, 20, 34] == pytest.approx(np.exp(-4 / 8))
    assert heatmap_JMM[0, 26, 38] == pytest.approx(np.exp(-72 / 8))
    assert heatmap_JMM[0, 27, 32] == 0
    assert (heatmap_JMM[0] > 0).sum() == 13 * 13


def test_heatmap_is_cut_at_the_border_and_empty_outside():
    points = np.array([[0.0, 0.0], [600.0, 50.0], [50.0, -100.0]])
    heatmap_JMM, weight_J = heatmaps(points, 224, 64)
    assert weight_J.tolist() == [1.0, 0.0, 0.0]
    assert (heatmap_JMM[0] > 0).sum() == 7 * 7
    assert not heatmap_JMM[1:].any()


def test_joints_are_cut_to_whole_pixels():
    ours, _ = heatmaps(np.array([[5.9, 5.9]]), 224, 64)
    whole, _ = heatmaps(np.array([[5.0, 5.0]]), 224, 64)
    rounded, _ = heatmaps(np.array([[6.0, 6.0]]), 224, 64)
    assert np.array_equal(ours, whole)
    assert not np.array_equal(ours, rounded)


def test_heatmaps_refuse_joints_that_are_not_finite():
    with pytest.raises(InvalidInput, match="not finite"):
        heatmaps(np.array([[np.nan, 3.0]]), 224, 64)


def test_adjacency_has_17_bones_both_ways():
    matrix_JJ = adjacency()
    assert len(JOINTS) == 15
    assert len(set(BONES)) == 17
    assert torch.equal(matrix_JJ, matrix_JJ.T)
    assert matrix_JJ.sum() == 34
    assert matrix_JJ.trace() == 0
    assert matrix_JJ[JOINTS.index("neck"), JOINTS.index("eyes")] == 1


def test_letterbox_pads_a_tall_photograph_left_and_right():
    pixel_3SS, place = letterbox(Image.new("RGB", (101, 200), "white"), 224)
    assert pixel_3SS.shape == (3, 224, 224)
    width = int(101 * 224 / 200)  # 113: one more column of black on the right
    assert pixel_3SS[0, 100].nonzero().flatten().tolist() == list(range(55, 55 + width))
    assert place.to_square([[0, 0], [101, 200]]).flatten().tolist() == pytest.approx([55, 0, 168, 224])


def test_letterbox_stretches_when_squash_is_asked_for():
    pixel_3SS, place = letterbox(Image.new("RGB", (100, 200), "white"), 56, squash=True)
    assert pixel_3SS.min() > 0.999
    assert place.to_square([[100, 200]]).flatten().tolist() == pytest.approx([56, 56])


def test_letterbox_puts_pixels_where_it_says_they_are():
    image = Image.new("RGB", (300, 150))
    image.paste("white", (198, 78, 203, 83))  # around (200.5, 80.5)
    pixel_3SS, place = letterbox(image, 224)
    light = pixel_3SS[0].double().numpy()
    centre = np.arange(224) + 0.5
    seen = np.array([(light.sum(0) * centre).sum(), (light.sum(1) * centre).sum()]) / light.sum()
    assert place.to_square([[200.5, 80.5]])[0] == pytest.approx(seen, abs=0.25)


def test_letterbox_refuses_a_photograph_that_vanishes():
    with pytest.raises(InvalidInput, match="1 x 1000"):
        letterbox(Image.new("RGB", (1, 1000)), 224)


def test_normalise_uses_imagenet_statistics():
    pixel = normalise(torch.tensor([0.485, 0.456 + 0.224, 0.406]).view(3, 1, 1))
    assert pixel.flatten().tolist() == pytest.approx([0, 1, 0], abs=1e-6)
