"""Migrate a database to the schema of this version of the code, and check that it has this schema.

Alembic is imported where something migrates: every command and process asks for the revision, and it takes a third of
the processor time of a short command.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.schema import SchemaItem

from paaplus.db import triggers
from paaplus.db.engine import make_engine, missing_file
from paaplus.db.schema_diff import uncompared_differences
from paaplus.db.tables import Base
from paaplus.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from alembic.config import Config

# Its INFO lines, some of them at its import, would mix with the output of our commands.
logging.getLogger("alembic").setLevel(logging.WARNING)
_alembic_lock = threading.Lock()  # Alembic keeps the running environment in module globals


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations up to `revision` that are not applied yet.

    Several processes may call this at once: one migrates, the others wait.

    Raises:
        Conflict: the database or `revision` names a revision that this version of the code does not know, or a
            migration would break a reference; it is rolled back.
        InvalidInput: not a URL of SQLite or PostgreSQL.
    """
    if revision == "head" and current(url) == head():
        return  # without the import of Alembic

    from alembic import command

    with _alembic(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Undo the migrations after `revision`; "base": all of them, which deletes all data.

    Raises:
        Conflict, InvalidInput: as `upgrade`.
    """
    from alembic import command

    with _alembic(url) as config:
        command.downgrade(config, revision)


def head() -> str:
    """The newest revision that this version of the code knows."""
    [newest] = _known().keys() - _known().values()
    return newest


def current(url: str) -> str | None:
    """The database's revision; None before the first upgrade."""
    if missing_file(url) is not None:
        return None
    with _reading(url) as connection:
        return _revision(connection)


def check(url: str) -> None:
    """Compare the database's schema with the code's.

    Raises:
        Conflict: they differ; the message lists every difference.
    """
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with _reading(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = [_describe(difference) for difference in compare_metadata(context, Base.metadata)]
        differences += uncompared_differences(connection, Base.metadata)
        differences += [f"trigger {name}: missing, changed or off" for name in triggers.missing(connection)]
    if differences:
        raise Conflict("the database differs from the code: " + "; ".join(differences))


def require_head(engine: sa.Engine) -> None:
    """Check that the database is at the newest revision.

    Raises:
        Unavailable: there is no database, or it is older or newer than this code; the message says what to do.
    """
    require_file(engine.url)
    with engine.execution_options(read_only=True).connect() as connection:
        found = _revision(connection)
    if found == head():
        return
    if found in {*_known(), None}:
        raise Unavailable(
            f"the database is at revision {found or 'none'}, this code needs {head()}: run `paaplus db upgrade`"
        )
    raise Unavailable(f"the database is at revision {found}, which this code does not know: install a newer paaplus")


def require_file(url: str | sa.URL) -> None:
    """Refuse a database that does not exist, by its place. Nothing is made.

    Raises:
        Unavailable: the file of a SQLite database is missing.
    """
    file = missing_file(url)
    if file is not None:
        raise Unavailable(
            f"no database at {file}: set PAAPLUS_HOME to the folder of yours (or PAAPLUS_DATABASE_URL to its URL); "
            "`paaplus up` or `paaplus db upgrade` makes a new one there"
        )


def _folder() -> Path:
    # Found by import, because an installed package has no alembic.ini, and the current folder may be any.
    spec = find_spec("paaplus.migrations")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


@cache
def _known() -> dict[str, str | None]:
    """Every revision and the one before it, read from the files of migrations without running them."""
    pattern = re.compile(r'^revision = "(\w+)"\ndown_revision = (?:"(\w+)"|None)$', re.MULTILINE)
    texts = [file.read_text(encoding="utf-8") for file in (_folder() / "versions").glob("*.py")]
    found: dict[str, str | None] = {match[1]: match[2] for text in texts if (match := pattern.search(text))}
    assert len(found) == len(texts), "a migration without a revision of its own and the one before it"
    return found


def _config(url: str) -> Config:
    from alembic.config import Config

    config = Config(attributes={"url": url})
    config.set_main_option("script_location", str(_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _alembic(url: str) -> Iterator[Config]:
    """Alembic's configuration, for one command at a time."""
    from alembic.util import CommandError

    with _alembic_lock:
        try:
            yield _config(url)
        except CommandError as error:
            raise Conflict(f"cannot migrate the database: {error}") from error


@contextmanager
def _reading(url: str) -> Iterator[sa.Connection]:
    engine = make_engine(url)
    try:
        with engine.execution_options(read_only=True).connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _revision(connection: sa.Connection) -> str | None:
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    rows = connection.execute(sa.text("SELECT version_num FROM alembic_version"))
    return rows.scalar_one_or_none()


def _describe(difference: Any) -> str:
    """Describe a difference that Alembic found, e.g. `add_column jobs worker` or `remove_index ix_jobs_lease`."""
    if isinstance(difference, list):  # several changes of one column
        return ", ".join(_describe(part) for part in difference)
    kind, *parts = difference
    named = (getattr(part, "name", part) for part in parts if isinstance(part, (str, SchemaItem)))
    return " ".join([kind, *map(str, named)])
