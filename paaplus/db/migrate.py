"""Brings a database to the schema that this version of the code expects, and says how far it is from it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.schema import SchemaItem

from paaplus.db.engine import make_engine
from paaplus.db.schema_diff import unseen_differences
from paaplus.db.tables import Base
from paaplus.errors import Conflict, Unavailable

_alembic_lock = threading.Lock()  # Alembic keeps the running environment in module globals


def upgrade(url: str, revision: str = "head") -> None:
    """Apply the migrations up to `revision`. Nothing happens when they are applied already.

    Safe to run from several processes at once: one works, the others wait and then find nothing to do.

    Raises:
        Conflict: the database or `revision` names a revision that this version of the code does not know, or a
            step would break a reference. The step is rolled back.
        InvalidInput: neither SQLite nor PostgreSQL.
    """
    with _alembic(url) as config:
        command.upgrade(config, revision)


def downgrade(url: str, revision: str) -> None:
    """Undo the migrations after `revision` ("base": all of them, and with them the data).

    Raises:
        Conflict, InvalidInput: as `upgrade`.
    """
    with _alembic(url) as config:
        command.downgrade(config, revision)


def head() -> str:
    """The newest revision that this version of the code knows."""
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    assert revision is not None
    return revision


def current(url: str) -> str | None:
    """The revision that the database is at; None before the first upgrade."""
    with _reading(url) as connection:
        return _revision(connection)


def check(url: str) -> None:
    """Compare the database, table by table, with what the code expects.

    Raises:
        Conflict: they differ; the message lists every difference.
    """
    with _reading(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        differences = [_describe(difference) for difference in compare_metadata(context, Base.metadata)]
        differences += unseen_differences(connection, Base.metadata)
    if differences:
        raise Conflict("the database differs from the code: " + "; ".join(differences))


def require_head(engine: sa.Engine) -> None:
    """Refuse to work on a database of another version.

    Raises:
        Unavailable: the database is older (says how to upgrade it) or newer than this code.
    """
    with engine.execution_options(read_only=True).connect() as connection:
        found = _revision(connection)
    if found == head():
        return
    if found in {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()} | {None}:
        raise Unavailable(
            f"the database is at revision {found or 'none'}, this code needs {head()}: run `paaplus db upgrade`"
        )
    raise Unavailable(f"the database is at revision {found}, which this code does not know: install a newer paaplus")


def _config(url: str | None = None) -> Config:
    # Found by import, not by folder: an installed package has no alembic.ini, and the cwd may be anywhere.
    spec = find_spec("paaplus.migrations")
    assert spec is not None
    assert spec.submodule_search_locations
    config = Config(attributes={"url": url})
    config.set_main_option("script_location", spec.submodule_search_locations[0].replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


@contextmanager
def _alembic(url: str) -> Iterator[Config]:
    """Alembic's configuration, for one command at a time."""
    # Its INFO lines would stand between what our own commands print.
    logging.getLogger("alembic").setLevel(logging.WARNING)
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
    return MigrationContext.configure(connection).get_current_revision()


def _describe(difference: Any) -> str:
    """One difference of Alembic in words, e.g. `add_column jobs worker` or `remove_index ix_jobs_lease`."""
    if isinstance(difference, list):  # several changes of one column
        return ", ".join(_describe(part) for part in difference)
    kind, *parts = difference
    named = (getattr(part, "name", part) for part in parts if isinstance(part, (str, SchemaItem)))
    return " ".join([kind, *map(str, named)])
