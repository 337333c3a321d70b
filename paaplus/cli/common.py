"""What commands share: opening the database and the storage, finding a user, printing."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from paaplus.cli.lazy import lazy_imports
from paaplus.csv_files import CsvFormat
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.numbers import parse_numbers
from paaplus.settings import get_settings
from paaplus.texts import parse_json

with lazy_imports():
    from paaplus.db import engine, migrate
    from paaplus.services import idempotency
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service
    from paaplus.storage import blobs

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

    from paaplus.db.tables import UserRow

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason, stored in the history.")]
OnceOption = Annotated[
    str | None,
    typer.Option(
        "--idempotency-key",
        help="A repeated command with the same key changes nothing more and prints the same, for a day.",
    ),
]
DelimiterOption = Annotated[str, typer.Option(help="Between the cells of a CSV file: , ; | or TAB.")]
DecimalOption = Annotated[str, typer.Option("--decimal-mark", help="Before decimals in a CSV file: . or ,")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Refuse what is skipped with a warning otherwise.")]
UserArgument = Annotated[str, typer.Argument(help="UUID, or application/external_id.")]

ACTOR = "operator"  # the actor of `keys.OPERATOR`, whose module loads SQLAlchemy
SECRET = "key"  # nosec B105: the name of a field, not its value; such a field is not stored
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


def require_application(database: engine.Database, application: str | None) -> None:
    """Check the name of an application before the work: what names nobody must not look like nothing found.

    Raises:
        NotFound: nothing is of this application; the message has those that exist.
    """
    with database.read_session() as session:
        users_service.require_application(session, application)


def user_of(session: Any, reference: str) -> UserRow:
    """The user that an operator named.

    Raises:
        NotFound: there is none; the message says how users are named, and who is called so.
    """
    reference = unicodedata.normalize("NFC", reference.strip())  # as typed on a Mac, or pasted
    try:
        return users_service.resolve(session, keys.OPERATOR, reference)
    except NotFound as error:
        called = users_service.list_users(session, keys.OPERATOR, external_id=reference.rpartition("/")[2], limit=5)
        named = ", ".join(f"{row.application}/{row.external_id}" for row in called)
        advice = f"there is {named}" if named else "`paaplus users list` shows them"
        raise NotFound(f"{error}; name a user by UUID or as APPLICATION/EXTERNAL_ID: {advice}") from None


def asked_once(key: str, command: str, arguments: Mapping[str, Any]) -> idempotency.Once:
    """A command with its idempotency key."""
    content = json.dumps([command, arguments], default=to_plain, sort_keys=True).encode()
    return idempotency.Once.of(ACTOR, key, content)


def given_to(context: typer.Context) -> dict[str, Any]:
    """What a command was given, but for its idempotency key and how it prints."""
    given = {name: value for name, value in context.params.items() if name not in ("key", "as_json")}
    return {name: str(value) if isinstance(value, Path) else value for name, value in given.items()}


def carried_out(
    database: engine.Database, key: str | None, command: str, arguments: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The record that a command printed under this idempotency key; None: it was not carried out yet.

    For commands that work for long before they write: `once` asks again in the transaction.

    Raises:
        Conflict: the key was used for another command.
    """
    if key is None:
        return None
    with database.read_session() as session:
        answer = idempotency.find(session, asked_once(key, command, arguments))
    if answer is None or answer.body is None:
        return None
    record: dict[str, Any] = json.loads(answer.body)
    return record


