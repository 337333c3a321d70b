"""Import ratings from a CSV file into users' logs: everything is checked first, and a repeated import changes nothing.

user_id,image,rating[,occurred_at]      image: the file name under which it was added, or its id
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from paaplus.csv_files import STANDARD, CsvFormat, CsvRow, read_csv
from paaplus.db.engine import Database
from paaplus.db.tables import FeedbackRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.errors import InvalidInput, PaaplusError, Unavailable
from paaplus.ids import sha256_hex
from paaplus.records import Scale
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.images.names import ImageNames
from paaplus.services.names import check_external_id
from paaplus.services.users import users
from paaplus.settings import Settings
from paaplus.texts import checked_id
from paaplus.times import parse_moment

COLUMNS = ("user_id", "image", "rating")
OPTIONAL = ("occurred_at",)
SOURCE = "import:"  # the beginning of the source of imported events
_TRANSACTION = 500  # ratings after which a transaction ends; all of one user are in one
_ASPECT_MAX = 64


@dataclass(frozen=True)
class Imported:
    """What an import did. `ignored_columns` of the file have no meaning."""

    num_accepted: int
    num_unchanged: int
    ignored_columns: tuple[str, ...]


class _Answer(NamedTuple):
    """What one line says of an image."""

    rating: float
    minimum: float
    maximum: float
    occurred_at: datetime | None


@dataclass(frozen=True)
class _Line:
    line: int
    user: str
    image_id: UUID
    answer: _Answer


def import_ratings(
    database: Database,
    settings: Settings,
    file: Path,
    *,
    application: str,
    scale: Scale,
    aspect: str,
    actor: str,
    layout: CsvFormat = STANDARD,
) -> Imported:
    """Append the ratings of a file to the logs of an application's users; unknown users are created.

    A rating is appended unless it continues nothing: of each user and image, the file's ratings in order are compared
    with the imported ones at the end of the log. So the same file again adds nothing, a longer one adds what is new,
    and a return to an earlier rating counts. Ratings that came by the API meanwhile are not overridden by an old file.

    Raises:
        InvalidInput: a line is wrong; the message lists up to ten, and nothing is imported.
        PaaplusError: a user's ratings cannot be stored; the message says how many were, and importing again is safe.
    """
    checked_id(aspect, _ASPECT_MAX, "the aspect")
    table = read_csv(file, COLUMNS, OPTIONAL, layout)
    if not table.rows:
        raise InvalidInput(f"{file}: no rows below the first line")
    with database.read_session() as session:
        names = ImageNames(session, application)
        known = intake.known_aspects(session)
    if known is not None and aspect not in known:
        raise InvalidInput(f"unknown aspect {aspect!r}; known: {sorted(known)}")

    def parse(row: CsvRow) -> _Line:
        user = row.text("user_id")
        check_external_id(user)
        rating = row.number("rating")
        if rating is None:
            raise InvalidInput("no rating")
        scale.to_score(rating)
        moment = row.cells.get("occurred_at")
        answer = _Answer(rating, scale.minimum, scale.maximum, parse_moment(moment) if moment else None)
        return _Line(row.line, user, names.one(row.text("image")), answer)

    lines = table.read(parse)
    num_accepted = 0
    for batch in _by_user(lines):
        try:
            with database.session() as session:
                num_accepted += _append(session, settings, application, batch, aspect, f"{SOURCE}{actor}")
        except (PaaplusError, OperationalError) as error:
            done = f"{num_accepted} ratings of other users are imported; importing the file again adds the rest"
            if isinstance(error, OperationalError):
                raise Unavailable(f"{file}: database: {error.orig}; {done}") from error
            raise type(error)(f"{file}: {error}; {done}") from error
    ignored = tuple(name for name in table.columns if name not in (*COLUMNS, *OPTIONAL))
    return Imported(num_accepted, len(lines) - num_accepted, ignored)


def _by_user(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """The lines in groups of some hundreds; all of one user are in one group, in their order."""
    of_user: dict[str, list[_Line]] = defaultdict(list)
    for line in lines:
        of_user[line.user].append(line)
    group: list[_Line] = []
    for more in of_user.values():
        group += more
        if len(group) >= _TRANSACTION:
            yield group
            group = []
    if group:
        yield group


def _append(
    session: Session, settings: Settings, application: str, lines: Sequence[_Line], aspect: str, source: str
) -> int:
    """Append what is new of these lines; returns how many were."""
    names = dict.fromkeys(line.user for line in lines)
    ids = {name: users.create(session, application=application, external_id=name)[0].id for name in names}
    past = _imported(session, list(ids.values()), aspect)
    of_image: dict[tuple[UUID, UUID], list[_Line]] = defaultdict(list)
    for line in lines:
        of_image[ids[line.user], line.image_id].append(line)
    new: dict[int, int] = {}  # line -> its place among all imported ratings of this user and image
    for key, posted in of_image.items():
        known = _overlap(past[key], [line.answer for line in posted])
        new |= {line.line: len(past[key]) + place for place, line in enumerate(posted[known:], 1)}
    kept = [line for line in lines if line.line in new]
    events = [_event(i, line, ids[line.user], aspect, new[line.line]) for i, line in enumerate(kept)]
    results = intake.append(session, application, events, source=source, settings=settings)
    for result, line in zip(results, kept, strict=True):
        if result.error is not None:
            raise type(result.error)(f"line {line.line}: {result.error}")
    return sum(result.status == "accepted" for result in results)


def _imported(session: Session, user_ids: Sequence[UUID], aspect: str) -> dict[tuple[UUID, UUID], list[_Answer]]:
    """What was imported before, by user and image, in the order of the log."""
    rows = session.execute(
        sa.select(FeedbackRow.user_id, FeedbackRow.image_id, FeedbackRow.payload, FeedbackRow.occurred_at)
        .where(
            FeedbackRow.user_id.in_(user_ids),
            FeedbackRow.kind == FeedbackKind.RATING,
            FeedbackRow.source.startswith(SOURCE, autoescape=True),
        )
        .order_by(FeedbackRow.user_id, FeedbackRow.sequence)
    )
    past: dict[tuple[UUID, UUID], list[_Answer]] = defaultdict(list)
    for user_id, image_id, payload, occurred_at in rows:
        if aspect in payload["ratings"]:
            scale = payload["scale"]
            past[user_id, image_id].append(_Answer(payload["ratings"][aspect], scale["min"], scale["max"], occurred_at))
    return past


def _overlap(past: Sequence[_Answer], posted: Sequence[_Answer]) -> int:
    """How many of the first ratings of a file are the last ones that were imported."""
    return max(
        (count for count in range(1, min(len(past), len(posted)) + 1) if past[-count:] == posted[:count]),
        default=0,
    )


def _event(index: int, line: _Line, user_id: UUID, aspect: str, place: int) -> NewEvent:
    rating, low, high, occurred_at = line.answer
    key = "\0".join(map(repr, (str(line.image_id), aspect, rating, low, high, str(occurred_at), place)))
    return NewEvent(
        index=index,
        user_id=user_id,
        event_id="import:" + sha256_hex(key.encode())[:32],  # two imports at once give the same event once
        kind=FeedbackKind.RATING,
        image_id=line.image_id,
        occurred_at=occurred_at,
        payload={"ratings": {aspect: rating}, "scale": {"min": low, "max": high}},
    )
