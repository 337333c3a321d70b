"""The default person detector: the two networks of BlazePose, run by LiteRT without the package MediaPipe.

The weights are in the wheel of MediaPipe 0.10.21 (Apache-2.0), which needs numpy < 2 and is therefore never imported.
Its two .tflite files are read from the wheel, from a folder, or from an installed copy (`docs/weights.md`).

Shape letters: A = anchors, H, W = input size, L = landmarks.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.special import expit

from paaplus.errors import InvalidInput, Unavailable
from paaplus.ids import sha256_hex
from paaplus.models.physiqueframe.body.person import NUM_LANDMARKS, Person, person_from_landmarks

WHEEL_PATTERN = "mediapipe-0.10.21-*.whl"
_FILES = {
    "modules/pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "modules/pose_landmark/pose_landmark_full.tflite": (
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f"
    ),
}
_DETECTION_PX, _LANDMARK_PX = 224, 256
_ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))  # (cells per side, anchors per cell)
_MIN_SCORE = 0.5  # of detection and landmarks, as in MediaPipe
_MAX_OVERLAP = 0.3
_ROI_SCALE = 1.25


@dataclass(frozen=True, eq=False)
class _Detection:
    """A detected person. Coordinates are shares of the photo's longer side, in the square padded around the photo."""

    score: float
    box: np.ndarray  # left, top, right, bottom
    middle_2: np.ndarray  # the point between the hips
    rim_2: np.ndarray  # a point above the head, on the circle around the whole body


