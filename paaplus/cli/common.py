"""What commands share: opening the database and the storage, finding a user, printing."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.db import engine, migrate
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service
    from paaplus.storage import blobs

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from paaplus.db.tables import UserRow

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason, stored in the history.")]
UserArgument = Annotated[str, typer.Argument(help="UUID, or application/external_id.")]

ACTOR = "operator"  # the actor of `keys.OPERATOR`, whose module loads SQLAlchemy
SHA256 = re.compile("[0-9a-f]{64}")
console = Console(width=None if sys.stdout.isatty() else 160)  # a pipe has no width
notices = Console(stderr=True)


@contextmanager
def open_database() -> Iterator[engine.Database]:
    """Open the deployment's database; refuse another schema."""
    database = engine.Database(get_settings().resolved_database_url)
    try:
        migrate.require_head(database.engine)
        yield database
    finally:
        database.dispose()


def open_blobs() -> blobs.BlobStore:
    """Open the deployment's storage."""
    return blobs.BlobStore(get_settings().resolved_storage_url)


def user_of(session: Any, reference: str) -> UserRow:
    """The user that an operator named."""
    return users_service.resolve(session, keys.OPERATOR, reference)


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on standard error; nothing if that is not a terminal."""
    from rich.progress import Progress

    return Progress(*columns, console=notices, transient=True, disable=not notices.is_terminal)


def parse_scale(text: str) -> tuple[float, float]:
    """Read the option `MIN,MAX`."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InvalidInput(f"--scale must be MIN,MAX, got {text!r}") from error
    return low, high


def to_plain(value: Any) -> Any:
    """Convert a value of a row for JSON."""
    if isinstance(value, UUID | datetime):
        return str(value) if isinstance(value, UUID) else value.isoformat()
    if isinstance(value, Enum):
        return value.value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def print_json(document: Any) -> None:
    typer.echo(json.dumps(document, default=to_plain, indent=2))


def print_rows(
    rows: Sequence[Any],
    columns: Mapping[str, Callable[[Any], Any]],
    *,
    as_json: bool,
    title: str | None = None,
    json_only: Sequence[str] = (),
) -> None:
    """Print rows as a table (without the columns of `json_only`) or as a JSON list of objects."""
    records = [{name: read(row) for name, read in columns.items() if as_json or name not in json_only} for row in rows]
    if as_json:
        print_json(records)
        return
    table = Table(title=title, header_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        if name not in json_only:
            table.add_column(name.replace("_", " "), overflow="fold")
    for record in records:
        table.add_row(*("" if v is None else escape(_short(v)) for v in record.values()))
    console.print(table)


def print_record(record: dict[str, Any], *, as_json: bool) -> None:
    """Print one record as two columns or as a JSON object."""
    if as_json:
        print_json(record)
        return
    table = Table(show_header=False, box=None)
    for name, value in record.items():
        table.add_row(f"[bold]{name.replace('_', ' ')}[/bold]", "" if value is None else escape(_short(value)))
    console.print(table)


def _short(value: Any) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and SHA256.fullmatch(value):
        return value[:12]
    if isinstance(value, tuple) or (isinstance(value, list) and all(isinstance(part, str) for part in value)):
        return ", ".join(map(str, value))
    if isinstance(value, dict | list):
        return json.dumps(value, default=to_plain)
    return str(value.value if isinstance(value, Enum) else value)
