"""The one person of a photo, with joints and mesh as far as they can be had.

Shape letters: V = vertices, K = the 15 joints of the graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.models.physiqueframe.body.crop import cut_person
from paaplus.models.physiqueframe.body.mesh import MeshRegressor
from paaplus.models.physiqueframe.body.person import Person, PersonDetector, PersonStatus, choose_person

MIN_JOINT_CONFIDENCE = 0.5  # of a detector's landmark: below, the joint counts as not known


@dataclass(frozen=True, eq=False)
class FoundBody:
    """What is known of the person of a photo.

    `joints_K2` are pixels of the photo, NaN where not known. With the status `unchecked` nobody looked for people:
    there was no detector, and none were supplied.
    """

    status: str  # a PersonStatus, or `unchecked`
    num_people: int = 0
    joints_K2: np.ndarray | None = None
    vertices_V3: np.ndarray | None = None

    @property
    def may_be_scored(self) -> bool:
        return self.status in (PersonStatus.FOUND, UNCHECKED)


UNCHECKED = "unchecked"


class BodyFinder:
    """Detector and mesh regressor together; either may be missing, which degrades the score and is told with it."""

    def __init__(
        self,
        detector: PersonDetector | None = None,
        regressor: MeshRegressor | None = None,
        regressor_digest: str = "",
        several: str = "refuse",
    ) -> None:
        """Args:
        detector: finds people; None: they have to be supplied.
        regressor: makes meshes; None: joints are the detector's landmarks, and there is no mesh.
        regressor_digest: names the regressor's weights.
        several: see `choose_person`.
        """
        self._detector = detector
        self._regressor = regressor
        self._several = several
        parts = (
            detector.digest if detector else "no detector",
            f"{regressor_digest} {regressor.body.digest}" if regressor else "no regressor",
            several,
        )
        self.digest = sha256_hex("\n".join(parts).encode())

    def find(self, photo: Image.Image, people: Sequence[Person] | None = None) -> FoundBody:
        """The body in an upright photo.

        Args:
            photo: upright, RGB.
            people: boxes or landmarks that the caller knows; None: the detector is asked.

        Raises:
            InvalidInput: other than one size or kind of numbers in `people`.
        """
        if people is None:
            if self._detector is None:
                return FoundBody(UNCHECKED)
            people = self._detector.find(photo)
        choice = choose_person(people, photo, self._several)
        if choice.person is None:
            return FoundBody(choice.status, choice.num_people)
        if self._regressor is not None:
            crop = cut_person(photo, choice.person.box)
            if crop is None:
                return FoundBody(PersonStatus.DEGENERATE_BOX, choice.num_people)
            (mesh,) = self._regressor([crop])
            if not (np.isfinite(mesh.joints_K2).all() and np.isfinite(mesh.vertices_V3).all()):
                raise InvalidInput("SMPLer-X gave a mesh that is not finite")
            return FoundBody(choice.status, choice.num_people, mesh.joints_K2, mesh.vertices_V3)
        return FoundBody(choice.status, choice.num_people, _sure_joints(choice.person))


def _sure_joints(person: Person) -> np.ndarray | None:
    """Joints of a detector, NaN where it is not sure; None if it has none to give."""
    if person.joints_K2 is None:
        return None
    joints_K2 = person.joints_K2.astype(np.float32).copy()
    if person.joint_confidence_K is not None:
        joints_K2[person.joint_confidence_K < MIN_JOINT_CONFIDENCE] = np.nan
    return None if np.isnan(joints_K2).any(axis=1).all() else joints_K2
