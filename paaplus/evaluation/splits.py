"""Splits of a data folder by person and by image: test people and test images take no part in training."""

from __future__ import annotations

import importlib.util
import sys
import traceback
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput

TEST_IMAGES_SHARE = 0.35
TEST_PEOPLE_SHARE = 0.27
MAX_TEST_PEOPLE = 150


class Split(Protocol):
    """The people and images to learn from (the train side), and those that are held out (the test side)."""

    @property
    def train_people(self) -> Sequence[str]: ...
    @property
    def test_people(self) -> Sequence[str]: ...
    @property
    def train_images(self) -> Collection[str]: ...
    @property
    def test_images(self) -> Collection[str]: ...

    def support(self, user_id: str, k: int) -> Sequence[str]:
        """The first `k` train images that a test person rates, in order; fewer if the person rated fewer."""


_SPLIT_PARTS = ("train_people", "test_people", "train_images", "test_images", "support")
MakeSplit = Callable[[int], Split]


@dataclass(frozen=True)
class FolderSplit:
    """A random split; all images of one scene are on the same side."""

    seed: int
    train_people: tuple[str, ...]
    test_people: tuple[str, ...]
    train_images: frozenset[str]
    test_images: frozenset[str]
    rated: dict[str, tuple[str, ...]]  # user_id -> the train images that the person rated, sorted

    def support(self, user_id: str, k: int) -> Sequence[str]:
        """The first `k` of the person's rated train images, in an order that the seed and the user id decide."""
        images = self.rated[user_id]
        order = np.random.default_rng([self.seed, zlib.crc32(user_id.encode())]).permutation(len(images))
        return [images[i] for i in order[:k]]


def split_folder(folder: DataFolder, seed: int) -> FolderSplit:
    """Hold out 35 % of the scenes and 27 % of the people, 150 people at most.

    People who give every image the same rating are left out: no rank correlation is defined for them.

    Raises:
        InvalidInput: fewer than 2 scenes, or fewer than 4 people whose ratings differ.
    """
    rng = np.random.default_rng(seed)
    varied = [
        user_id
        for person, user_id in enumerate(folder.people)
        if np.nanmax(np.nanstd(folder.rating_NA[folder.person_N == person], axis=0)) > 0
    ]
    scenes = np.unique(folder.scene_I)
    if len(varied) < 4 or len(scenes) < 2:
        raise InvalidInput(f"{folder.path}: {len(varied)} people with varied ratings, {len(scenes)} scenes: too few")
    people = [varied[i] for i in rng.permutation(len(varied))]
    num_test_people = min(MAX_TEST_PEOPLE, max(1, round(TEST_PEOPLE_SHARE * len(people))))
    num_test_scenes = max(1, round(TEST_IMAGES_SHARE * len(scenes)))
    test_scenes = rng.permutation(scenes)[:num_test_scenes]
    in_test_I = np.isin(folder.scene_I, test_scenes)
    train_images = frozenset(image for image, held_out in zip(folder.images, in_test_I, strict=True) if not held_out)
    rated: dict[str, list[str]] = {user_id: [] for user_id in folder.people}
    for person, image in zip(folder.person_N, folder.image_N, strict=True):
        if not in_test_I[image]:
            rated[folder.people[person]].append(folder.images[image])
    return FolderSplit(
        seed=seed,
        train_people=tuple(people[num_test_people:]),
        test_people=tuple(people[:num_test_people]),
        train_images=train_images,
        test_images=frozenset(folder.images) - train_images,
        rated={user_id: tuple(sorted(images)) for user_id, images in rated.items()},
    )


def within_train_side(folder: DataFolder, make_split: MakeSplit) -> MakeSplit:
    """Splits of the train side of other splits, for tuning: it never reads the outer test people and test images."""

    def split(seed: int) -> FolderSplit:
        outer = make_split(seed)
        return split_folder(folder.only(outer.train_people, outer.train_images), seed)

    return split


def load_split(file: Path, data: Path) -> MakeSplit:
    """The function `split(seed, data=DIR)` of a Python file, bound to a data folder. Executes the file.

    Raises:
        InvalidInput: no such file, no such function in it, or code in it that raises.
    """
    spec = importlib.util.spec_from_file_location("paaplus_split_file", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise InvalidInput(f"split file {file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up the module that defines them
    with _errors_as_invalid_input(file):
        spec.loader.exec_module(module)
    make = getattr(module, "split", None)
    if not callable(make):
        raise InvalidInput(f"split file {file} has no function split(seed, data=DIR)")

    def split(seed: int) -> Split:
        with _errors_as_invalid_input(file):
            made: Split = make(seed, data=str(data))
        if missing := [name for name in _SPLIT_PARTS if not hasattr(made, name)]:
            raise InvalidInput(f"split file {file}: the result of split({seed}) has no {', '.join(missing)}")
        return made

    return split


@contextmanager
def _errors_as_invalid_input(file: Path) -> Iterator[None]:
    """Turn any error of a split file into InvalidInput with the file's line: the file is the caller's input."""
    try:
        yield
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(file)]
        where = f", line {lines[-1]}" if lines else ""
        raise InvalidInput(f"split file {file}{where}: {type(error).__name__}: {error}") from error
