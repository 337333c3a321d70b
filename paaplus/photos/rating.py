"""Ratings of photographs: the next question, answers, undo, and stars that other programs wrote into files.

An answer is an event of the user's log, as every rating. A prediction is told only after the answer, because it would
bias it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from paaplus.db.tables import FeedbackRow, ImageRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.db.users import existing_user
from paaplus.errors import InvalidInput
from paaplus.ids import new_id, sha256_hex
from paaplus.photos import xmp
from paaplus.photos.catalogue import Catalogue
from paaplus.photos.folder import PhotoFile
from paaplus.photos.importing import Imported, catalogue_of
from paaplus.photos.platform import LocalPlatform
from paaplus.services import names
from paaplus.services.adaptation import suggestions
from paaplus.services.feedback import feedback_log, intake
from paaplus.services.feedback.intake import AppendResult, NewEvent
from paaplus.services.images.filters import ImageFilter
from paaplus.services.predictions import rankings

SCALE: Final = {"min": 1, "max": 5}
SOURCE, XMP_SOURCE = "photos:rate", "photos:xmp"
SAMPLE_SIZE: Final = suggestions.POOL_SIZE  # photographs among which questions are chosen
_AHEAD: Final = 8  # questions chosen at once: which are best does not depend on the answers, only on what was rated


@dataclass(frozen=True, slots=True)
class Question:
    """One photograph to rate, or two to compare."""

    images: tuple[UUID, ...]
    files: tuple[Path, ...]

    @property
    def is_pair(self) -> bool:
        return len(self.images) == 2


@dataclass
class RatingSession:
    """The questions of one sitting, and the answers that were given."""

    platform: LocalPlatform
    files: dict[UUID, Path]
    _skipped: set[UUID] = field(default_factory=set)
    _waiting: list[UUID] = field(default_factory=list)
    _given: list[tuple[str, Question]] = field(default_factory=list)

    @classmethod
    def of(cls, platform: LocalPlatform, imported: Imported) -> RatingSession:
        """A session about imported photographs: of several files of one image, the first is shown."""
        files: dict[UUID, Path] = {}
        for file, known in imported.known:
            if known.image_id is not None:
                files.setdefault(known.image_id, file.path)
        return cls(platform, files)

    @property
    def num_given(self) -> int:
        """Answers of this session that were not undone."""
        return len(self._given)

    @property
    def aspect(self) -> str:
        """What is rated: the base model's first aspect."""
        return str(self.platform.base_model.aspects[0])

    def next_question(self, *, pair: bool = False) -> Question | None:
        """The photograph whose rating teaches most, or the two of which; None: all are rated."""
        wanted = 2 if pair else 1
        if len(self._waiting) < wanted:
            among = [image_id for image_id in self.files if image_id not in self._skipped]
            self._waiting = suggestions.to_rate(
                self.platform.database,
                self.platform.blobs,
                self.platform.serving,
                self.platform.settings,
                self.platform.user_id,
                count=_AHEAD,
                among=among,
            )
        images = tuple(self._waiting[:wanted])
        if len(images) < wanted:
            return None
        return Question(images, tuple(self.files[image_id] for image_id in images))

    def rate(self, question: Question, stars: int) -> None:
        """Append a rating, 1 to 5 stars."""
        assert 1 <= stars <= SCALE["max"]
        assert not question.is_pair
        payload = {"ratings": {self.aspect: stars}, "scale": SCALE}
        self._append(question, FeedbackKind.RATING, payload)

    def prefer(self, question: Question, preference: str) -> None:
        """Append a comparison: one of `intake.PREFERENCES`."""
        assert preference in intake.PREFERENCES
        assert question.is_pair
        self._append(question, FeedbackKind.COMPARISON, {"preference": {self.aspect: preference}})

    def skip(self, question: Question) -> None:
        """Ask about it no more in this session."""
        self._skipped.update(question.images)
        self._waiting = [image_id for image_id in self._waiting if image_id not in question.images]

    def undo(self) -> Question | None:
        """Take the last answer back and ask again; None: there is none in this session."""
        if not self._given:
            return None
        event_id, question = self._given.pop()
        retraction = NewEvent(
            index=0,
            user_id=self.platform.user_id,
            event_id=f"{event_id}:undo",
            kind=FeedbackKind.RETRACTION,
            payload={},
            retracts_event_id=event_id,
            occurred_at=utcnow(),
        )
        _append(self.platform, [retraction], SOURCE)
        self._waiting = [*question.images, *self._waiting]
        self._skipped.difference_update(question.images)  # a comparison that was taken back may be asked again
        return question

    def prediction(self, image_id: UUID) -> float:
        """The score of a photograph, in stars; to be told after the answer."""
        wanted = rankings.Wanted(self.platform.user_id, images=[str(image_id)], top=1)
        [item] = rankings.rank(self.platform.database, self.platform.serving, self.platform.settings, wanted).items
        return 1 + (SCALE["max"] - 1) * min(max(item.score, 0.0), 10.0) / 10

    def _append(self, question: Question, kind: FeedbackKind, payload: dict[str, Any]) -> None:
        event = NewEvent(
            index=0,
            user_id=self.platform.user_id,
            event_id=f"rate:{new_id()}",
            kind=kind,
            image_id=question.images[0],
            other_image_id=question.images[1] if question.is_pair else None,
            payload=payload,
            occurred_at=utcnow(),
        )
        _append(self.platform, [event], SOURCE)
        self._given.append((event.event_id, question))
        self._waiting = [image_id for image_id in self._waiting if image_id not in question.images]
        if question.is_pair:
            self._skipped.update(question.images)  # a comparison leaves both unrated: not again at once


