"""The network's inputs from a photograph and its joints: letterboxed pixels, heat maps and the skeleton's edges.

Shape letters: J = joints, M = cells of a heat map's side, S = pixels of a side, H, W = photograph. Joints are (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from paaplus.errors import InvalidInput

NUM_JOINTS = 15
JOINTS = (
    "pelvis", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "neck", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "eyes",
)  # fmt: skip
BONES = (
    (0, 1), (0, 2), (1, 3), (3, 5), (2, 4), (4, 6), (0, 8), (0, 9), (8, 10), (10, 12), (9, 11), (11, 13), (8, 9),
    (0, 7), (7, 14), (7, 8), (7, 9),
)  # fmt: skip
# The edges that the published code reads from its list of pairs by mistake: `Compatibility.misread_skeleton`.
MISREAD_BONES = ((0, 0), (1, 2))

_MEAN_RGB = (0.485, 0.456, 0.406)
_DEVIATION_RGB = (0.229, 0.224, 0.225)
_SIGMA = 2  # of a joint's spot on the heat map, cells
_REACH = 3 * _SIGMA


@dataclass(frozen=True)
class Letterbox:
    """The position of a photograph in the network's square: scaled, then shifted by whole pixels."""

    scale_x: float
    scale_y: float
    left_px: int
    top_px: int

    def to_square(self, point_J2: np.ndarray) -> np.ndarray:
        """Points in pixels of the photograph as pixels of the square, shape (J, 2), float64."""
        return np.asarray(point_J2, np.float64) * (self.scale_x, self.scale_y) + (self.left_px, self.top_px)


def letterbox(image: Image.Image, size_px: int, squash: bool = False) -> tuple[Tensor, Letterbox]:
    """A photograph padded with black to a square, as in the published training: pixels (3, S, S), 0-1, and position.

    Args:
        image: an upright photograph of any size.
        size_px: S.
        squash: stretch the photograph to the square instead (`Compatibility.squash_image`).

    Raises:
        InvalidInput: the photograph is so long and thin that its short side would have no pixel.
    """
    width_px, height_px = image.size
    scale = size_px / max(width_px, height_px)
    to_width, to_height = (size_px, size_px) if squash else (int(width_px * scale), int(height_px * scale))
    if min(to_width, to_height) < 1:
        raise InvalidInput(f"photograph of {width_px} x {height_px} pixels: too long and thin for a square")
    pixel_3HW = torch.from_numpy(np.array(image.convert("RGB"), np.float32) / 255).permute(2, 0, 1)
    # Without anti-aliasing, as in the training of the published weights.
    pixel_3HW = functional.interpolate(pixel_3HW[None], (to_height, to_width), mode="bilinear", antialias=False)[0]
    left_px, top_px = (size_px - to_width) // 2, (size_px - to_height) // 2
    margins = (left_px, size_px - to_width - left_px, top_px, size_px - to_height - top_px)
    place = Letterbox(to_width / width_px, to_height / height_px, left_px, top_px)
    return functional.pad(pixel_3HW, margins), place


def normalise(pixel_3SS: Tensor) -> Tensor:
    """Pixels 0-1, any leading axes, normalised by ImageNet's mean and deviation, which the CLIP branch uses too."""
    mean, deviation = (torch.tensor(value).view(3, 1, 1) for value in (_MEAN_RGB, _DEVIATION_RGB))
    return (pixel_3SS - mean) / deviation


def heatmaps(joint_J2: np.ndarray, size_px: int, num_cells: int) -> tuple[np.ndarray, np.ndarray]:
    """A Gaussian spot per joint, shape (J, M, M), float32, and weights (J,): 0 for a spot outside the map.

    Args:
        joint_J2: pixels of the square; truncated to whole pixels, as in training.
        size_px: S.
        num_cells: M.

    Raises:
        InvalidInput: a coordinate is not finite.
    """
    if not np.isfinite(joint_J2).all():
        raise InvalidInput("coordinates of joints are not finite")
    whole_J2 = np.trunc(np.asarray(joint_J2, np.float64))
    centre_J2 = np.trunc(whole_J2 / (size_px / num_cells) + 0.5)
    offset_JM2 = np.arange(num_cells, dtype=np.float64)[None, :, None] - centre_J2[:, None]
    x_JM, y_JM = np.where(np.abs(offset_JM2) <= _REACH, offset_JM2**2, np.inf).transpose(2, 0, 1)
    heatmap_JMM = np.exp(((y_JM[:, :, None] + x_JM[:, None, :]) / (-2 * _SIGMA**2)).astype(np.float32))
    # As in training, a spot that ends directly before the first cell counts as inside.
    inside_J2 = (centre_J2 - _REACH < num_cells) & (centre_J2 + _REACH + 1 >= 0)
    return heatmap_JMM, np.logical_and(inside_J2[:, 0], inside_J2[:, 1]).astype(np.float32)


def adjacency(bones: tuple[tuple[int, int], ...] = BONES, num_joints: int = NUM_JOINTS) -> Tensor:
    """Bones as a symmetric 0/1 matrix, shape (J, J), float32."""
    matrix_JJ = torch.zeros(num_joints, num_joints)
    for first, second in bones:
        matrix_JJ[first, second] = matrix_JJ[second, first] = 1
    return matrix_JJ
