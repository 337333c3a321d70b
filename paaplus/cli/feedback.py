"""`paaplus feedback`: read a user's log, import ratings from a file."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    UserArgument,
    open_database,
    parse_scale,
    print_record,
    print_rows,
    user_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput
from paaplus.ids import sha256_hex
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.feedback import intake as feedback_service
    from paaplus.services.users import users as users_service

app = typer.Typer()

FIELDS = ("sequence", "kind", "event_id", "image_id", "payload", "source", "received_at")
COLUMNS = {"user_id", "image", "rating"}
IMPORT_BATCH = 500


@app.command("list")
def list_feedback(
    user: UserArgument, limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50, as_json: JsonOption = False
) -> None:
    """A user's log, newest first."""
    import sqlalchemy as sa

    from paaplus.db.tables import FeedbackRow

    with open_database() as database, database.read_session() as session:
        rows = session.execute(
            sa.select(FeedbackRow)
            .where(FeedbackRow.user_id == user_of(session, user).id)
            .order_by(FeedbackRow.sequence.desc())
            .limit(limit)
        ).scalars()
        print_rows(list(rows), {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title=f"log of {user}")


@app.command("import")
def import_ratings(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV with user_id,image,rating.")],
    scale: Annotated[str, typer.Option(help="MIN,MAX of the ratings.")],
    aspect: Annotated[str, typer.Option(help="The rated aspect.")],
    application: Annotated[str, typer.Option(help="Application of the users and images.")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Import ratings. `image` is the file name of an added image. Importing a file twice changes nothing."""
    low, high = parse_scale(scale)
    occurrences: Counter[str] = Counter()
    accepted = duplicates = 0
    with open_database() as database:
        with database.read_session() as session:
            images = _images_by_name(session, application)
        try:
            for batch in _batches(file):
                with database.session() as session:
                    events = [
                        _event(session, i, row, application, images, {"min": low, "max": high}, aspect, occurrences)
                        for i, row in enumerate(batch)
                    ]
                    results = feedback_service.append(
                        session, application, events, source=f"import:{ACTOR}", settings=get_settings()
                    )
                    if refused := [r for r in results if r.status == "rejected"]:
                        line = batch[refused[0].index]["line"]
                        raise InvalidInput(f"line {line}: {refused[0].error}")
                accepted += sum(r.status == "accepted" for r in results)
                duplicates += sum(r.status == "duplicate" for r in results)
        except (InvalidInput, csv.Error, UnicodeDecodeError) as error:
            raise InvalidInput(f"{file}: {error}") from error
    print_record({"accepted": accepted, "duplicates": duplicates}, as_json=as_json)


def _images_by_name(session: Any, application: str) -> dict[str, UUID]:
    import sqlalchemy as sa

    from paaplus.db.tables import ImageRow

    rows = session.execute(
        sa.select(ImageRow.name, ImageRow.id).where(
            ImageRow.application == application, ImageRow.owner_id.is_(None), ImageRow.name.is_not(None)
        )
    )
    return dict(rows.all())


def _batches(file: Path) -> Iterator[list[dict[str, Any]]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.DictReader(lines)
        if not COLUMNS <= set(reader.fieldnames or ()):
            raise InvalidInput(f"needs columns {sorted(COLUMNS)}, has {reader.fieldnames}")
        batch: list[dict[str, Any]] = []
        for row in reader:
            if missing := sorted(name for name in COLUMNS if row[name] is None):
                raise InvalidInput(f"line {reader.line_num} has no {', '.join(missing)}")
            batch.append({**row, "line": reader.line_num})
            if len(batch) == IMPORT_BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _event(
    session: Any,
    index: int,
    row: dict[str, Any],
    application: str,
    images: dict[str, UUID],
    scale: dict[str, float],
    aspect: str,
    occurrences: Counter[str],
) -> feedback_service.NewEvent:
    """A line as an event. `occurrences` counts the equal lines so far."""
    from paaplus.db.tables.feedback import FeedbackKind

    if row["image"] not in images:
        raise InvalidInput(f"line {row['line']}: no image named {row['image']!r} in application {application!r}")
    try:
        rating = float(row["rating"])
    except ValueError as error:
        raise InvalidInput(f"line {row['line']}: rating {row['rating']!r} is not a number") from error
    user, _ = users_service.create(session, application=application, external_id=row["user_id"])
    key = "\0".join([row["user_id"], row["image"], repr(rating), aspect, repr(scale["min"]), repr(scale["max"])])
    occurrences[key] += 1  # a person may rate 3, then 5, then 3 again: three events, the last one counts
    return feedback_service.NewEvent(
        index=index,
        user_id=user.id,
        # the same file again gives the same events; hashed, because names may be long
        event_id="import:" + sha256_hex(f"{key}\0{occurrences[key]}".encode())[:32],
        kind=FeedbackKind.RATING,
        image_id=images[row["image"]],
        payload={"ratings": {aspect: rating}, "scale": scale},
    )
