from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import InvalidInput, Unavailable
from paaplus.models.physiqueframe.body.blazepose import BlazePose
from paaplus.models.physiqueframe.body.person import PersonStatus, choose_person

pytest.importorskip("ai_edge_litert", reason="LiteRT (extra `pose`) is not installed")
WEIGHTS = os.environ.get("PAAPLUS_TEST_POSE_WEIGHTS", "")


@pytest.fixture(scope="module")
def detector() -> BlazePose:
    try:
        return BlazePose(Path(WEIGHTS) if WEIGHTS else None)
    except Unavailable:
        pytest.skip("PAAPLUS_TEST_POSE_WEIGHTS names no wheel of mediapipe 0.10.21, and none is installed")


@pytest.fixture(scope="module")
def astronaut() -> Image.Image:
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.astronaut())


def test_landmarks_lie_on_the_face_and_shoulders_when_a_person_is_there(
    detector: BlazePose, astronaut: Image.Image
) -> None:
    choice = choose_person(detector.find(astronaut), astronaut)
    assert choice.status is PersonStatus.FOUND
    assert choice.person is not None
    assert choice.person.joints_K2 is not None
    # read off the photograph: between her eyes, and her shoulders (her left is on the right)
    eyes, left_shoulder, right_shoulder = choice.person.joints_K2[[14, 8, 9]]
    assert eyes.tolist() == pytest.approx([225, 112], abs=15)
    assert left_shoulder.tolist() == pytest.approx([340, 250], abs=60)
    assert right_shoulder.tolist() == pytest.approx([120, 250], abs=60)


def test_joints_move_with_the_person_when_the_photo_is_turned_or_padded(
    detector: BlazePose, astronaut: Image.Image
) -> None:
    (upright, *_), padded = detector.find(astronaut), Image.new("RGB", (900, 512), "gray")
    padded.paste(astronaut, (300, 0))
    (shifted, *_) = detector.find(padded)
    (turned, *_) = detector.find(astronaut.rotate(20, Image.Resampling.BILINEAR))
    assert upright.joints_K2 is not None
    assert shifted.joints_K2 is not None
    assert turned.joints_K2 is not None
    assert shifted.joints_K2[14] - upright.joints_K2[14] == pytest.approx(np.array([300, 0]), abs=12)
    angle = np.deg2rad(20)
    x, y = upright.joints_K2[14] - 256
    expected = 256 + np.array([x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)])
    assert turned.joints_K2[14] == pytest.approx(expected, abs=15)


def test_nobody_is_found_when_there_is_nothing(detector: BlazePose) -> None:
    for picture in (Image.new("RGB", (300, 200), "white"), Image.effect_noise((256, 256), 60).convert("RGB")):
        assert choose_person(detector.find(picture), picture).status is PersonStatus.NO_PERSON


def test_weights_are_refused_when_absent_damaged_or_of_another_version(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"mediapipe==0\.10\.21"):
        BlazePose(tmp_path)
    (tmp_path / "broken.whl").write_bytes(b"no zip file")
    with pytest.raises(InvalidInput, match="not a wheel of MediaPipe"):
        BlazePose(tmp_path / "broken.whl")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as wheel:
        wheel.writestr("mediapipe/modules/pose_detection/pose_detection.tflite", b"another network")
    with pytest.raises(InvalidInput, match="not that of MediaPipe"):
        BlazePose(tmp_path / "other.whl")