def tell_known(what: str, created_at: datetime) -> None:
    """Say that a training has made what is registered already, and so no new version."""
    notices.print(
        f"this is {what} of {created_at:%Y-%m-%d %H:%M:%S}, to the last bit: no new version",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def once(
    session: Any, key: str | None, command: str, arguments: Mapping[str, Any], act: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """The record that an act prints. A repeated act under the same idempotency key is not carried out again.

    Args:
        session: the transaction of the act.
        key: the idempotency key; None: the act is carried out.
        command: name of the command.
        arguments: everything that the command was given.
        act: carries out the act, and returns the record.

    Raises:
        Conflict: the key was used for another command, or the record contained a secret, which is not stored.
    """
    if key is None:
        return act()
    asked = asked_once(key, command, arguments)
    answer = idempotency.begin(session, asked)
    if answer is None:
        record = act()
        body = None if SECRET in record else json.dumps(record, default=to_plain).encode()
        idempotency.finish(session, asked, 200, body)
        return record
    if answer.body is None:
        raise Conflict(f"{command} was carried out with this idempotency key; its secret was printed then")
    stored: dict[str, Any] = json.loads(answer.body)
    return stored


def progress_bar(*columns: ProgressColumn) -> Progress:
    """A progress bar on standard error; nothing if that is not a terminal."""
    from rich.progress import Progress

    return Progress(*columns, console=notices, transient=True, disable=not notices.is_terminal)


def parse_scale(text: str) -> tuple[float, float]:
    """Read the option `MIN,MAX`."""
    try:
        low, high = parse_numbers(text, 2)
    except InvalidInput as error:
        raise InvalidInput(f"--scale must be MIN,MAX, got {text!r}: {error}") from error
    if not low < high:
        raise InvalidInput(f"--scale must be MIN,MAX, got {text!r}: {low:g} is not below {high:g}")
    return low, high


def require_folder_of(file: Path) -> None:
    """Check where a file is to be written, before the work whose result goes there.

    Raises:
        InvalidInput: there is no such folder, or it takes no new file.
    """
    parent = file.absolute().parent
    if not parent.is_dir():
        raise InvalidInput(f"{file}: there is no folder {parent}")
    if not os.access(file if file.exists() else parent, os.W_OK):
        raise InvalidInput(f"{file}: may not be written")


def require_makeable(folder: Path) -> None:
    """Check that a folder is there or can be made, without making it.

    Raises:
        InvalidInput: it cannot be made, or takes no new file.
    """
    nearest = folder.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InvalidInput(f"{folder}: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InvalidInput(f"{folder}: {nearest} may not be written")


def refuse_given(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Refuse parameters that would have no effect.

    Args:
        context: of the command.
        names: of parameters, as the function calls them.
        why: which other options they go with.

    Raises:
        BadParameter: one is on the command line.
    """
    parameters: Sequence[Any] = context.command.params
    for parameter in parameters:
        source = context.get_parameter_source(str(parameter.name))
        if parameter.name in names and source is not None and source.name == "COMMANDLINE":
            raise typer.BadParameter(f"has no effect here: {why}", ctx=context, param=parameter)


def csv_format(delimiter: str, decimal_mark: str) -> CsvFormat:
    """The options `--delimiter`, where a tab may be written TAB or \\t, and `--decimal-mark`."""
    return CsvFormat("\t" if delimiter in ("TAB", "tab", "\\t") else delimiter, decimal_mark)


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
    table = Table(title=escape(title) if title else None, header_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        if name not in json_only:
            table.add_column(escape(name.replace("_", " ")), overflow="fold")
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
        table.add_row(f"[bold]{escape(name.replace('_', ' '))}[/bold]", "" if value is None else escape(_short(value)))
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


def set_object(text: str, example: str = '{"strategy": "replay_ewc"}') -> dict[str, Any]:
    """The value of a `--set` option: a JSON object.

    Raises:
        InvalidInput: it is none; the message says how it would be written.
    """
    try:
        value = parse_json(text, "--set must be a JSON object")
    except InvalidInput as error:
        raise InvalidInput(f"{error}{_as_json(text, example)}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"--set must be a JSON object, got {text}{_as_json(text, example)}")
    return value


def _as_json(text: str, example: str) -> str:
    """How `KEY=VALUE` would be written as JSON."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip().isidentifier():
        return f"; for example --set '{example}'"
    try:
        meant = json.dumps({key.strip(): json.loads(value)})
    except ValueError:
        meant = json.dumps({key.strip(): value.strip()}, ensure_ascii=False)
    return f"; write --set '{meant}'"
