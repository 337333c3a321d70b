"""The schema of every revision as text, in `tests/fixtures/schema`: a migration that is shipped does not change.

`python -m tests.migrations.snapshots` writes those that are missing. Delete one to write it again, for example
while the newest migration is being developed.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from paaplus.db import migrate
from paaplus.db.engine import make_engine
from tests.migrations.rows import VERSION_TABLE
from tests.migrations.scripts import PROJECT_MIGRATIONS
from tests.support import servers

FOLDER = Path(__file__).parents[1] / "fixtures" / "schema"


def revisions() -> list[str]:
    """Oldest first."""
    scripts = ScriptDirectory(str(PROJECT_MIGRATIONS)).walk_revisions()
    return [script.revision for script in reversed(list(scripts))]


def path_of(revision: str, dialect: str) -> Path:
    return FOLDER / f"{revision}.{dialect}.txt"


def describe(connection: sa.Connection) -> str:
    """Tables, columns, keys, checks and indexes, in an order that does not depend on how they were made."""
    inspector = sa.inspect(connection)
    lines: list[str] = []
    for table in sorted(set(inspector.get_table_names()) - {VERSION_TABLE}):
        lines += [table, *sorted(f"    {line}" for line in _parts(inspector, table, connection.dialect))]
    return "\n".join(lines) + "\n"


def _parts(inspector: sa.Inspector, table: str, dialect: sa.Dialect) -> Iterator[str]:
    for column in inspector.get_columns(table):
        null = "null" if column["nullable"] else "not null"
        default = f" default {column['default']}" if column["default"] is not None else ""
        yield f"column {column['name']} {column['type'].compile(dialect)} {null}{default}"
    yield f"primary key {_columns(inspector.get_pk_constraint(table)['constrained_columns'])}"
    for key in inspector.get_foreign_keys(table):
        action = key.get("options", {}).get("ondelete", "no action").lower()
        target = f"{key['referred_table']} {_columns(key['referred_columns'])}"
        yield f"foreign key {key['name']} {_columns(key['constrained_columns'])} to {target} on delete {action}"
    for unique in inspector.get_unique_constraints(table):
        yield f"unique {unique['name']} {_columns(unique['column_names'])}"
    for check in inspector.get_check_constraints(table):
        # Databases, and versions of them, write the same condition differently: its values are what matters.
        values = sorted(re.findall("'([^']*)'", check["sqltext"]))
        yield f"check {check['name']}: {', '.join(values)}"
    for index in inspector.get_indexes(table):
        if not index.get("duplicates_constraint"):
            yield _index(index, dialect)


def _index(index: Any, dialect: sa.Dialect) -> str:
    predicate = index.get("dialect_options", {}).get(f"{dialect.name}_where")
    where = re.sub(r"::\w+( varying)?|[()\"\s]", "", str(predicate)).lower() if predicate is not None else ""
    kind = "unique index" if index["unique"] else "index"
    return f"{kind} {index['name']} {_columns(index['column_names'])}" + (f" where {where}" if where else "")


def _columns(names: Any) -> str:
    return f"({', '.join(names)})"


def schema_at(url: str, revision: str) -> str:
    """Upgrade to the revision, and describe the schema."""
    migrate.upgrade(url, revision)
    engine = make_engine(url)
    try:
        with engine.connect() as connection:
            return describe(connection)
    finally:
        engine.dispose()


def main() -> None:
    server = servers.postgres()
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        server.start()
        for revision in revisions():
            sqlite, postgresql = path_of(revision, "sqlite"), path_of(revision, "postgresql")
            if not sqlite.exists():
                with tempfile.TemporaryDirectory() as folder:
                    sqlite.write_text(schema_at(f"sqlite:///{folder}/new.db", revision))
            if not postgresql.exists():
                with servers.new_postgres_database(server.url) as url:
                    postgresql.write_text(schema_at(url, revision))
    finally:
        server.close()


if __name__ == "__main__":
    main()
