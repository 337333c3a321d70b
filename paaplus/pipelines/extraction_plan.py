"""Which images are extracted next: fair between applications, and between the users of an application.

To order all images without features costs more the more there are, so a worker keeps such a plan from round to round.
Two look-ups whose cost does not grow with the plan keep it true: images that came since are given their turn, and what
others have extracted or deleted meanwhile is left out.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import FeaturesRow, ImageRow
from paaplus.db.types import utcnow
from paaplus.ids import first_id_of

PLAN_SIZE: Final = 16_384  # images: some 5 MB
PLAN_S: Final = 600.0  # a plan is made anew after this: an id may be older than others that were there before it
NEWCOMERS_S: Final = 2.0  # between two looks for images that came since
CLOCKS_DIFFER: Final = timedelta(minutes=1)  # ids begin with a time of the host that made them

_NOBODY: Final = UUID(int=0)  # owner of shared images, in the order of extraction
_OWNER: Final = sa.func.coalesce(ImageRow.owner_id, sa.literal(_NOBODY, sa.Uuid()))


class PlannedImage(NamedTuple):
    """An image without features. `owner_id`: of zeros if it is shared."""

    id: UUID
    sha256: str
    application: str
    owner_id: UUID


class ExtractionPlan:
    """The plan of one worker for one extractor."""

    def __init__(self, extractor_digest: str) -> None:
        self.extractor_digest = extractor_digest
        self._turns = _Turns()
        self._looked_at: datetime = utcnow()  # for images that came since
        self._next_look_s = self._ends_s = 0.0

    def forget(self) -> None:
        """Plan anew at the next batch: the images of the last one were not extracted."""
        self._turns = _Turns()

    def next_batch(self, session: Session, size: int, without: Collection[UUID]) -> list[PlannedImage]:
        """The next images that have no features; empty: none is left.

        Args:
            session: in a read transaction.
            size: at most so many.
            without: images that are left out for now.
        """
        now_s = time.monotonic()
        if now_s > self._ends_s:
            self.forget()
        elif now_s > self._next_look_s:
            self._add_newcomers(session)
        while batch := self._turns.take(size):
            if found := self._still_missing(session, [image for image in batch if image.id not in without]):
                return found
        self._look_at_all(session, without)
        return self._turns.take(size)

    def _look_at_all(self, session: Session, without: Collection[UUID]) -> None:
        self._looked_at = utcnow()
        self._turns = _Turns()
        self._turns.add(all_missing(session, self.extractor_digest, PLAN_SIZE, without))
        self._ends_s = time.monotonic() + PLAN_S
        self._next_look_s = time.monotonic() + NEWCOMERS_S

    def _add_newcomers(self, session: Session) -> None:
        since, self._looked_at = self._looked_at - CLOCKS_DIFFER, utcnow()
        is_new = ImageRow.id >= first_id_of(since)
        query = _images().where(is_new, without_features(self.extractor_digest)).order_by(ImageRow.id).limit(PLAN_SIZE)
        self._turns.add(_planned(session, query))
        self._next_look_s = time.monotonic() + NEWCOMERS_S

    def _still_missing(self, session: Session, images: Sequence[PlannedImage]) -> list[PlannedImage]:
        """Those that still exist and that nobody has extracted meanwhile."""
        if not images:
            return []
        query = sa.select(ImageRow.id).where(
            ImageRow.id.in_([image.id for image in images]), without_features(self.extractor_digest)
        )
        missing = set(session.execute(query).scalars())
        return [image for image in images if image.id in missing]


class _Turns:
    """Images that wait: applications take turns, and within an application its users."""

    def __init__(self) -> None:
        # By application and owner, in the order of their next turns.
        self._waiting: OrderedDict[str, OrderedDict[UUID, deque[PlannedImage]]] = OrderedDict()
        self._ids: set[UUID] = set()

    def add(self, images: Sequence[PlannedImage]) -> None:
        """Give images their turn, each owner's in the order given. Those that wait already are passed over."""
        for image in images:
            if image.id not in self._ids:
                self._ids.add(image.id)
                of_owners = self._waiting.setdefault(image.application, OrderedDict())
                of_owners.setdefault(image.owner_id, deque()).append(image)

    def take(self, size: int) -> list[PlannedImage]:
        found = list(islice(iter(self._next, None), size))
        self._ids.difference_update(image.id for image in found)
        return found

    def _next(self) -> PlannedImage | None:
        if not self._waiting:
            return None
        application, of_owners = self._waiting.popitem(last=False)
        owner_id, images = of_owners.popitem(last=False)
        image = images.popleft()
        if images:
            of_owners[owner_id] = images  # at the end
        if of_owners:
            self._waiting[application] = of_owners
        return image


def without_features(extractor_digest: str) -> sa.ColumnElement[bool]:
    """Whether an image has no features of this extractor."""
    return ~sa.exists().where(FeaturesRow.image_id == ImageRow.id, FeaturesRow.extractor_digest == extractor_digest)


def all_missing(
    session: Session, extractor_digest: str, limit: int, without: Collection[UUID] = ()
) -> list[PlannedImage]:
    """Images without features, in a fair order: the first of every owner come before the second of any."""
    of_owner = sa.func.row_number().over(partition_by=(ImageRow.application, _OWNER), order_by=ImageRow.id)
    inner = (
        _images()
        .add_columns(of_owner.label("of_owner"))
        .where(without_features(extractor_digest), ImageRow.id.not_in(without))
        .subquery()
    )
    of_application = sa.func.row_number().over(
        partition_by=inner.c.application, order_by=(inner.c.of_owner, inner.c.id)
    )
    query = sa.select(inner.c.id, inner.c.sha256, inner.c.application, inner.c.owner)
    return _planned(session, query.order_by(of_application, inner.c.id).limit(limit))


def _images() -> sa.Select[UUID, str, str, UUID]:
    return sa.select(ImageRow.id, ImageRow.sha256, ImageRow.application, _OWNER.label("owner"))


def _planned(session: Session, query: sa.Select[*tuple[UUID, str, str, UUID]]) -> list[PlannedImage]:
    return [PlannedImage(*row) for row in session.execute(query)]
