from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.models.physiqueframe.body.finder import UNCHECKED, BodyFinder
from paaplus.models.physiqueframe.body.mesh import BodyMesh
from paaplus.models.physiqueframe.body.person import Person

PHOTO = Image.new("RGB", (200, 300), "gray")
JOINTS = np.arange(30, dtype=np.float32).reshape(15, 2)
PERSON = Person((10.0, 10.0, 101.0, 201.0), 0.9, JOINTS, np.linspace(1, 0, 15))


class _Detector:
    digest = "detector"

    def __init__(self, *people: Person) -> None:
        self._people = list(people)

    def find(self, photo: Image.Image) -> list[Person]:
        return self._people


class _Body:
    digest = "body"


class _Meshes:
    body = _Body()

    def __call__(self, crops):
        return [BodyMesh(np.ones((10, 3), np.float32), crop.to_photo(np.full((15, 2), 8.0))) for crop in crops]


def test_landmarks_serve_as_joints_when_there_is_no_mesh_regressor() -> None:
    body = BodyFinder(_Detector(PERSON)).find(PHOTO)
    assert (body.status, body.vertices_V3) == ("found", None)
    assert body.joints_K2 is not None
    np.testing.assert_array_equal(body.joints_K2[:8], JOINTS[:8])  # confidence 1 to 0.5
    assert np.isnan(body.joints_K2[8:]).all()


def test_mesh_and_its_joints_are_given_when_there_is_a_regressor() -> None:
    body = BodyFinder(_Detector(PERSON), _Meshes()).find(PHOTO)
    assert body.vertices_V3 is not None
    # box 100 x 200 becomes 150 x 200, a quarter larger: it begins 60 - 93.75 px and 110 - 125 px from the corner
    assert body.joints_K2[0].tolist() == pytest.approx([-33.75 + 8 * 187.5 / 384, -15 + 8 * 250 / 512])


@pytest.mark.parametrize(
    ("people", "status"),
    [
        ([], "no_person"),
        ([PERSON, PERSON], "several_people"),
        ([Person((500.0, 0.0, 50.0, 50.0))], "degenerate_box"),
    ],
)
def test_nothing_is_known_of_the_body_when_nobody_can_be_scored(people: list[Person], status: str) -> None:
    for finder, given in ((BodyFinder(_Detector(*people), _Meshes()), None), (BodyFinder(), people)):
        body = finder.find(PHOTO, given)
        assert (body.status, body.may_be_scored, body.num_people) == (status, False, len(people))
        assert (body.joints_K2, body.vertices_V3) == (None, None)


def test_status_is_unchecked_when_nobody_looked() -> None:
    body = BodyFinder().find(PHOTO)
    assert (body.status, body.may_be_scored) == (UNCHECKED, True)


def test_a_supplied_box_without_joints_gives_no_posture() -> None:
    body = BodyFinder().find(PHOTO, [Person((10.0, 10.0, 100.0, 200.0))])
    assert (body.status, body.joints_K2) == ("found", None)


def test_digest_names_everything_that_a_body_depends_on() -> None:
    detector = _Detector()
    finders = [
        BodyFinder(),
        BodyFinder(detector),
        BodyFinder(detector, _Meshes()),
        BodyFinder(detector, _Meshes(), "other weights"),
        BodyFinder(detector, several="largest"),
    ]
    assert len({finder.digest for finder in finders}) == 5
