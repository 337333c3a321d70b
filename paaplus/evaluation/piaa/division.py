"""Divide a data folder as a protocol says: test people, and images that the base model does not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.piaa.protocols import SPLIT, Protocol
from paaplus.evaluation.splits import FolderSplit
from paaplus.evaluation.train_side import EvaluationData
from paaplus.records import SCORE_MAX, SCORE_MIN, Scale

_RELEASE_SHARE = 0.2  # of the scenes, where the release has no test images
_LEAST_TRAIN_SHARE = 0.2
_LEAST_TEST = 5  # images that a person is measured on


@dataclass(frozen=True)
class Division:
    """A split, and per test person the positions of the images that shots and test are drawn from."""

    split: FolderSplit
    rated: dict[str, np.ndarray]
    listed: bool  # the release lists the test people


def divide(folder: DataFolder, protocol: Protocol, seed: int, tested: Sequence[str] = ()) -> Division:
    """Divide a folder.

    Args:
        folder: the data.
        protocol: the protocol.
        seed: draws the test people and, where the release has no test images, those.
        tested: the test people; none: as the protocol says.

    Raises:
        InvalidInput: nobody is eligible, or nothing is left to train on.
    """
    test_I = test_images_of(folder, seed, _RELEASE_SHARE) if protocol.held_out == SPLIT else None
    people, rated, listed = _people(folder, protocol, seed, tested, test_I)
    held_out_I = test_I if test_I is not None else _rated_by(people, rated, len(folder.images))
    if (~held_out_I).mean() < _LEAST_TRAIN_SHARE:
        # everybody rated the same few images: half of the scenes are kept from the base model instead
        held_out_I = test_images_of(folder, seed, 0.5)
        people, rated, listed = _people(folder, protocol, seed, tested, held_out_I)
    test_images = frozenset(np.array(folder.images)[held_out_I].tolist())
    train_images = frozenset(folder.images) - test_images
    train_people = tuple(user_id for user_id in folder.people if user_id not in set(people))
    if not train_images or not train_people:
        raise InvalidInput(
            f"{folder.path}: {len(people)} test people leave {len(train_people)} people and {len(train_images)} images "
            "to train on; fewer people (--people) leave more"
        )
    split = FolderSplit(seed, train_people, people, train_images, test_images, {})
    return Division(split, {user_id: rated[user_id] for user_id in people}, listed)


def _people(
    folder: DataFolder, protocol: Protocol, seed: int, tested: Sequence[str], allowed_I: np.ndarray | None
) -> tuple[tuple[str, ...], dict[str, np.ndarray], bool]:
    """The test people, the images that each of all people is measured on, and whether the release lists the people."""
    rated = {}
    for person, user_id in enumerate(folder.people):
        images = np.sort(folder.image_N[folder.person_N == person])
        rated[user_id] = images if allowed_I is None else images[allowed_I[images]]
    people, listed = (tuple(tested), False) if tested else _test_people(folder, protocol, rated, seed)
    return people, rated, listed


def _rated_by(people: Sequence[str], rated: dict[str, np.ndarray], num_images: int) -> np.ndarray:
    rated_I = np.zeros(num_images, bool)
    for user_id in people:
        rated_I[rated[user_id]] = True
    return rated_I


def test_images_of(folder: DataFolder, seed: int, share: float) -> np.ndarray:
    """The release's test images; without any, a random share of the scenes, shape (I,)."""
    test_I = np.array([folder.image_columns.get(image, {}).get("split") == "test" for image in folder.images])
    if test_I.any():
        return test_I
    rng = np.random.default_rng(seed)
    scenes = np.unique(folder.scene_I)
    return np.isin(folder.scene_I, rng.permutation(scenes)[: max(1, round(share * len(scenes)))])


def _test_people(
    folder: DataFolder, protocol: Protocol, rated: dict[str, np.ndarray], seed: int
) -> tuple[tuple[str, ...], bool]:
    listed = tuple(one for one in folder.people if folder.user_columns.get(one, {}).get("split") == "test")
    needed = min(protocol.shots) + (protocol.num_test or _LEAST_TEST)
    varied = {
        user_id
        for person, user_id in enumerate(folder.people)
        if len(given := folder.rating_NA[folder.person_N == person]) and np.nanmax(np.nanstd(given, axis=0)) > 0
    }
    everybody = [
        user_id for user_id in (listed or folder.people) if user_id in varied and len(rated.get(user_id, ())) >= needed
    ]
    counts = dict(zip(*np.unique(folder.person_N, return_counts=True), strict=True))
    of = {user_id: counts.get(person, 0) for person, user_id in enumerate(folder.people)}
    eligible = [
        user_id
        for user_id in everybody
        if listed or (of[user_id] >= protocol.least and (protocol.most is None or of[user_id] <= protocol.most))
    ]
    if not eligible:
        limits = f"{protocol.least} to {protocol.most or 'any number of'}"
        raise InvalidInput(f"{folder.path}: nobody rated {limits} images, and {needed} that count here")
    if protocol.num_people is None or protocol.num_people >= len(eligible):
        return tuple(eligible), bool(listed)
    drawn = np.random.default_rng(seed).permutation(len(eligible))[: protocol.num_people]
    return tuple(eligible[i] for i in sorted(drawn.tolist())), bool(listed)


def joined(data: EvaluationData, train: EvaluationData) -> EvaluationData:
    """Two data folders as one on the score scale: `train`'s people and images beside those of `data`.

    Raises:
        InvalidInput: other aspects, or features of another extractor.
    """
    if data.extractor_digest != train.extractor_digest:
        raise InvalidInput(f"{data.folder.path} and {train.folder.path} have other features")
    folder = joined_folders(data.folder, train.folder)
    return replace(data, folder=folder, features_ID=np.concatenate([data.features_ID, train.features_ID]))


def joined_folders(one: DataFolder, two: DataFolder) -> DataFolder:
    """Two data folders as one on the score scale.

    Raises:
        InvalidInput: other aspects.
    """
    if one.aspects != two.aspects:
        raise InvalidInput(f"{one.path} and {two.path} have other aspects")
    prefix = "train:"  # names of the two may be the same
    num_people, num_images = len(one.people), len(one.images)
    return replace(
        one,
        scale=Scale(SCORE_MIN, SCORE_MAX),
        people=one.people + tuple(prefix + user_id for user_id in two.people),
        images=one.images + tuple(prefix + image for image in two.images),
        scene_I=np.concatenate([one.scene_I, two.scene_I + one.scene_I.max() + 1]),
        person_N=np.concatenate([one.person_N, two.person_N + num_people]),
        image_N=np.concatenate([one.image_N, two.image_N + num_images]),
        rating_NA=np.concatenate([one.score_NA, two.score_NA]),
        user_columns={},
        image_columns=one.image_columns | {prefix + image: row for image, row in two.image_columns.items()},
    )
