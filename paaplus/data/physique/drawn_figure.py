"""Drawn human figures: build and pose as numbers, the 15 joints, the picture, and a mesh of the build.

Lengths are shares of the figure's height. Shape letters: K = joints, V = vertices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

WIDTH_PX, HEIGHT_PX = 150, 200
_FIGURE_PX = 170.0  # height of the figure in the picture
_BONES = ((0, 1), (0, 2), (1, 3), (3, 5), (2, 4), (4, 6), (0, 7), (7, 8), (7, 9), (8, 10), (10, 12), (9, 11), (11, 13))
_DISTANCE_M = 38.0  # of the mesh from the camera
_HEIGHT_M = 1.7
_REST_ARM_ANGLE = 0.9


@dataclass(frozen=True)
class Figure:
    """A figure's build (widths, legs, girth), pose (stoop and angles), and position and colours in the picture."""

    shoulder_width: float
    waist_width: float
    leg_share: float  # length of the legs
    girth: float  # 0 thin, 1 stout
    stoop: float  # 0 upright; 1: head between the shoulders, legs apart
    lean: float  # of the trunk to the right, radians
    arm_angle: float  # from the trunk, radians
    shift_px: float  # of the figure from the picture's centre, to the right
    skin: tuple[int, int, int]  # RGB, 0-255
    ground: tuple[int, int, int]  # colour of the background

    @classmethod
    def draw_from(cls, rng: np.random.Generator) -> Figure:
        """A random figure."""
        skin, ground = (tuple(int(v) for v in rng.integers(low, high, 3)) for low, high in ((60, 150), (165, 250)))
        return cls(
            shoulder_width=float(rng.uniform(0.44, 0.84)),
            waist_width=float(rng.uniform(0.10, 0.19)),
            leg_share=float(rng.uniform(0.42, 0.58)),
            girth=float(rng.uniform(0.1, 1.0)),
            stoop=float(rng.uniform(0.0, 1.0)),
            lean=float(rng.uniform(-0.15, 0.15)),
            arm_angle=float(rng.uniform(0.15, 0.5)),
            shift_px=float(rng.uniform(-12, 12)),
            skin=skin,  # type: ignore[arg-type]  # three numbers; the type checker cannot see the length
            ground=ground,  # type: ignore[arg-type]
        )


def figure_joints(figure: Figure) -> np.ndarray:
    """The 15 joints in pixels of the picture (x, y), in the order of `physiqueframe.inputs.JOINTS`, shape (15, 2)."""
    middle_2 = np.array([WIDTH_PX / 2 + figure.shift_px, HEIGHT_PX - 15 - _FIGURE_PX * figure.leg_share])
    return middle_2 + _FIGURE_PX * _skeleton(figure, figure.stoop, figure.lean, figure.arm_angle)


def draw_figure(figure: Figure) -> Image.Image:
    """The picture of a figure, RGB, `WIDTH_PX` x `HEIGHT_PX`."""
    image = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), figure.ground)
    pen = ImageDraw.Draw(image)
    joints_K2 = figure_joints(figure)
    point = [tuple(float(v) for v in joint_2) for joint_2 in joints_K2]
    limb_px = max(2, round(_FIGURE_PX * _limb_radius(figure) * 2))
    for start, end in _BONES:
        pen.line((*point[start], *point[end]), fill=figure.skin, width=limb_px)
    waist_px = _FIGURE_PX * _waist_radius(figure)
    waist_2 = 0.6 * joints_K2[0] + 0.4 * joints_K2[7]
    right_2 = np.array([np.cos(figure.lean), np.sin(figure.lean)])
    trunk = [joints_K2[8], waist_2 + waist_px * right_2, joints_K2[1], joints_K2[2], waist_2 - waist_px * right_2]
    pen.polygon(
        [tuple(float(v) for v in place_2) for place_2 in (*trunk, joints_K2[9], joints_K2[7])], fill=figure.skin
    )
    head_px = _FIGURE_PX * 0.065
    x, y = point[14]
    pen.ellipse((x - head_px, y - head_px, x + head_px, y + head_px), fill=figure.skin)
    return image


def figure_vertices(figure: Figure, num_vertices: int) -> np.ndarray:
    """Points around the bones of the figure in a straight pose, shape (V, 3).

    Like the network's meshes, they are in camera space, in metres, with all signs reversed, and show the build, not the
    pose.
    """
    joints_K2 = _skeleton(figure, stoop=0.0, lean=0.0, arm_angle=_REST_ARM_ANGLE) * _HEIGHT_M
    ends = [(joints_K2[a], joints_K2[b], _limb_radius(figure)) for a, b in _BONES]
    ends += [(joints_K2[0], joints_K2[7], _waist_radius(figure)), (joints_K2[7], joints_K2[14], 0.05)]
    start_V2, end_V2, radius_V = (
        np.array([ends[v % len(ends)][part] for v in range(num_vertices)]) for part in range(3)
    )
    turn_V = np.arange(num_vertices) * 2.399963  # multiples of the golden angle spread the points evenly
    along_V = (np.arange(num_vertices) // len(ends) + 0.5) / (num_vertices // len(ends) + 1)
    middle_V2 = start_V2 + along_V[:, None] * (end_V2 - start_V2)
    around_V = radius_V * _HEIGHT_M
    point_V3 = np.stack(
        [middle_V2[:, 0] + around_V * np.cos(turn_V), middle_V2[:, 1], around_V * np.sin(turn_V) + _DISTANCE_M], axis=1
    )
    return (-point_V3).astype(np.float32)


def _limb_radius(figure: Figure) -> float:
    return 0.012 + 0.022 * figure.girth


def _waist_radius(figure: Figure) -> float:
    return figure.waist_width / 2 + 0.03 * figure.girth


def _skeleton(figure: Figure, stoop: float, lean: float, arm_angle: float) -> np.ndarray:
    """Joints relative to the pelvis (x right, y down), in shares of the height, shape (15, 2)."""
    trunk = (1 - figure.leg_share) * (0.62 - 0.08 * stoop)
    up_2, right_2 = np.array([np.sin(lean), -np.cos(lean)]), np.array([np.cos(lean), np.sin(lean)])
    neck_2 = trunk * up_2
    half = figure.shoulder_width / 4
    joints = np.zeros((15, 2))
    joints[7], joints[14] = neck_2, neck_2 + (0.14 - 0.11 * stoop) * up_2
    arm, leg, leg_angle = 0.17, figure.leg_share / 2, 0.05 + 0.4 * stoop
    for side, sign in ((0, 1.0), (1, -1.0)):  # the figure faces the camera: its left side is on the right
        hip_2 = np.array([sign * 0.055, 0.02])
        shoulder_2 = neck_2 + sign * half * right_2 + np.array([0, 0.015 + 0.04 * stoop])
        down_2 = np.array([sign * np.sin(leg_angle), np.cos(leg_angle)])
        hang_2 = np.array([sign * np.sin(arm_angle), np.cos(arm_angle)])
        joints[1 + side], joints[3 + side], joints[5 + side] = hip_2, hip_2 + leg * down_2, hip_2 + 1.9 * leg * down_2
        joints[8 + side] = shoulder_2
        joints[10 + side], joints[12 + side] = shoulder_2 + arm * hang_2, shoulder_2 + 1.9 * arm * hang_2
    return joints
