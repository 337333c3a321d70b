"""The plan of the demo: its people, their increments of ratings, and the held-out images.

A seed decides all choices before the first training, so that no choice can depend on a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.errors import InvalidInput

NUM_INCREMENTS = 3
MIN_INCREMENT = 8
MIN_UNSEEN, MAX_UNSEEN = 15, 150
_MIN_RATING_SD = 1 / 12  # of the scale: 0.5 on 1 to 7; with less there is hardly an order to predict

# The two learners of the demo; every second person gets the second one.
LEARNERS = (("bottleneck", "replay_ewc"), ("taste_vector", "bayes"))


@dataclass(frozen=True)
class Person:
    """One person of the demo: ratings, learner, and the images of each increment."""

    user_id: str
    is_simulated: bool
    adapter: str
    strategy: str
    increments: tuple[tuple[str, ...], ...]  # images rated, in the order of posting
    reserve: tuple[str, ...]  # rated only after the rollback
    unseen: tuple[str, ...]  # rated by the person, never posted: test images, at most `MAX_UNSEEN`
    ratings: dict[str, dict[str, float]]  # image -> aspect -> rating, as given

    @property
    def images(self) -> tuple[str, ...]:
        return (*self.unseen, *(image for part in self.increments for image in part), *self.reserve)


@dataclass(frozen=True)
class Plan:
    """All choices of the demo."""

    seed: int
    people: tuple[Person, ...]
    others: tuple[str, ...]  # people whose ratings train the base model
    train_images: tuple[str, ...]
    unseen_images: tuple[str, ...]
    has_scenes: bool  # True: whole scenes are held out; False: single images
    num_scenes: int
    num_unseen_scenes: int

    @property
    def images(self) -> list[str]:
        """All images that a demo person needs."""
        return sorted({image for person in self.people for image in person.images})


def make_plan(
    folder: DataFolder,
    *,
    num_people: int = 12,
    increment_size: int = 40,
    num_reserve: int = 8,
    unseen_share: float = 0.35,
    seed: int = 0,
) -> Plan:
    """Draw the people, the held-out images and every increment.

    If the folder names scenes, whole scenes are held out. If people rated too few images, the increments are smaller.

    Raises:
        InvalidInput: fewer than `num_people` people rated enough, or nobody is left to train the base model.
    """
    rng = np.random.default_rng(seed)
    scenes = np.unique(folder.scene_I)
    num_unseen_scenes = max(1, int(unseen_share * len(scenes)))
    unseen_scenes = rng.permutation(scenes)[:num_unseen_scenes]
    is_unseen_I = np.isin(folder.scene_I, unseen_scenes)

    shuffled = [folder.people[p] for p in rng.permutation(len(folder.people))]
    ratings = ratings_of(folder)
    unseen_names = {image for image, unseen in zip(folder.images, is_unseen_I, strict=True) if unseen}
    smallest = NUM_INCREMENTS * MIN_INCREMENT + num_reserve
    able = [u for u in shuffled if _is_able(folder, ratings[u], unseen_names, smallest)]
    if len(able) < num_people or len(shuffled) == num_people:
        raise InvalidInput(
            f"{folder.path}: {len(able)} of {len(shuffled)} people have {smallest} ratings to learn from and "
            f"{MIN_UNSEEN} to be tested on; the demo needs {num_people}, and others for the base model"
        )
    able.sort(key=lambda u: _num_seen(ratings[u], unseen_names) < NUM_INCREMENTS * increment_size + num_reserve)
    chosen = able[:num_people]
    fewest = min(_num_seen(ratings[u], unseen_names) for u in chosen)
    size = min(increment_size, (fewest - num_reserve) // NUM_INCREMENTS)
    people = tuple(
        _person(folder, user_id, ratings[user_id], unseen_names, size, num_reserve, LEARNERS[place % 2], rng)
        for place, user_id in enumerate(chosen)
    )
    return Plan(
        seed=seed,
        people=people,
        others=tuple(sorted(set(folder.people) - set(chosen))),
        train_images=tuple(sorted(set(folder.images) - unseen_names)),
        unseen_images=tuple(sorted(unseen_names)),
        has_scenes=len(scenes) < len(folder.images),
        num_scenes=len(scenes),
        num_unseen_scenes=num_unseen_scenes,
    )


def _person(
    folder: DataFolder,
    user_id: str,
    ratings: dict[str, dict[str, float]],
    unseen_names: set[str],
    size: int,
    num_reserve: int,
    learner: tuple[str, str],
    rng: np.random.Generator,
) -> Person:
    seen = sorted(image for image in ratings if image not in unseen_names)
    order = [seen[i] for i in rng.permutation(len(seen))]
    unseen = sorted(image for image in ratings if image in unseen_names)
    adapter, strategy = learner
    return Person(
        user_id=user_id,
        is_simulated=folder.user_columns.get(user_id, {}).get("simulated", "").lower() == "true",
        adapter=adapter,
        strategy=strategy,
        increments=tuple(tuple(order[i * size : (i + 1) * size]) for i in range(NUM_INCREMENTS)),
        reserve=tuple(order[NUM_INCREMENTS * size :][:num_reserve]),
        unseen=tuple(sorted(unseen[i] for i in rng.permutation(len(unseen))[:MAX_UNSEEN])),
        ratings=ratings,
    )


def ratings_of(folder: DataFolder) -> dict[str, dict[str, dict[str, float]]]:
    """Ratings by person, image and aspect, without aspects that were not rated."""
    ratings: dict[str, dict[str, dict[str, float]]] = {user_id: {} for user_id in folder.people}
    for person, image, rating_A in zip(folder.person_N, folder.image_N, folder.rating_NA, strict=True):
        given = {a: float(r) for a, r in zip(folder.aspects, rating_A, strict=True) if not np.isnan(r)}
        ratings[folder.people[person]][folder.images[image]] = given
    return ratings


def _is_able(folder: DataFolder, ratings: dict[str, dict[str, float]], unseen_names: set[str], smallest: int) -> bool:
    """True if a person rated enough images, and not all of them equally."""
    if _num_seen(ratings, unseen_names) < smallest or len(ratings.keys() & unseen_names) < MIN_UNSEEN:
        return False
    return all(
        _spreads([given[aspect] for image, given in ratings.items() if image in part and aspect in given], folder)
        for aspect in folder.aspects
        for part in (unseen_names, ratings.keys() - unseen_names)
    )


def _spreads(values: Sequence[float], folder: DataFolder) -> bool:
    width = folder.scale.maximum - folder.scale.minimum
    return len(values) > 1 and float(np.std(values)) > _MIN_RATING_SD * width


def _num_seen(ratings: dict[str, dict[str, float]], unseen_names: set[str]) -> int:
    return len(ratings.keys() - unseen_names)
