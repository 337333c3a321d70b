"""Streams of a data folder: order, increments, test images, and a simulated drift of real ratings."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.data.folder import DataFolder, read_folder
from paaplus.evaluation.person_streams import StreamMaker
from paaplus.evaluation.splits import FolderSplit, split_folder, within_train_side
from tests.support.taste_data import simulate, write_folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> DataFolder:
    return read_folder(write_folder(tmp_path_factory.mktemp("streams") / "data", simulate(16, 120)))


@pytest.fixture(scope="module")
def split(folder: DataFolder) -> FolderSplit:
    return split_folder(folder, 0)


@pytest.fixture
def maker(folder: DataFolder, split: FolderSplit) -> StreamMaker:
    return StreamMaker(folder, split, num_ratings=40, increment=8)


def score(folder: DataFolder, user_id: str, image: int) -> float:
    mine = (folder.person_N == folder.people.index(user_id)) & (folder.image_N == image)
    return float(folder.score_NA[mine].item())


def test_a_steady_stream_is_the_support_in_order_with_the_persons_ratings(
    folder: DataFolder, split: FolderSplit, maker: StreamMaker
) -> None:
    user_id = split.test_people[0]
    stream = maker.steady(user_id)
    assert [len(increment.image_N) for increment in stream.increments] == [8] * 5
    images = [folder.images[i] for increment in stream.increments for i in increment.image_N]
    assert images == list(split.support(user_id, 40))
    third = stream.increments[2]
    assert third.target_NA[:, 0].tolist() == [score(folder, user_id, i) for i in third.image_N]


def test_unseen_images_are_all_test_images_of_the_person(
    folder: DataFolder, split: FolderSplit, maker: StreamMaker
) -> None:
    stream = maker.steady(split.test_people[0])
    assert len(stream.unseen) == 5
    for unseen in stream.unseen:
        assert {folder.images[i] for i in unseen.image_N} == split.test_images  # everybody rated everything here


def test_a_drift_is_real_ratings_of_two_people_with_a_rising_share_of_the_other(
    folder: DataFolder, split: FolderSplit, maker: StreamMaker
) -> None:
    user_id = split.test_people[0]
    steady = maker.steady(user_id)
    drift = maker.drift(steady, split.test_people)
    assert all(a is b for a, b in zip(drift.increments[:2], steady.increments, strict=False))
    others = {
        other
        for other in split.test_people
        if drift.unseen[-1].target_NA[:, 0].tolist() == [score(folder, other, i) for i in drift.unseen[-1].image_N]
    }
    (other,) = others - {user_id}
    for increment, num_theirs in zip(drift.increments[2:], (4, 8, 8), strict=True):
        expected = [user_id] * (8 - num_theirs) + [other] * num_theirs
        assert increment.target_NA[:, 0].tolist() == [
            score(folder, by, i) for by, i in zip(expected, increment.image_N, strict=True)
        ]
    assert np.array_equal(drift.unseen[1].target_NA, steady.unseen[0].target_NA)
    assert not np.array_equal(drift.unseen[2].target_NA, steady.unseen[0].target_NA)


def test_no_image_comes_twice_in_a_drift(split: FolderSplit, maker: StreamMaker) -> None:
    for user_id in split.test_people:
        drift = maker.drift(maker.steady(user_id), split.test_people)
        images = np.concatenate([increment.image_N for increment in drift.increments])
        assert len(np.unique(images)) == len(images) == 40


def test_people_with_too_few_ratings_cannot_stream(folder: DataFolder, split: FolderSplit) -> None:
    num_train_images = len(split.train_images)
    assert StreamMaker(folder, split, num_train_images, 2).can_stream(split.test_people[0])
    assert not StreamMaker(folder, split, num_train_images + 1, 2).can_stream(split.test_people[0])


def test_tuning_splits_know_no_test_person_and_no_test_image(folder: DataFolder, split: FolderSplit) -> None:
    inner = within_train_side(folder, lambda seed: split_folder(folder, seed))(0)
    assert inner.test_people
    assert not {*inner.train_people, *inner.test_people} & set(split.test_people)
    assert not (inner.train_images | inner.test_images) & split.test_images
    assert not inner.train_images & inner.test_images