class BlazePose:
    """`PersonDetector`: finds people, then their 33 landmarks."""

    def __init__(self, weights: Path | None = None) -> None:
        """Load the networks.

        Args:
            weights: MediaPipe's wheel, or a folder with the wheel or with the two .tflite files; None: an installed
                MediaPipe 0.10.21.

        Raises:
            Unavailable: LiteRT is not installed or the files are missing.
            InvalidInput: the files are not those of MediaPipe 0.10.21.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise Unavailable(f"LiteRT is not installed: pip install 'paaplus[pose]' ({error})") from error
        contents = _read_files(weights)
        self.digest = sha256_hex("".join(_FILES.values()).encode())
        self._detection, self._landmarks = (_Network(Interpreter, content) for content in contents)
        self._anchor_A2 = _anchors()

    def find(self, photo: Image.Image) -> list[Person]:
        """The people whose landmarks are found, the highest detection score first."""
        people = []
        for detection in self._detect(photo):
            person = self._person(photo, detection)
            if person is not None:
                people.append(person)
        return people

    def _detect(self, photo: Image.Image) -> list[_Detection]:
        side_px = max(photo.size)
        square = Image.new("RGB", (side_px, side_px))
        square.paste(photo, ((side_px - photo.width) // 2, (side_px - photo.height) // 2))
        pixel_HW3 = np.asarray(square.resize((_DETECTION_PX, _DETECTION_PX), Image.Resampling.BILINEAR), np.float32)
        raw_A12, logit_A1 = self._detection.run(pixel_HW3 / 127.5 - 1)
        score_A = expit(logit_A1[:, 0])
        point_A62 = raw_A12.reshape(-1, 6, 2) / _DETECTION_PX
        point_A62[:, [0, 2, 3, 4, 5]] += self._anchor_A2[
            :, None
        ]  # all but width and height are relative to their anchor
        kept: list[_Detection] = []
        for a in sorted(np.flatnonzero(score_A >= _MIN_SCORE), key=lambda a: -score_A[a]):
            middle_2, size_2 = point_A62[a, 0], point_A62[a, 1]
            box = np.concatenate([middle_2 - size_2 / 2, middle_2 + size_2 / 2])
            if all(_overlap(box, other.box) < _MAX_OVERLAP for other in kept):
                kept.append(_Detection(float(score_A[a]), box, point_A62[a, 2], point_A62[a, 3]))
        return kept

    def _person(self, photo: Image.Image, detection: _Detection) -> Person | None:
        """The person in an upright square around a detection; None if the landmark network finds nobody in it."""
        side_px = max(photo.size)
        corner_2 = np.array([(side_px - photo.width) // 2, (side_px - photo.height) // 2])
        middle_2 = detection.middle_2 * side_px - corner_2
        up_2 = detection.rim_2 * side_px - corner_2 - middle_2
        radius_px = float(np.linalg.norm(up_2))
        if radius_px < 1:
            return None
        down_2 = -up_2 / radius_px
        right_2 = np.array([down_2[1], -down_2[0]])
        # photo = corner + x * right + y * down, for x and y in 0-1 over the square
        edge_px = 2 * _ROI_SCALE * radius_px
        frame_22 = edge_px * np.stack([right_2, down_2], axis=1)
        origin_2 = middle_2 - frame_22.sum(axis=1) / 2
        step_22 = frame_22 / _LANDMARK_PX
        affine = (step_22[0, 0], step_22[0, 1], origin_2[0], step_22[1, 0], step_22[1, 1], origin_2[1])
        size = (_LANDMARK_PX, _LANDMARK_PX)
        cut = photo.transform(size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        landmark_5, presence, *_ = self._landmarks.run(np.asarray(cut, np.float32) / 255)
        confidence = float(presence.reshape(()))
        if confidence < _MIN_SCORE:
            return None
        number_L5 = landmark_5.reshape(-1, 5)[:NUM_LANDMARKS].astype(np.float64)
        place_L2 = number_L5[:, :2] / _LANDMARK_PX @ frame_22.T + origin_2
        visibility_L = expit(np.minimum(number_L5[:, 3], number_L5[:, 4]))
        return person_from_landmarks(place_L2, visibility_L, min(confidence, 1.0))


class _Network:
    """One .tflite network; outputs in the order of the file, without the batch dimension."""

    def __init__(self, interpreter: Any, content: bytes) -> None:
        self._interpreter = interpreter(model_content=content, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = [detail["index"] for detail in self._interpreter.get_output_details()]

    def run(self, pixel_HW3: np.ndarray) -> list[np.ndarray]:
        self._interpreter.set_tensor(self._input, np.ascontiguousarray(pixel_HW3, np.float32)[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output)[0] for output in self._outputs]


def _anchors() -> np.ndarray:
    """Centres of the detector's cells, as shares of the input's side, shape (2254, 2)."""
    grids = []
    for side, per_cell in _ANCHOR_GRIDS:
        y_S, x_S = np.divmod(np.arange(side * side), side)
        grids.append(np.repeat((np.stack([x_S, y_S], axis=1) + 0.5) / side, per_cell, axis=0))
    return np.concatenate(grids)


def _overlap(box: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    size_2 = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = float(np.prod(np.maximum(size_2, 0)))
    total = float(np.prod(box[2:] - box[:2]) + np.prod(other[2:] - other[:2])) - shared
    return shared / total if total > 0 else 0.0


def _read_files(weights: Path | None) -> list[bytes]:
    contents = []
    for name, sha256 in _FILES.items():
        content = _read_file(weights, name)
        if content is None:
            raise Unavailable(
                f"the person detector's {name.rsplit('/', 1)[1]} is not "
                + (f"in {weights}" if weights else "installed")
                + ": pip download --no-deps mediapipe==0.10.21 -d DIR, and name DIR"
            )
        if sha256_hex(content) != sha256:
            raise InvalidInput(f"{name} of {weights or 'the installed mediapipe'} is not that of MediaPipe 0.10.21")
        contents.append(content)
    return contents


def _read_file(weights: Path | None, name: str) -> bytes | None:
    if weights is None:
        spec = find_spec("mediapipe")
        folders = [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
        return next(((folder / name).read_bytes() for folder in folders if (folder / name).is_file()), None)
    if weights.is_dir():
        plain = weights / name.rsplit("/", 1)[1]
        if plain.is_file():
            return plain.read_bytes()
        wheels = sorted(weights.glob(WHEEL_PATTERN))
        if not wheels:
            return None
        weights = wheels[0]
    try:
        with zipfile.ZipFile(weights) as wheel:
            return wheel.read(f"mediapipe/{name}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{weights} is not a wheel of MediaPipe: {error}") from error
