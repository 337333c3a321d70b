"""Write a synthetic miniature in the layout of PhysiqueAA50K: drawn figures whose build and pose decide their scores.

It contains no photograph and no real person. It is for testing that reading, training and scoring run and learn; it
shows nothing about people. The same seed writes the same files.

Shape letters: A = aspects, P = preference values.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from paaplus.data.physique.drawn_figure import HEIGHT_PX, WIDTH_PX, Figure, draw_figure, figure_joints, figure_vertices
from paaplus.data.physique.meshes import JOINT_SIZE_PX, CachedBody, write_meshes
from paaplus.models.physiqueframe.network.config import ASPECTS
from paaplus.records import SCORE_MAX, SCORE_MIN

NOTE = """This data set is SYNTHETIC. Its pictures are drawn figures, its scores are computed from how they are drawn,
its experts and users are made up. It has the layout of PhysiqueAA50K so that code can be run, and nothing else.
"""
# Per type: its offset to the common scores of appearance, health and posture, and its answers to the survey.
TYPES: dict[str, tuple[tuple[float, float, float], tuple[int, int, int]]] = {
    "ISFJ": ((0.0, 0.0, 0.0), (1, 1, 1)),
    "ESFJ": ((0.8, 0.3, -0.4), (1, 1, -1)),
    "ISTJ": ((-0.6, 0.5, 0.6), (-1, -1, 1)),
}
NOISE_SD = 0.25  # of a score, in score points
_VAL_SHARE = 0.25


def write_miniature(root: Path, num_images: int = 320, num_vertices: int = 10_475, seed: int = 0) -> None:
    """Write the whole data set: pictures, meshes, and the CSV files of every split and type.

    Args:
        root: folder to write into; created if needed.
        num_images: pictures; one quarter of them, the same in every split, is for validation.
        num_vertices: points of every mesh, by default as in SMPL-X; fewer make tests fast.
        seed: of all random numbers.
    """
    rng = np.random.default_rng(seed)
    figures = {f"synthetic_{n:05d}.png": Figure.draw_from(rng) for n in range(num_images)}
    (root / "images").mkdir(parents=True, exist_ok=True)
    for image, figure in figures.items():
        draw_figure(figure).save(root / "images" / image)
    write_meshes(root / "meshes", _bodies(figures, num_vertices))
    validation = set(rng.permutation(list(figures))[: round(_VAL_SHARE * num_images)].tolist())
    for name, (offset_A, answers) in TYPES.items():
        for folder in (f"pretrain/{name}", f"finetune/{name}", f"user/{name}"):
            _write_rows(root / folder, figures, validation, np.array(offset_A), answers, rng)
    _write_rows(root / "pretrain", figures, validation, np.zeros(len(ASPECTS)), (1, 1, 1), rng)
    (root / "SYNTHETIC.txt").write_text(NOTE, encoding="utf-8")


def common_scores(figure: Figure) -> np.ndarray:
    """The common scores of a figure, shape (A,), not yet clipped to 0-10: the rule that a model has to find.

    Appearance rises with wide shoulders, a slim waist and long legs; health with a light build; posture with an upright
    head and trunk.
    """
    appearance = 5.0 + 16.0 * (figure.shoulder_width - figure.waist_width - 0.495) + 8.0 * (figure.leg_share - 0.5)
    health = 9.0 - 7.0 * figure.girth
    posture = 9.0 - 6.5 * figure.stoop - 5.0 * abs(figure.lean)
    return np.array([appearance, health, posture])


def _write_rows(
    folder: Path,
    figures: Mapping[str, Figure],
    validation: set[str],
    offset_A: np.ndarray,
    answers: tuple[int, int, int],
    rng: np.random.Generator,
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    header = ("pic_name", *(f"score_{aspect}" for aspect in ASPECTS), "preference_score_list", "bmi", "people_answer")
    for part in ("train", "val"):
        with (folder / f"{part}.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream)
            writer.writerow(header)
            for image, figure in figures.items():
                if (image in validation) == (part == "val"):
                    preference_P = np.clip(rng.normal(0.5, 0.15, 5), 0, 1).round(3)
                    # each preference value shifts one score, so that the heads have something to learn from it
                    score_A = common_scores(figure) + offset_A + 2.0 * (preference_P[:3] - 0.5)
                    score_A = np.clip(score_A + rng.normal(0, NOISE_SD, len(ASPECTS)), SCORE_MIN, SCORE_MAX)
                    bmi = 16.0 + 20.0 * figure.girth
                    writer.writerow(
                        [image, *score_A.round(2), json.dumps(preference_P.tolist()), f"{bmi:.1f}", json.dumps(answers)]
                    )


def _bodies(figures: Mapping[str, Figure], num_vertices: int) -> Iterator[tuple[str, CachedBody]]:
    scale = JOINT_SIZE_PX / max(WIDTH_PX, HEIGHT_PX)
    offset_2 = (JOINT_SIZE_PX - scale * np.array([WIDTH_PX, HEIGHT_PX])) / 2
    for image, figure in figures.items():
        joints_K2 = np.trunc(figure_joints(figure) * scale + offset_2)
        yield image, CachedBody(figure_vertices(figure, num_vertices), joints_K2.astype(np.float32))
