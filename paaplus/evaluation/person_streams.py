"""Streams of one person's ratings in increments, steady or with a simulated drift.

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
class RatedImages:
    """Images by their position in the data folder, each once, and one person's ratings (0-10) of them."""

    image_N: np.ndarray
    target_NA: np.ndarray


@dataclass(frozen=True)
class PersonStream:
    """The increments in order, and the ratings of test images that count as the truth after each increment."""

    user_id: str
    increments: tuple[RatedImages, ...]
    unseen: tuple[RatedImages, ...]  # one per increment; all the same in a steady stream


@dataclass(frozen=True)
class StreamRound(Round):
    """A round with the maker of its streams and all test people, in order, who rated enough for a stream."""

    maker: StreamMaker
    eligible_people: list[str]


def stream_rounds(
    folder: DataFolder,
    make_split: MakeSplit,
    seeds: Sequence[int],
    limit_people: int | None,
    num_ratings: int,
    increment: int,
) -> list[StreamRound]:
    """One round per seed, each with the first `limit_people` eligible people of its split, or all for `None`.

    Raises:
        InvalidInput: fewer than two test people of a split rated enough images.
    """
    plan = []
    for seed in seeds:
        split = make_split(seed)
        maker = StreamMaker(folder, split, num_ratings, increment)
        eligible = [user_id for user_id in split.test_people if maker.can_stream(user_id)]
        if len(eligible) < 2:
            raise InvalidInput(f"seed {seed}: {len(eligible)} test people with {num_ratings} ratings; 2 are needed")
        plan.append(StreamRound(seed, split, tuple(eligible[:limit_people]), maker, eligible))
    return plan


class StreamMaker:
    """Divides the ratings of a split's test people into streams of `num_ratings` in increments of `increment`."""

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
        """A stream of the person's own ratings of train images."""
        increments = self._increments(self._rated(user_id, self._split.support(user_id, self._num_ratings)))
        return PersonStream(user_id, increments, (self._unseen(user_id),) * len(increments))

    def drift(self, steady: PersonStream, others: Sequence[str]) -> PersonStream:
        """A simulated drift: from the middle of the stream on, a rising share of the ratings is another person's.

        The user id decides which of `others` is the other person. Every rating is a real rating of one of the two
        people, not a mixture. The share rises evenly and is 100 % in the last two increments. In the second half of
        the stream, the other person's ratings of test images count as the truth.
        """
        user_id = steady.user_id
        rng = np.random.default_rng(zlib.crc32(user_id.encode()))
        candidates = [other for other in others if other != user_id and self.can_stream(other)]
        other = candidates[rng.integers(len(candidates))]
        own_images, other_images = (list(self._split.support(person, self._num_ratings)) for person in (user_id, other))
        increments = list(steady.increments)
        num_steady = len(increments) // 2
        num_drifting = len(increments) - num_steady
        remaining = own_images[num_steady * self._increment :]
        used = set(own_images[: num_steady * self._increment])
        for step in range(1, num_drifting + 1):
            num_from_other = round(self._increment * min(1.0, step / max(num_drifting - 1, 1)))
            from_other = [image for image in other_images if image not in used][:num_from_other]
            used.update(from_other)
            own = [image for image in remaining if image not in used][: self._increment - len(from_other)]
            used.update(own)
            increments[num_steady + step - 1] = concatenated(self._rated(user_id, own), self._rated(other, from_other))
        unseen = (self._unseen(user_id),) * num_steady + (self._unseen(other),) * num_drifting
        return PersonStream(user_id, tuple(increments), unseen)

    def _rated(self, user_id: str, images: Sequence[str]) -> RatedImages:
        scores = self._scores[user_id]
        image_N = np.array([self._image_at[image] for image in images], np.int64)
        target_NA = np.array([scores[i] for i in image_N.tolist()]).reshape(len(images), len(self._folder.aspects))
        return RatedImages(image_N, target_NA)

    def _unseen(self, user_id: str) -> RatedImages:
        scores = self._scores[user_id]
        return self._rated(user_id, [self._folder.images[i] for i in scores if self._in_test_I[i]])

    def _increments(self, rated: RatedImages) -> tuple[RatedImages, ...]:
        starts = range(0, self._num_ratings, self._increment)
        return tuple(
            RatedImages(rated.image_N[s : s + self._increment], rated.target_NA[s : s + self._increment])
            for s in starts
        )


def concatenated(*parts: RatedImages) -> RatedImages:
    """The ratings of all parts, one after the other."""
    return RatedImages(np.concatenate([p.image_N for p in parts]), np.concatenate([p.target_NA for p in parts]))
