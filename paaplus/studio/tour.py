"""Look around: the built-in photographs, and three people who have rated them, in an application of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Final, Protocol
from uuid import UUID

import structlog
from PIL import Image

from paaplus.errors import PaaplusError, Unavailable
from paaplus.services.feedback.writer import Posted
from paaplus.services.images import uploads
from paaplus.services.users import users
from paaplus.services.users.keys import Principal
from paaplus.studio.answers import rating_event
from paaplus.studio.context import StudioContext

APPLICATION: Final = "tour"
LONG_SIDE_PX: Final = 1_280
SCANS: Final = ("immunohistochemistry", "retina")  # pictures that nobody has a taste in
NUM_PICTURES: Final = 38
NUM_PHOTOGRAPHS: Final = 9  # of the pictures; the others are drawn
NUM_UNRATED: Final = 5  # of the pictures, which show what the judges make of new ones
LIKES: Final[dict[str, dict[str, float]]] = {  # what each of the three likes, by kinds of things in the picture
    "nora-night": {"night": 2.0, "landscape": 0.8, "object": -1.0, "person": -1.5, "pattern": -1.0, "building": -0.5},
    "lena-landscape": {
        "landscape": 2.0,
        "water": 0.6,
        "pattern": -1.5,
        "object": -1.0,
        "close-up": -1.0,
        "person": -1.0,
    },
    "pat-pattern": {"pattern": 2.0, "building": 0.8, "close-up": 0.8, "landscape": -1.5, "person": -0.8},
}

log = structlog.get_logger(__name__)


class Picture(Protocol):
    """A built-in photograph, or a drawn scene."""

    @property
    def name(self) -> str: ...
    @property
    def contents(self) -> tuple[str, ...]: ...
    def load(self, long_side_px: int) -> Image.Image: ...


@cache
def pictures() -> tuple[Picture, ...]:
    """The photographs, then the drawn scenes."""
    from paaplus.data.builtin_set.photographs import PHOTOGRAPHS  # scenes import scipy, which no page needs
    from paaplus.data.builtin_set.scenes import SYNTHETIC_SCENES

    photographs = [photograph for photograph in PHOTOGRAPHS if photograph.name not in SCANS]
    assert len(photographs) == NUM_PHOTOGRAPHS, len(photographs)
    found: tuple[Picture, ...] = (*photographs, *SYNTHETIC_SCENES)
    assert len(found) == NUM_PICTURES, len(found)
    return found


def is_possible() -> bool:
    """Whether the photographs are installed."""
    from paaplus.data.builtin_set.photographs import PHOTOGRAPHS

    try:
        PHOTOGRAPHS[0].find()
    except Unavailable:
        return False
    return True


def prepare(context: StudioContext, principal: Principal) -> None:
    """Add the three people now, and the pictures and their ratings meanwhile. Repeating it changes nothing."""
    people = {}
    for name in LIKES:
        with context.database.session() as session:
            user, _ = users.create(session, application=APPLICATION, external_id=name)
            people[name] = str(user.id)
    _meanwhile(lambda: _rate_everything(context, principal, people))


def _rate_everything(context: StudioContext, principal: Principal, people: dict[str, str]) -> None:
    image_ids = {picture.name: add(context, picture, APPLICATION, None) for picture in pictures()}
    for name, user_id in people.items():
        posted = []
        for index, picture in enumerate(pictures()[NUM_UNRATED:]):
            stars = min(5, max(1, round(3 + sum(LIKES[name].get(kind, 0.0) for kind in picture.contents))))
            event = rating_event(index, f"tour-{picture.name}", image_ids[picture.name], stars, 1, 5, context)
            posted.append(Posted(index, event.event_id, user_id, event.to_event))
        context.feedback.submit(principal, posted).result()


def add_all(context: StudioContext, application: str, owner_id: UUID | None, num_now: int) -> None:
    """Store the first built-in pictures now, and the others meanwhile."""
    for picture in pictures()[:num_now]:
        add(context, picture, application, owner_id)

    def add_others() -> None:
        for picture in pictures()[num_now:]:
            add(context, picture, application, owner_id)

    _meanwhile(add_others)


def _meanwhile(work: Callable[[], None]) -> None:
    """Do it in a thread: drawing a scene takes a part of a second."""

    def logged() -> None:
        try:
            work()
        except PaaplusError as error:  # the person was erased meanwhile, or the storage does not answer
            log.warning("builtin_pictures_incomplete", error=str(error))

    threading.Thread(target=logged, name="built-in-pictures", daemon=True).start()


def add(context: StudioContext, picture: Picture, application: str, owner_id: UUID | None) -> UUID:
    """Store a built-in picture as an image; returns its id. The same picture again is the same image."""
    buffer = BytesIO()
    picture.load(LONG_SIDE_PX).save(buffer, "JPEG", quality=90)
    added = uploads.add(
        context.database,
        context.blobs,
        context.settings,
        application=application,
        owner_id=owner_id,
        data=buffer.getvalue(),
        name=f"{picture.name}{'' if picture in pictures()[:NUM_PHOTOGRAPHS] else ' (drawn)'}.jpg",
    )
    return added.row.id
