"""Which images a caller asks for: conditions on names, ids, owners, themes, ages, and on what a user has rated."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from paaplus.db.tables import FeedbackRow, ImageRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.ids import first_id_of

RATING_KINDS: Final = (FeedbackKind.RATING, FeedbackKind.CORRECTION, FeedbackKind.BINARY)
_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)  # no image is as old
_SAME_MOMENT: Final = timedelta(seconds=1)  # between a row's id and its `created_at`


@dataclass(frozen=True, slots=True)
class ImageFilter:
    """Conditions that an image must meet all of; None: no condition.

    Args:
        owner_id: only private images of this user.
        shared: True: only images without an owner; False: only private ones.
        name: exactly this name.
        name_prefix: the beginning of the name, for example a folder.
        search: a part of the name, in upper or lower case (on SQLite: of ASCII letters).
        rated_by, unrated_by: users who have, or have not, rated or liked the image; what was retracted does not count.
        created_since: stored at this moment or later.
    """

    application: str | None = None
    owner_id: UUID | None = None
    shared: bool | None = None
    external_id: str | None = None
    name: str | None = None
    name_prefix: str | None = None
    search: str | None = None
    theme: str | None = None
    rated_by: UUID | None = None
    unrated_by: UUID | None = None
    created_since: datetime | None = None

    def conditions(self) -> Iterator[sa.ColumnElement[bool]]:
        """The filter as SQL conditions on `images`."""
        for column, wanted in (
            (ImageRow.application, self.application),
            (ImageRow.owner_id, self.owner_id),
            (ImageRow.external_id, self.external_id),
            (ImageRow.name, self.name),
            (ImageRow.theme, self.theme),
        ):
            if wanted is not None:
                yield column == wanted
        if self.shared is not None:
            yield ImageRow.owner_id.is_(None) if self.shared else ImageRow.owner_id.is_not(None)
        if self.name_prefix is not None:  # not LIKE, which does not tell "a" from "A" on SQLite
            yield sa.func.substr(ImageRow.name, 1, len(self.name_prefix)) == self.name_prefix
        if self.search is not None:
            yield ImageRow.name.icontains(self.search, autoescape=True)
        if self.rated_by is not None:
            yield ImageRow.id.in_(rated_images(self.rated_by))
        if self.unrated_by is not None:
            yield ImageRow.id.not_in(rated_images(self.unrated_by))
        if self.created_since is not None:
            if self.created_since > _FIRST:  # the key's order is that of time
                yield ImageRow.id >= first_id_of(self.created_since - _SAME_MOMENT)
            yield ImageRow.created_at >= self.created_since


EVERY_IMAGE: Final = ImageFilter()


def rated_images(user_id: UUID) -> sa.Select[UUID | None]:
    """Ids of the images that a user has rated or liked, without those whose events were all retracted."""
    retraction = aliased(FeedbackRow)
    retracted = sa.select(retraction.retracts_sequence).where(
        retraction.user_id == user_id, retraction.retracts_sequence.is_not(None)
    )
    return sa.select(FeedbackRow.image_id).where(
        FeedbackRow.user_id == user_id,
        FeedbackRow.kind.in_(RATING_KINDS),
        FeedbackRow.image_id.is_not(None),
        FeedbackRow.sequence.not_in(retracted),
    )
