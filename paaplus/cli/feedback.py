"""`paaplus feedback`: read a user's log, import ratings from a file."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

import typer

from paaplus.cli.common import (
    ACTOR,
    DecimalOption,
    DelimiterOption,
    JsonOption,
    UserArgument,
    csv_format,
    open_database,
    parse_scale,
    print_record,
    print_rows,
    require_application,
    user_of,
)
from paaplus.settings import get_settings

app = typer.Typer()

FIELDS = ("sequence", "kind", "event_id", "image_id", "payload", "source", "received_at")


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
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV: user_id,image,rating[,occurred_at].")],
    scale: Annotated[str, typer.Option(help="MIN,MAX of the ratings.")],
    aspect: Annotated[str, typer.Option(help="The rated aspect.")],
    application: Annotated[str, typer.Option(help="Application of the users and images.")] = "default",
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    as_json: JsonOption = False,
) -> None:
    """Import ratings. `image` is the file name of an added image, or its id. A wrong line stops it before it begins.

    Importing a file twice changes nothing; an import that was interrupted is continued by importing again.
    """
    from paaplus.pipelines import import_ratings as importing
    from paaplus.records import Scale

    with open_database() as database:
        require_application(database, application)
        done = importing.import_ratings(
            database,
            get_settings(),
            file,
            application=application,
            scale=Scale(*parse_scale(scale)),
            aspect=aspect,
            actor=ACTOR,
            layout=csv_format(delimiter, decimal_mark),
        )
    record: dict[str, Any] = {"accepted": done.num_accepted, "duplicates": done.num_unchanged}
    if done.ignored_columns:
        record["ignored_columns"] = list(done.ignored_columns)
    print_record(record, as_json=as_json)
