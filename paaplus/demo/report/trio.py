"""Three people beside each other: the images that come first by everybody's scores, and by their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from paaplus.data.folder import DataFolder
from paaplus.demo.loop import Served
from paaplus.demo.plan import Person, Plan
from paaplus.demo.report.pictures import data_uri, one_a_scene, sharp
from paaplus.demo.statistics import agreement
from paaplus.errors import UndefinedMetric

NUM_PEOPLE, NUM_TOP = 3, 6
SIDE_PX = 240


@dataclass(frozen=True)
class TrioPerson:
    """One person: what comes first after each round, of unseen images, and what they themselves gave."""

    user_id: str
    kind: str
    generic: tuple[str, ...]  # image names, best first
    personal: tuple[tuple[str, ...], ...]  # by round: before, and after each increment
    ratings: dict[str, float]  # of the images above, as given
    num_candidates: int

    def mean(self, images: Sequence[str]) -> float:
        """Mean rating of these images."""
        return sum(self.ratings[image] for image in images) / len(images)


@dataclass(frozen=True)
class Trio:
    """Three people and the pictures that they need."""

    people: tuple[TrioPerson, ...]
    num_ratings: tuple[int, ...]  # by round
    best: float  # the highest rating of the scale
    pictures: dict[str, str]  # image name -> data URI

    def to_dict(self) -> dict[str, object]:
        """What `report.json` holds of it."""
        return {
            "num_ratings": list(self.num_ratings),
            "people": [
                {
                    "id": person.user_id,
                    "generic": list(person.generic),
                    "personal": [list(images) for images in person.personal],
                    "mean_rating_generic": person.mean(person.generic),
                    "mean_rating_personal": [person.mean(images) for images in person.personal],
                }
                for person in self.people
            ],
        }


def make_trio(folder: DataFolder, plan: Plan, rounds: Sequence[Mapping[str, Served]]) -> Trio | None:
    """The three people whose ratings agree least with each other; None: there are fewer than three.

    The choice does not use any score, so it does not select people for whom the platform did well.
    """
    aspect = folder.aspects[0]
    able = [
        person for person in plan.people if len(one_a_scene(folder, _candidates(folder, person, aspect))) >= NUM_TOP
    ]
    if len(able) < NUM_PEOPLE:
        return None
    apart = {(a.user_id, b.user_id): _agreement(a, b) for a, b in combinations(able, 2)}
    chosen = min(
        combinations(able, NUM_PEOPLE),
        key=lambda three: sum(apart[a.user_id, b.user_id] for a, b in combinations(three, 2)),
    )
    people = tuple(_person(folder, person, rounds, aspect) for person in chosen)
    names = {image for person in people for images in (person.generic, *person.personal) for image in images}
    increments = [len(part) for part in plan.people[0].increments]
    return Trio(
        people=people,
        num_ratings=tuple(sum(increments[:number]) for number in range(len(rounds))),
        best=folder.scale.maximum,
        pictures={image: data_uri(folder, image, SIDE_PX) for image in sorted(names)},
    )


def _candidates(folder: DataFolder, person: Person, aspect: str) -> list[str]:
    """Unseen images that the person rated, without blurred ones."""
    return [image for image in sharp(folder, person.unseen) if aspect in person.ratings[image]]


def _agreement(first: Person, second: Person) -> float:
    shared = sorted(first.ratings.keys() & second.ratings.keys())
    try:
        return agreement(first.ratings, second.ratings, shared) if shared else 0.0
    except (KeyError, UndefinedMetric):
        return 0.0


def _person(folder: DataFolder, person: Person, rounds: Sequence[Mapping[str, Served]], aspect: str) -> TrioPerson:
    images = _candidates(folder, person, aspect)

    def top(scores: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
        best_first = sorted(images, key=lambda image: (-scores[image][aspect], image))
        return tuple(one_a_scene(folder, best_first)[:NUM_TOP])

    served = [round_[person.user_id] for round_ in rounds]
    return TrioPerson(
        user_id=person.user_id,
        kind="simulated" if person.is_simulated else "real",
        generic=top(served[-1].generic),
        personal=tuple(top(each.scores) for each in served),
        ratings={image: person.ratings[image][aspect] for image in images},
        num_candidates=len(images),
    )
