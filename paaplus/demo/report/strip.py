"""A strip of images for one person, with generic score, personal score and the person's rating."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from paaplus.data.folder import DataFolder
from paaplus.demo.loop import Served
from paaplus.demo.plan import Plan
from paaplus.demo.report.pictures import data_uri, one_a_scene, sharp

NUM_IMAGES = 8
SIDE_PX = 220


@dataclass(frozen=True)
class StripImage:
    """One image with three scores, 0 to 10."""

    name: str
    kind: str  # photograph or synthetic, if the data says so
    data_uri: str
    generic: float
    personal: float
    rated: float


@dataclass(frozen=True)
class Strip:
    """One person's images, ordered by personal minus generic score."""

    user_id: str
    images: tuple[StripImage, ...]


def make_strip(folder: DataFolder, plan: Plan, report: Mapping[str, Any], served: Mapping[str, Served]) -> Strip:
    """The person with the median gain, and the test images with the largest change of score, one per scene.

    Neither choice uses the ratings, so the strip does not select good examples.
    """
    middle = sorted(report["people"], key=lambda person: person["gain"])[len(report["people"]) // 2]
    person = next(p for p in plan.people if p.user_id == middle["id"])
    aspect = folder.aspects[0]
    seen = served[person.user_id]
    moved = {image: seen.scores[image][aspect] - seen.generic[image][aspect] for image in sharp(folder, person.unseen)}
    chosen = one_a_scene(folder, sorted(moved, key=lambda image: -abs(moved[image])))[:NUM_IMAGES]
    images = tuple(
        StripImage(
            name=image,
            kind=folder.image_columns.get(image, {}).get("kind", ""),
            data_uri=data_uri(folder, image, SIDE_PX),
            generic=seen.generic[image][aspect],
            personal=seen.scores[image][aspect],
            rated=folder.scale.to_score(person.ratings[image][aspect]),
        )
        for image in sorted(chosen, key=lambda image: -moved[image])
        if aspect in person.ratings[image]
    )
    return Strip(person.user_id, images)
