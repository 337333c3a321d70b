from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from paaplus.data.physique.dataset import PhysiqueDataset, collate_rated
from paaplus.data.physique.meshes import CachedBody, MeshStore, write_meshes
from paaplus.data.physique.reader import read_split
from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.network.config import tiny_config
from tests.paaplus.data.physique.physique_folder import row, write_physique

CONFIG = tiny_config()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """a.png is twice as wide as high, and has a body; b.png has none."""
    write_physique(tmp_path, [row("a.png"), row("b.png", "4,5,6")], [row("c.png")])
    noise = np.random.default_rng(0).integers(0, 256, (56, 112, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "images" / "a.png")
    joints = np.random.default_rng(1).integers(60, 160, (15, 2)).astype(np.float32)
    vertices = np.random.default_rng(2).normal(size=(64, 3)).astype(np.float32)
    write_meshes(tmp_path / "meshes", [("a.png", CachedBody(vertices, joints))])
    return tmp_path


def test_sample_is_letterboxed_and_joints_go_with_it(root: Path) -> None:
    with MeshStore(root / "meshes") as store:
        data = PhysiqueDataset(read_split(root, "expert")[0], store, CONFIG)
        sample = data[0]
        stored = store.get("a.png")
    assert stored is not None
    assert sample.sample.pixel_3SS.shape == (3, 56, 56)
    assert sample.sample.pixel_3SS[:, :14].max() == 0  # 112 x 56 becomes 56 x 28, in the middle
    assert sample.sample.pixel_3SS[:, 14:42].min(dim=0).values.max() > 0
    np.testing.assert_allclose(sample.sample.joints_K2, stored.joints_K2 / 4)
    assert sample.truth_A.tolist() == [1, 2.5, 10]


def test_picture_is_turned_upright_by_its_exif_orientation(root: Path) -> None:
    path = root / "images" / "a.png"
    upright = PhysiqueDataset(read_split(root, "expert")[0], None, CONFIG)[0].sample.pixel_3SS
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
    note = Image.Exif()
    note[0x0112] = 6  # rotate by 90 degrees to the right
    turned.save(path, exif=note)
    sample = PhysiqueDataset(read_split(root, "expert")[0], None, CONFIG)[0].sample.pixel_3SS
    assert torch.equal(sample, upright)


def test_flip_moves_joints_and_mesh_with_the_pixels(root: Path) -> None:
    with MeshStore(root / "meshes") as store:
        sample = PhysiqueDataset(read_split(root, "expert")[0], store, CONFIG)[0].sample
    mirror = sample.flipped()
    left_wrist, right_wrist = 12, 13
    for here, there in ((left_wrist, right_wrist), (0, 0), (14, 14)):
        x, y = np.trunc(sample.joints_K2[here]).astype(int)
        flipped_x, flipped_y = (int(v) for v in (55 - x, y))
        assert torch.equal(sample.pixel_3SS[:, y, x], mirror.pixel_3SS[:, flipped_y, flipped_x])
        assert mirror.joints_K2[there].tolist() == pytest.approx([55 - sample.joints_K2[here][0], y], abs=1)
    np.testing.assert_array_equal(mirror.vertices_V3, sample.vertices_V3 * [-1, 1, 1])
    again = mirror.flipped()
    assert torch.equal(again.pixel_3SS, sample.pixel_3SS)
    np.testing.assert_allclose(again.joints_K2, sample.joints_K2)


def test_batch_says_which_images_have_a_body(root: Path) -> None:
    with MeshStore(root / "meshes") as store:
        data = PhysiqueDataset(read_split(root, "expert")[0], store, CONFIG)
        batch = collate_rated([data[0], data[1]], CONFIG)
    assert batch.inputs.posture is not None
    assert batch.inputs.mesh is not None
    assert batch.inputs.posture.present_B.tolist() == [True, False]
    assert batch.inputs.posture.weight_BJ[1].sum() == 0
    assert batch.inputs.mesh.present_B.tolist() == [True, False]
    assert batch.truth_BA.tolist() == [[1, 2.5, 10], [4, 5, 6]]
    without = PhysiqueDataset(data.rows, None, CONFIG)
    empty = collate_rated([without[0], without[1]], CONFIG).inputs
    assert (empty.posture, empty.mesh) == (None, None)
    assert torch.equal(empty.image, batch.inputs.image)


def test_error_names_file_line_and_image_when_one_is_broken(root: Path) -> None:
    (root / "images" / "b.png").write_bytes(b"no image")
    data = PhysiqueDataset(read_split(root, "expert")[0], None, CONFIG)
    with pytest.raises(InvalidInput, match=r"train\.csv, line 3: b\.png: not a JPEG"):
        data[1]


def test_meshes_of_different_sizes_are_refused_in_one_batch(root: Path) -> None:
    joints = np.zeros((15, 2), np.float32)
    points = np.random.default_rng(0).normal(size=(64, 3))
    bodies = [("a.png", CachedBody(points[:32], joints)), ("b.png", CachedBody(points, joints))]
    write_meshes(root / "meshes", bodies)
    with MeshStore(root / "meshes") as store:
        data = PhysiqueDataset(read_split(root, "expert")[0], store, CONFIG)
        with pytest.raises(InvalidInput, match=r"\[32, 64\] vertices"):
            collate_rated([data[0], data[1]], CONFIG)