@dataclass(frozen=True, slots=True)
class StarsImport:
    """What taking over stars did. `refused`: files whose metadata cannot be read, each with the reason."""

    num_found: int
    num_accepted: int
    refused: list[tuple[str, str]]


def import_stars(platform: LocalPlatform, imported: Imported, on_progress: Callable[[int, int], None]) -> StarsImport:
    """Append the stars that other programs wrote into files or sidecars, with the dates of their metadata.

    Rejected photographs count as 1 star. Stars that were imported before, and have not changed, are not appended again.
    Stars that paaplus wrote itself are none.

    Raises:
        Unavailable: the package that reads XMP is not installed.
    """
    found: dict[UUID, xmp.GivenStars] = {}
    refused: list[tuple[str, str]] = []
    for number, (file, known) in enumerate(imported.known, 1):
        try:
            given = xmp.read_stars(file.path)
        except (InvalidInput, OSError) as error:
            refused.append((file.name, str(error)))
            given = None
        if given is not None and known.image_id is not None:
            found[known.image_id] = given
        on_progress(number, len(imported.known))
    before = _imported_stars(platform)
    aspect = str(platform.base_model.aspects[0])
    events = [
        NewEvent(
            index=index,
            user_id=platform.user_id,
            event_id=_event_id(image_id, stars, given.occurred_at),
            kind=FeedbackKind.RATING,
            image_id=image_id,
            payload={"ratings": {aspect: stars}, "scale": SCALE},
            occurred_at=given.occurred_at,
        )
        for index, (image_id, given) in enumerate(found.items())
        if before.get(image_id) != (stars := max(given.stars, SCALE["min"]))
    ]
    accepted = sum(result.status == "accepted" for result in _append(platform, events, XMP_SOURCE))
    return StarsImport(len(found), accepted, refused)


def sample(platform: LocalPlatform, files: Sequence[PhotoFile]) -> list[PhotoFile]:
    """The files among which questions are chosen: of those that are not rated yet, some from the whole folder.

    They are the same ones in the next session, unless they were rated.
    """
    catalogue = Catalogue(catalogue_of(platform))
    rated = rated_images(platform)
    left = [file for file in files if (known := catalogue.of_file(file)) is None or known.image_id not in rated]
    left.sort(key=lambda file: sha256_hex(file.name.encode()))
    return left[:SAMPLE_SIZE]


def num_answers(platform: LocalPlatform) -> int:
    """How many answers of the user count: those that were not taken back."""
    taken_back = aliased(FeedbackRow)
    retracted = sa.select(taken_back.retracts_sequence).where(
        taken_back.user_id == platform.user_id, taken_back.retracts_sequence.is_not(None)
    )
    query = sa.select(sa.func.count()).where(
        FeedbackRow.user_id == platform.user_id,
        FeedbackRow.kind != FeedbackKind.RETRACTION,
        FeedbackRow.sequence.not_in(retracted),
    )
    with platform.database.read_session() as session:
        return int(session.execute(query).scalar_one())


def num_others(platform: LocalPlatform, imported: Imported) -> int:
    """How many unrated photographs the user has in other folders."""
    query = sa.select(ImageRow.id).where(
        ImageRow.owner_id == platform.user_id, *ImageFilter(unrated_by=platform.user_id).conditions()
    )
    with platform.database.read_session() as session:
        return len(set(session.execute(query).scalars()) - set(imported.image_ids))


def rated_images(platform: LocalPlatform) -> set[UUID]:
    """The images that the user has rated, in all folders."""
    with platform.database.read_session() as session:
        log = feedback_log.read(session, existing_user(session, platform.user_id), None)
    return {rating.image_id for rating in log.latest_ratings()}


def _append(platform: LocalPlatform, events: list[NewEvent], source: str) -> list[AppendResult]:
    with platform.database.session() as session:
        results = intake.append(session, names.HOME_APPLICATION, events, source=source, settings=platform.settings)
    for result in results:
        if result.error is not None:
            raise result.error
    return results


def _imported_stars(platform: LocalPlatform) -> dict[UUID, int]:
    """The stars that were imported last, by image."""
    query = (
        sa.select(FeedbackRow.image_id, FeedbackRow.payload)
        .join(ImageRow, ImageRow.id == FeedbackRow.image_id)
        .where(FeedbackRow.user_id == platform.user_id, FeedbackRow.source == XMP_SOURCE)
        .order_by(FeedbackRow.sequence)
    )
    with platform.database.read_session() as session:
        return {
            image_id: int(next(iter(payload["ratings"].values())))
            for image_id, payload in session.execute(query)
            if image_id
        }


def _event_id(image_id: UUID, stars: int, occurred_at: datetime | None) -> str:
    return "xmp:" + sha256_hex(f"{image_id} {stars} {occurred_at}".encode())[:32]
