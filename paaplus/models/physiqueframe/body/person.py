"""People in a photo, as a detector finds them or a caller supplies them, and the choice of the person to score.

Shape letters: L = 33 landmarks (the order of MediaPipe Pose), K = the 15 joints of PhysiqueFrame's graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.crop import Box, clip_box
from paaplus.models.physiqueframe.body.mesh import NUM_GRAPH_JOINTS

NUM_LANDMARKS = 33
# Landmarks whose middle is each joint: pelvis, hips, knees, ankles, neck, shoulders, elbows, wrists, eyes.
_JOINT_LANDMARKS = ((23, 24), (23,), (24,), (25,), (26,), (27,), (28,), (11, 12), (11,), (12,), (13,), (14,), (15,),
                    (16,), (2, 5))  # fmt: skip
MIN_SIDE_PX = 8.0  # of a person's box; a smaller box has no usable information
BYSTANDER_SHARE = 0.25  # a person with less than this share of the largest one's area is a bystander


class PersonStatus(StrEnum):
    """Result of the choice of the person to score."""

    FOUND = "found"
    NO_PERSON = "no_person"
    SEVERAL_PEOPLE = "several_people"
    DEGENERATE_BOX = "degenerate_box"


@dataclass(frozen=True, eq=False)
class Person:
    """One person. Coordinates are pixels of the upright photo; `joints_K2` is NaN for an unknown joint.

    Raises:
        InvalidInput: a confidence outside 0 to 1, or arrays of other shapes than (15, 2) and (15,).
    """

    box: Box
    confidence: float = 1.0
    joints_K2: np.ndarray | None = None
    joint_confidence_K: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.confidence <= 1:
            raise InvalidInput(f"a person with confidence {self.confidence}: 0 to 1")
        if self.joints_K2 is not None and self.joints_K2.shape != (NUM_GRAPH_JOINTS, 2):
            raise InvalidInput(f"joints of shape {self.joints_K2.shape}: 15 points (x, y)")
        if self.joint_confidence_K is not None and self.joint_confidence_K.shape != (NUM_GRAPH_JOINTS,):
            raise InvalidInput(f"joint confidences of shape {self.joint_confidence_K.shape}: 15 numbers")


class PersonDetector(Protocol):
    """Finds people in a photo."""

    @property
    def digest(self) -> str:
        """Identifies everything that the result depends on besides the photo."""

    def find(self, photo: Image.Image) -> list[Person]:
        """All people in an upright RGB photo, in any order."""


@dataclass(frozen=True)
class Choice:
    """The person to score; `person` is None unless the status is `found`."""

    status: PersonStatus
    person: Person | None
    num_people: int


def choose_person(people: Sequence[Person], photo: Image.Image, several: str = "refuse") -> Choice:
    """The person of a photo to score, or the reason why there is none.

    Args:
        people: as detected or supplied.
        photo: upright.
        several: treatment of several people who are not bystanders: `refuse`, or take the `largest`, as the published
            code does.

    Raises:
        InvalidInput: another value of `several`.
    """
    if several not in ("refuse", "largest"):
        raise InvalidInput(f"several {several!r}: refuse or largest")
    if not people:
        return Choice(PersonStatus.NO_PERSON, None, 0)
    sized = [(_area(person, photo), person) for person in people]
    largest, person = max(sized, key=lambda pair: pair[0])
    if largest <= 0:
        return Choice(PersonStatus.DEGENERATE_BOX, None, len(people))
    prominent = sum(area >= BYSTANDER_SHARE * largest for area, _ in sized)
    if prominent > 1 and several == "refuse":
        return Choice(PersonStatus.SEVERAL_PEOPLE, None, len(people))
    return Choice(PersonStatus.FOUND, person, len(people))


def person_from_landmarks(landmark_L2: np.ndarray, visibility_L: np.ndarray, confidence: float) -> Person:
    """A person from 33 landmarks in pixels: the 15 joints, and a box around all landmarks and the top of the head.

    Raises:
        InvalidInput: another number of landmarks, or a coordinate is not finite.
    """
    if landmark_L2.shape != (NUM_LANDMARKS, 2) or visibility_L.shape != (NUM_LANDMARKS,):
        raise InvalidInput(f"landmarks {landmark_L2.shape} and visibilities {visibility_L.shape}: 33 of each")
    if not (np.isfinite(landmark_L2).all() and np.isfinite(visibility_L).all()):
        raise InvalidInput("landmarks are not finite")
    joints_K2 = np.stack([landmark_L2[list(ids)].mean(axis=0) for ids in _JOINT_LANDMARKS]).astype(np.float32)
    joint_confidence_K = np.array([visibility_L[list(ids)].min() for ids in _JOINT_LANDMARKS], np.float32)
    head_px = float(np.linalg.norm(joints_K2[14] - joints_K2[7]))  # eyes to neck, about as far as eyes to crown
    (left, top), (right, bottom) = landmark_L2.min(axis=0), landmark_L2.max(axis=0)
    top = min(top, float(joints_K2[14, 1]) - head_px)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Person(box, confidence, joints_K2, joint_confidence_K)


def _area(person: Person, photo: Image.Image) -> float:
    """Area of a person's box inside the photo; 0 for a box that is too small or not finite."""
    inside = clip_box(person.box, photo.width, photo.height)
    if inside is None or min(inside[2:]) < MIN_SIDE_PX:
        return 0.0
    return inside[2] * inside[3]
