"""`paaplus tools`: AI tools, their pseudo labels, imported labels, and revisions learned from reviews."""

from __future__ import annotations

from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    DecimalOption,
    DelimiterOption,
    JsonOption,
    csv_format,
    open_blobs,
    open_database,
    print_record,
    print_rows,
    require_application,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.csv_files import refuse_rows
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings
from paaplus.texts import checked_id

with lazy_imports():
    from paaplus.services.images import names as image_names
    from paaplus.services.predictions import serving_store
    from paaplus.services.reviews import ordering, pseudo_labels, tool_learning, tool_revisions
    from paaplus.services.reviews import tools as tools_service
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service
    from paaplus.tools import precomputed
    from paaplus.tools import tool as tool_module

if TYPE_CHECKING:
    from paaplus.db.tables import ToolRevisionRow

app = typer.Typer()

FIELDS = ("name", "version", "aspects", "labels", "needs", "unavailable")
LABEL_FIELDS = ("image_id", "tool", "tool_version", "scores", "confidences", "created_at")
REVISION_FIELDS = ("id", "application", "tool", "tool_version", "version", "num_reviews", "metrics", "created_at",
                   "retired_at", "stale_at")  # fmt: skip

ApplicationOption = Annotated[str, typer.Option(help="Application of the images and reviews.")]
ToolArgument = Annotated[str, typer.Argument(help="NAME, see `paaplus tools list`; or precomputed:SOURCE.")]


@app.command("list")
def list_tools(as_json: JsonOption = False) -> None:
    """All tools, with the reason if a tool cannot run here."""
    with open_database() as database, database.read_session() as session:
        rows = tools_service.list_tools(session, open_blobs(), get_settings())
        print_rows(rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="tools")


@app.command()
def label(
    tools: Annotated[list[str], typer.Argument(help="Tools by name.")],
    image: Annotated[list[UUID] | None, typer.Option(help="Only this image; may be repeated.")] = None,
    application: ApplicationOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Ask a worker to label images, and print the job. Labelled images are left out."""
    with open_database() as database, database.session() as session:
        users_service.require_application(session, application)
        job_id = pseudo_labels.request(
            session, application=application, tools=tools, image_ids=image, settings=get_settings()
        )
    print_record({"job_id": job_id}, as_json=as_json)


@app.command("labels")
def list_labels(
    image: Annotated[UUID | None, typer.Option(help="Only labels of this image.")] = None,
    tool: Annotated[str | None, typer.Option(help="Only labels of this tool.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """The tools' pseudo labels, uncalibrated, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = pseudo_labels.list_labels(session, keys.OPERATOR, image_id=image, tool=tool, limit=limit)
        print_rows(rows, {name: attrgetter(name) for name in LABEL_FIELDS}, as_json=as_json, title="pseudo labels")


@app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV: image,ASPECT...[,confidence].")],
    tool: Annotated[str, typer.Option(help="precomputed, or precomputed:SOURCE.")] = "precomputed",
    version: Annotated[str, typer.Option(help="Version of the scores; default: the file's digest.")] = "",
    application: ApplicationOption = "default",
    delimiter: DelimiterOption = ",",
    decimal_mark: DecimalOption = ".",
    as_json: JsonOption = False,
) -> None:
    """Import scores from 0 to 10, all rows or none. `image` is an image's id or file name."""
    source = precomputed.read_csv(file, tool, csv_format(delimiter, decimal_mark))
    if not source.judgements:
        raise InvalidInput(f"{file}: no rows below the first line, which has the names of columns")
    with open_database() as database, database.session() as session:
        users_service.require_application(session, application)
        found = _labels_by_image(session, file, source, application)
        stored = pseudo_labels.add_precomputed(
            session,
            application=application,
            tool=tool,
            version=checked_id(version or source.version, 64, "the version"),
            labels=found,
        )
    record = {"tool": tool, "version": version or source.version, "new": stored.num_new, "known": stored.num_known}
    print_record(record, as_json=as_json)


@app.command()
def learn(tool: ToolArgument, application: ApplicationOption = "default", as_json: JsonOption = False) -> None:
    """Learn the tool's next revision from the application's reviews. The next batch uses it."""
    with open_database() as database:
        require_application(database, application)
        store = serving_store.ServingStore(database, open_blobs(), get_settings())
        row = tool_learning.learn(database, store, application=application, tool=tool, actor=ACTOR)
        num_moved = ordering.rerank(database, store, application)
    print_record({**_record(row), "num_reviews_moved": num_moved}, as_json=as_json)


@app.command()
def revisions(
    tool: Annotated[str | None, typer.Option(help="Only revisions of this tool.")] = None,
    application: Annotated[str | None, typer.Option(help="Only revisions of this application.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Revisions learned from reviews, newest first. A tool's newest one that is not retired is in force."""
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        rows = tool_revisions.list_revisions(session, application=application, tool=tool, limit=limit)
        columns = {name: itemgetter(name) for name in REVISION_FIELDS}
        print_rows(
            [_record(row) for row in rows],
            columns,
            as_json=as_json,
            title="tool revisions",
            json_only=("id", "metrics"),
        )


@app.command()
def retire(
    tool: ToolArgument,
    version: Annotated[int, typer.Argument(min=1)],
    application: ApplicationOption = "default",
    as_json: JsonOption = False,
) -> None:
    """Retire a revision. The one before it is in force again."""
    with open_database() as database, database.session() as session:
        users_service.require_application(session, application)
        row = tool_revisions.retire(session, application=application, tool=tool, version=version, actor=ACTOR)
        print_record(_record(row), as_json=as_json)


def _labels_by_image(
    session: Any, file: Path, source: precomputed.PrecomputedTool, application: str
) -> dict[UUID, tool_module.Judgement]:
    """The label of each row's image.

    Raises:
        InvalidInput: a row names no image or several, or an image is named twice.
    """
    names = image_names.ImageNames(session, application)
    ids, problems = [], []
    for name, line in source.line_of.items():
        try:
            ids.append(names.one(name))
        except InvalidInput as error:
            problems.append(f"line {line}: {error}")
    refuse_rows(file.name, problems)
    if len(set(ids)) != len(ids):
        raise InvalidInput("an image is named twice, by id and by name")
    labels = source.score([tool_module.ToolImage(names=(name,)) for name in source.judgements])
    return {image_id: judgement for image_id, judgement in zip(ids, labels, strict=True) if judgement.scores}


def _record(row: ToolRevisionRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in REVISION_FIELDS}
