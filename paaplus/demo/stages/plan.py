"""The plan of the three stages: two experts who review, and new users who are matched with them.

All of them rated the same images, so every question has a real answer. A seed decides all choices before the first
training, so that no choice can depend on a result.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paaplus.data.folder import DataFolder
from paaplus.demo.plan import MIN_UNSEEN, ratings_of
from paaplus.errors import InvalidInput

NUM_EXPERTS = 2
NUM_INCREMENTS = 2
FEEDBACK_A_TIME = 40  # ratings of each user in an increment; fewer would not be due
MIN_SHARED = NUM_INCREMENTS * FEEDBACK_A_TIME  # images to review, to be asked about and to rate
_SHARED = 0.9  # of the first person's images that everybody else rated too

Ratings = dict[str, dict[str, float]]  # image -> aspect -> rating, as given


@dataclass(frozen=True)
class Player:
    """One person with ratings."""

    user_id: str
    ratings: Ratings
    order: tuple[str, ...]  # in which they come to rate what they are not asked about


@dataclass(frozen=True)
class StagesPlan:
    """The chosen people. All of them rated `images`; nobody is asked about `unseen`."""

    seed: int
    is_simulated: bool
    experts: tuple[Player, ...]
    users: tuple[Player, ...]
    others: tuple[str, ...]  # people whose ratings train the base model
    train_images: tuple[str, ...]  # of the base model
    images: tuple[str, ...]
    unseen: tuple[str, ...]


def make_stages_plan(
    folder: DataFolder, *, num_users: int = 8, unseen_share: float = 0.35, seed: int = 0
) -> StagesPlan:
    """Draw experts, users and test images; whole scenes if the folder names scenes.

    Raises:
        InvalidInput: too few people rated the same images.
    """
    rng = np.random.default_rng(seed)
    scenes = np.unique(folder.scene_I)
    unseen_scenes = rng.permutation(scenes)[: max(1, int(unseen_share * len(scenes)))]
    is_unseen_I = np.isin(folder.scene_I, unseen_scenes)
    unseen = {image for image, hidden in zip(folder.images, is_unseen_I, strict=True) if hidden}
    ratings = ratings_of(folder)
    shuffled = [folder.people[p] for p in rng.permutation(len(folder.people))]
    wanted = NUM_EXPERTS + num_users
    cast, shared = _cast(shuffled, ratings, wanted)
    seen, hidden = sorted(shared - unseen), sorted(shared & unseen)
    if len(cast) < wanted or len(shuffled) == wanted or len(seen) < MIN_SHARED or len(hidden) < MIN_UNSEEN:
        raise InvalidInput(
            f"{folder.path}: {len(cast)} people rated the same {len(seen)} images and {len(hidden)} unseen ones; the "
            f"three stages need {wanted} people besides those of the base model, {MIN_SHARED} images and {MIN_UNSEEN}"
        )
    players = [
        Player(user_id, ratings[user_id], tuple(seen[i] for i in rng.permutation(len(seen)))) for user_id in cast
    ]
    return StagesPlan(
        seed=seed,
        is_simulated=folder.user_columns.get(cast[0], {}).get("simulated", "").lower() == "true",
        experts=tuple(players[:NUM_EXPERTS]),
        users=tuple(players[NUM_EXPERTS:]),
        others=tuple(sorted(set(folder.people) - set(cast))),
        train_images=tuple(sorted(set(folder.images) - unseen)),
        images=tuple(seen),
        unseen=tuple(hidden),
    )


def _cast(shuffled: list[str], ratings: dict[str, Ratings], wanted: int) -> tuple[list[str], set[str]]:
    """The first group of people who rated nearly the same images, and the images that all of them rated."""
    best: list[str] = []
    for first in shuffled:
        near = [other for other in shuffled if _overlap(ratings[first], ratings[other]) >= _SHARED]
        best = max(best, near[:wanted], key=len)
        if len(best) >= wanted:
            break
    shared = set.intersection(*(set(ratings[user_id]) for user_id in best)) if best else set()
    return best, shared


def _overlap(first: Ratings, other: Ratings) -> float:
    return len(first.keys() & other.keys()) / max(len(first), 1)
