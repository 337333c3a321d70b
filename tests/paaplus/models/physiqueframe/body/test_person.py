from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from paaplus.errors import InvalidInput
from paaplus.models.physiqueframe.body.person import Person, PersonStatus, choose_person, person_from_landmarks

PHOTO = Image.new("RGB", (200, 300))
LARGE, SMALL, MIDDLING = (Person((10.0, 10.0, w, w)) for w in (101.0, 21.0, 81.0))


def test_status_tells_why_when_there_is_nobody_to_score() -> None:
    assert choose_person([], PHOTO).status is PersonStatus.NO_PERSON
    outside, thin = Person((500.0, 10.0, 50.0, 50.0)), Person((10.0, 10.0, 4.0, 100.0))
    for people in ([outside], [thin, outside], [Person((0.0, 0.0, float("nan"), 5.0))]):
        choice = choose_person(people, PHOTO)
        assert (choice.status, choice.person) == (PersonStatus.DEGENERATE_BOX, None)
    crowd = choose_person([LARGE, MIDDLING], PHOTO)
    assert (crowd.status, crowd.person, crowd.num_people) == (PersonStatus.SEVERAL_PEOPLE, None, 2)


def test_the_largest_is_taken_when_the_others_are_bystanders_or_when_asked() -> None:
    assert choose_person([SMALL, LARGE], PHOTO).person is LARGE
    assert choose_person([MIDDLING, LARGE], PHOTO, several="largest").person is LARGE
    with pytest.raises(InvalidInput, match="refuse or largest"):
        choose_person([LARGE], PHOTO, several="both")


def test_joints_are_middles_of_landmarks_when_the_graph_asks_for_them() -> None:
    landmarks = np.stack([np.arange(33.0), 100 + 2 * np.arange(33.0)], axis=1)
    visibility = np.linspace(1, 0, 33)
    person = person_from_landmarks(landmarks, visibility, 0.9)
    assert person.joints_K2 is not None
    assert person.joint_confidence_K is not None
    assert person.joints_K2[:, 0].tolist() == [
        23.5, 23, 24, 25, 26, 27, 28, 11.5, 11, 12, 13, 14, 15, 16, 3.5,
    ]  # fmt: skip
    assert person.joint_confidence_K[0] == pytest.approx(visibility[24])
    left, top, width, height = person.box
    assert (left, width) == (0, 32)
    assert top + height == pytest.approx(164)
    assert top == pytest.approx(107 - np.hypot(8, 16))  # as far above the eyes as the neck is below them


def test_person_is_refused_when_its_numbers_are_wrong() -> None:
    with pytest.raises(InvalidInput, match="confidence"):
        Person((0.0, 0.0, 1.0, 1.0), confidence=1.5)
    with pytest.raises(InvalidInput, match="15 points"):
        Person((0.0, 0.0, 1.0, 1.0), joints_K2=np.zeros((33, 2)))
    with pytest.raises(InvalidInput, match="33 of each"):
        person_from_landmarks(np.zeros((15, 2)), np.zeros(15), 1.0)
    with pytest.raises(InvalidInput, match="not finite"):
        person_from_landmarks(np.full((33, 2), np.nan), np.zeros(33), 1.0)
