"""Alembic's environment: connects migrations to a database.

The URL comes from `config.attributes["url"]` (`paaplus.db.migrate`), else from the settings (`alembic` by hand).
"""

from typing import Any, Literal

import sqlalchemy as sa
from alembic import context
from alembic.migration import MigrationContext
from alembic.runtime.migration import MigrationInfo
from sqlalchemy import event
from sqlalchemy.types import TypeDecorator

from paaplus.db import triggers
from paaplus.db.engine import make_engine
from paaplus.db.tables import Base
from paaplus.errors import Conflict
from paaplus.settings import get_settings

POSTGRESQL_LOCK = int.from_bytes(b"paaplus")


def run() -> None:
    engine = make_engine(context.config.attributes.get("url") or get_settings().resolved_database_url)
    on_sqlite = engine.dialect.name == "sqlite"
    if on_sqlite:
        # SQLite changes a table by copying it and dropping the old one. Dropping a parent deletes the rows of its
        # ON DELETE CASCADE children. The pragma has no effect inside a transaction, so it is set on connect.
        event.listen(engine, "connect", lambda connection, _record: connection.execute("pragma foreign_keys=OFF"))
    try:
        with engine.connect() as connection:
            if not on_sqlite:
                # Makes hosts that start together upgrade one after another. Held until the connection closes.
                connection.execute(sa.select(sa.func.pg_advisory_lock(POSTGRESQL_LOCK)))
                connection.commit()
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                render_as_batch=True,
                render_item=render_item,
                compare_type=True,
                compare_server_default=True,
                transactional_ddl=True,
                # On SQLite one BEGIN IMMEDIATE around all migrations replaces the lock above.
                transaction_per_migration=not on_sqlite,
                on_version_apply=check_foreign_keys if on_sqlite else None,
            )
            with context.begin_transaction():
                context.run_migrations()
                triggers.make_missing(connection)  # of tables that SQLite has rebuilt
    finally:
        engine.dispose()


def render_item(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Write custom column types as their SQL types, so that old migrations do not depend on today's code."""
    if kind == "type" and isinstance(item, TypeDecorator):
        return f"sa.{item.impl!r}"
    return False  # Alembic's default


def check_foreign_keys(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
    """Raise Conflict, which rolls back, if a migration leaves dangling references: SQLite did not check them."""
    assert ctx.connection is not None
    dangling = ctx.connection.exec_driver_sql("pragma foreign_key_check").all()
    if dangling:
        tables = sorted({f"{row.table} -> {row.parent}" for row in dangling})
        raise Conflict(
            f"migration {step.up_revision_id} leaves {len(dangling)} dangling references: {', '.join(tables)}"
        )


run()
