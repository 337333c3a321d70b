"""Find the person of a photo, with joints and mesh if detector and regressor are present.

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

MIN_JOINT_CONFIDENCE = 0.5  # of a detector's landmark; a joint with less counts as unknown


@dataclass(frozen=True, eq=False)
class FoundBody:
    """The person of a photo.

    Attributes:
        status: a `PersonStatus`, or `unchecked`: there was no detector and the caller supplied no people.
        num_people: people found.
        joints_K2: pixels of the photo; NaN for an unknown joint.
        vertices_V3: mesh in camera space, in metres, all signs reversed.
    """

    status: str
    num_people: int = 0
    joints_K2: np.ndarray | None = None
    vertices_V3: np.ndarray | None = None

    @property
    def may_be_scored(self) -> bool:
        """True if there is one person, or if nobody looked for people."""
        return self.status in (PersonStatus.FOUND, UNCHECKED)


UNCHECKED = "unchecked"


class BodyFinder:
    """Detector and mesh regressor; without one of them, scores are degraded and marked as such."""

    def __init__(
        self,
        detector: PersonDetector | None = None,
        regressor: MeshRegressor | None = None,
        regressor_digest: str = "",
        several: str = "refuse",
    ) -> None:
        """Create a finder.

        Args:
            detector: finds people; None: the caller has to supply them.
            regressor: makes meshes; None: joints are the detector's landmarks, and there is no mesh.
            regressor_digest: identifies the regressor's weights.
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
            people: people that the caller knows; None: those that the detector finds.

        Raises:
            InvalidInput: the regressor's mesh is not finite.
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
                raise InvalidInput("the mesh of SMPLer-X is not finite")
            return FoundBody(choice.status, choice.num_people, mesh.joints_K2, mesh.vertices_V3)
        return FoundBody(choice.status, choice.num_people, _confident_joints(choice.person))


def _confident_joints(person: Person) -> np.ndarray | None:
    """A detector's joints, NaN where its confidence is too low; None if no joint is left."""
    if person.joints_K2 is None:
        return None
    joints_K2 = person.joints_K2.astype(np.float32).copy()
    if person.joint_confidence_K is not None:
        joints_K2[person.joint_confidence_K < MIN_JOINT_CONFIDENCE] = np.nan
    return None if np.isnan(joints_K2).any(axis=1).all() else joints_K2
