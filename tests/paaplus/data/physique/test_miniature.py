from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from paaplus.data.physique.drawn_figure import HEIGHT_PX, WIDTH_PX, Figure, draw_figure, figure_joints, figure_vertices
from paaplus.data.physique.meshes import MeshStore
from paaplus.data.physique.miniature import NOISE_SD, common_scores, write_miniature
from paaplus.data.physique.reader import SPLIT_FOLDERS, person_types, read_split, validate


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("miniature")
    write_miniature(root, num_images=24, num_vertices=64, seed=3)
    return root


def test_miniature_is_valid_complete_and_marked_as_synthetic(miniature: Path) -> None:
    assert validate(miniature) == (24 * 10, [])  # three types in three splits, and the experts together
    for split in SPLIT_FOLDERS:
        assert person_types(miniature, split) == ("ESFJ", "ISFJ", "ISTJ")
        train, val = read_split(miniature, split, "ISTJ")
        assert (len(train), len(val)) == (18, 6)
        assert not set(train.images) & set(val.images)
    assert all(path.name.startswith("synthetic_") for path in (miniature / "images").iterdir())
    assert "SYNTHETIC" in (miniature / "SYNTHETIC.txt").read_text()
    with MeshStore(miniature / "meshes") as store:
        assert len(store) == 24


def test_the_same_seed_writes_the_same_files(miniature: Path, tmp_path: Path) -> None:
    write_miniature(tmp_path / "again", num_images=24, num_vertices=64, seed=3)
    write_miniature(tmp_path / "other", num_images=24, num_vertices=64, seed=4)
    files = sorted(path.relative_to(miniature) for path in miniature.rglob("*") if path.is_file())
    assert all((tmp_path / "again" / file).read_bytes() == (miniature / file).read_bytes() for file in files)
    assert (tmp_path / "other" / "pretrain" / "train.csv").read_bytes() != (
        miniature / "pretrain" / "train.csv"
    ).read_bytes()


def test_build_and_pose_decide_the_scores() -> None:
    rng = np.random.default_rng(0)
    figures = [Figure.draw_from(rng) for _ in range(200)]
    score_NA = np.array([common_scores(figure) for figure in figures])
    assert score_NA.min() > 0 - 1
    assert score_NA.max() < 10 + 1
    causes = {0: [f.shoulder_width for f in figures], 1: [-f.girth for f in figures], 2: [-f.stoop for f in figures]}
    for aspect, cause in causes.items():
        assert stats.spearmanr(cause, score_NA[:, aspect]).statistic > 0.85
    assert (score_NA.std(axis=0) > 5 * NOISE_SD).all()


def test_experts_differ_in_their_scores(miniature: Path) -> None:
    means = {name: read_split(miniature, "expert", name)[0].score_NA.mean(axis=0) for name in ("ESFJ", "ISTJ")}
    # asked 0.8 and -0.6 more of appearance; preferences of standard deviation 0.15 move each score by 0.3
    assert means["ESFJ"][0] - means["ISTJ"][0] == pytest.approx(1.4, abs=0.45)


def test_picture_joints_and_mesh_show_one_figure() -> None:
    figure = Figure.draw_from(np.random.default_rng(1))
    pixels = np.asarray(draw_figure(figure), int)
    assert pixels.shape == (HEIGHT_PX, WIDTH_PX, 3)
    joints = figure_joints(figure)
    for x, y in joints[[0, 3, 4, 7, 14]].round().astype(int):
        assert pixels[y, x].tolist() == list(figure.skin)
    assert pixels[0, 0].tolist() == list(figure.ground)
    assert joints[8, 0] > joints[9, 0]  # it faces us: its left is on our right
    stout, thin = (figure_vertices(_with_girth(figure, girth), 300) for girth in (1.0, 0.0))
    assert stout.shape == (300, 3)
    assert np.ptp(stout[:, 2]) > np.ptp(thin[:, 2])
    assert stout[:, 2].mean() == pytest.approx(-38, abs=0.1)


def _with_girth(figure: Figure, girth: float) -> Figure:
    return Figure(**{**vars(figure), "girth": girth})
