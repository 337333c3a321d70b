"""What people of a data set would send us over time: increments of their ratings, in one order, with or without drift.

Shape letters: N = ratings of one increment or of the unseen images, A = aspects.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput
from paaplus.evaluation.rounds import Round
from paaplus.evaluation.splits import MakeSplit, Split

STEADY, DRIFT = "steady", "drift"
SCENARIOS = (STEADY, DRIFT)


@dataclass(frozen=True)
class Given:
    """Images by position in the folder, each once, and what somebody rated them, on the score scale."""

    image_N: np.ndarray
    target_NA: np.ndarray


@dataclass(frozen=True)
class PersonStream:
    """Increments in order, and after each of them what the person says of images that nobody here was trained on."""

    user_id: str
    increments: tuple[Given, ...]
    unseen: tuple[Given, ...]  # one per increment; in a steady stream always the same


@dataclass(frozen=True)
class StreamRound(Round):
    """One seed's split with its streams; `able` are all test people who rated enough for one, in order."""

    maker: StreamMaker
    able: list[str]


def stream_rounds(
    folder: DataFolder,
    make_split: MakeSplit,
    seeds: Sequence[int],
    limit_people: int | None,
    num_ratings: int,
    increment: int,
) -> list[StreamRound]:
    """One round a seed, each with the first of the people who are able; None: with all of them.

    Raises:
        InvalidInput: fewer than two people of a split rated enough.
    """
    plan = []
    for seed in seeds:
        split = make_split(seed)
        maker = StreamMaker(folder, split, num_ratings, increment)
        able = [user_id for user_id in split.test_people if maker.can_stream(user_id)]
        if len(able) < 2:
            raise InvalidInput(f"seed {seed}: {len(able)} test people with {num_ratings} ratings; 2 are needed")
        plan.append(StreamRound(seed, split, tuple(able[:limit_people]), maker, able))
    return plan


class StreamMaker:
    """Cuts the ratings of a split's test people into streams."""

    def __init__(self, folder: DataFolder, split: Split, num_ratings: int, increment: int) -> None:
        self._folder, self._split = folder, split
        self._num_ratings, self._increment = num_ratings, increment
        self._image_at = {image: i for i, image in enumerate(folder.images)}
        self._in_test_I = np.isin(folder.images, sorted(split.test_images))
        self._scores = folder.scores_by_person()

    def can_stream(self, user_id: str) -> bool:
        """True if the person rated enough train images for every increment to be full."""
        return len(self._split.support(user_id, self._num_ratings)) == self._num_ratings

    def steady(self, user_id: str) -> PersonStream:
        """The person's ratings of train images as they are."""
        given = self._given(user_id, self._split.support(user_id, self._num_ratings))
        increments = self._cut(given)
        return PersonStream(user_id, increments, (self._unseen(user_id),) * len(increments))

    def drift(self, steady: PersonStream, others: Sequence[str]) -> PersonStream:
        """A declared artefact: from half way on, a rising share of the ratings is another real person's.

        That person is drawn from `others` by the user's name, and their ratings are of images that they rated, not
        blends. The share rises evenly to all in the last but one increment; from there on, and for every increment
        after the first half, unseen images are judged by what the other person says of them.
        """
        user_id = steady.user_id
        rng = np.random.default_rng(zlib.crc32(user_id.encode()))
        candidates = [other for other in others if other != user_id and self.can_stream(other)]
        other = candidates[rng.integers(len(candidates))]
        own, theirs = (list(self._split.support(each, self._num_ratings)) for each in (user_id, other))
        increments = list(steady.increments)
        first_turned = len(increments) // 2
        num_turned = len(increments) - first_turned
        waiting = own[first_turned * self._increment :]
        used = set(own[: first_turned * self._increment])
        for step in range(1, num_turned + 1):
            num_theirs = round(self._increment * min(1.0, step / max(num_turned - 1, 1)))
            turned = [image for image in theirs if image not in used][:num_theirs]
            used.update(turned)
            kept = [image for image in waiting if image not in used][: self._increment - len(turned)]
            used.update(kept)
            increments[first_turned + step - 1] = joined(self._given(user_id, kept), self._given(other, turned))
        unseen = (self._unseen(user_id),) * first_turned + (self._unseen(other),) * num_turned
        return PersonStream(user_id, tuple(increments), unseen)

    def _given(self, user_id: str, images: Sequence[str]) -> Given:
        scores = self._scores[user_id]
        image_N = np.array([self._image_at[image] for image in images], np.int64)
        target_NA = np.array([scores[i] for i in image_N.tolist()]).reshape(len(images), len(self._folder.aspects))
        return Given(image_N, target_NA)

    def _unseen(self, user_id: str) -> Given:
        scores = self._scores[user_id]
        return self._given(user_id, [self._folder.images[i] for i in scores if self._in_test_I[i]])

    def _cut(self, given: Given) -> tuple[Given, ...]:
        starts = range(0, self._num_ratings, self._increment)
        return tuple(
            Given(given.image_N[s : s + self._increment], given.target_NA[s : s + self._increment]) for s in starts
        )


def joined(*parts: Given) -> Given:
    """All parts as one."""
    return Given(np.concatenate([p.image_N for p in parts]), np.concatenate([p.target_NA for p in parts]))
