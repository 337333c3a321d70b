"""Triggers that log who is served by something else: of users and adapters, into `serving_changes`.

Predictions keep in memory what serves a user, and trust this log. So a database without one of these triggers is
not at the code's schema: `migrate.check` names it, and processes keep nothing then. Migrations have texts of their
own; a test compares. SQLite drops the triggers of a table that a migration rebuilds, so each migration ends with
`make_missing`.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from paaplus.db.tables.serving import ServingChangeRow

_TABLE: Final = ServingChangeRow.__tablename__
_FUNCTION: Final = "note_serving_change"
# By name: the table, the event, and when.
_EVENTS: Final = {
    "serving_adapters_added": ("adapters", "INSERT", "NEW.state = 'active'"),
    "serving_adapters_changed": (
        "adapters",
        "UPDATE OF state, match_id, user_id",
        "OLD.state = 'active' OR NEW.state = 'active'",
    ),
    "serving_adapters_deleted": ("adapters", "DELETE", "OLD.state = 'active'"),
    "serving_users_changed": ("users", "UPDATE OF id, application, external_id", ""),
    "serving_users_deleted": ("users", "DELETE", ""),
}
_NEXT: Final = (
    "coalesce((SELECT max(number) FROM serving_changes) + 1, "
    "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))"
)
_SOURCE: Final = """
DECLARE
    this_transaction bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, OLD.id);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, NEW.user_id);
    ELSE
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, OLD.user_id);
        IF TG_OP = 'UPDATE' AND NEW.user_id <> OLD.user_id THEN
            INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, NEW.user_id);
        END IF;
    END IF;
    RETURN NULL;
END
"""


def statements(dialect: str) -> dict[str, str]:
    """What makes the triggers, by name; on PostgreSQL the function that they call comes first."""
    if dialect == "sqlite":
        return {name: _sqlite(name, *event) for name, event in _EVENTS.items()}
    function = f"CREATE FUNCTION {_FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS $${_SOURCE}$$"
    return {_FUNCTION: function} | {
        name: f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {f'WHEN ({when}) ' if when else ''}"
        f"EXECUTE FUNCTION {_FUNCTION}()"
        for name, (table, event, when) in _EVENTS.items()
    }


def _sqlite(name: str, table: str, event: str, when: str) -> str:
    user = "OLD.id" if table == "users" else "NEW.user_id" if event == "INSERT" else "OLD.user_id"
    insert = "INSERT INTO serving_changes (number, transaction_id, user_id)"
    body = f"{insert} VALUES ({_NEXT}, 0, {user});"
    if table == "adapters" and event.startswith("UPDATE"):
        body += f" {insert} SELECT {_NEXT}, 0, NEW.user_id WHERE NEW.user_id <> OLD.user_id;"
    return f"CREATE TRIGGER {name} AFTER {event} ON {table} {f'WHEN {when} ' if when else ''}BEGIN {body} END"


def missing(connection: sa.Connection) -> list[str]:
    """The names of triggers, and of their function, that the database lacks, has in another form, or does not use."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
        found = {str(name): text for name, text in rows}
        return [name for name, text in statements(dialect).items() if found.get(name) != text]
    found = {
        name: f"{table} {enabled}"
        for name, table, enabled in connection.exec_driver_sql(
            "SELECT t.tgname, c.relname, t.tgenabled FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
            "JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.proname = %s AND pg_table_is_visible(c.oid)",
            (_FUNCTION,),
        )
    }
    sources = connection.exec_driver_sql(
        "SELECT prosrc FROM pg_proc WHERE proname = %s AND pg_function_is_visible(oid)", (_FUNCTION,)
    )
    lacking = [] if [source for (source,) in sources] == [_SOURCE] else [_FUNCTION]
    return lacking + [name for name, (table, _, _) in _EVENTS.items() if found.get(name) != f"{table} O"]


def make_missing(connection: sa.Connection) -> None:
    """Make the triggers that are missing, if the database has the log."""
    if not sa.inspect(connection).has_table(_TABLE):
        return
    texts = statements(connection.dialect.name)
    for name in missing(connection):
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
        elif name == _FUNCTION:
            connection.exec_driver_sql(texts[name].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION"))
            continue
        else:
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name} ON {_EVENTS[name][0]}")
        connection.exec_driver_sql(texts[name])
