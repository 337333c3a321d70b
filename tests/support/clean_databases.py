"""One PostgreSQL database for many tests, one after the other: emptied between them, which is quicker than a copy.

A copy and its removal take some 300 files and two checkpoints; emptying takes a sixth of the time.
"""

from __future__ import annotations

from contextlib import ExitStack, suppress

import psycopg
from sqlalchemy.engine import make_url

from tests.support.servers import new_postgres_database

MAX_USES = 50  # deleted rows stay in the files until then
# Everything but the columns' values: a test that changed the schema, or the revision, gets no successor.
SCHEMA = """
select (select string_agg(relname || '.' || attname || ' ' || atttypid || attnotnull, ',' order by attrelid, attnum)
          from pg_attribute join pg_class on pg_class.oid = attrelid
         where relnamespace = 'public'::regnamespace and attnum > 0),
       (select string_agg(conname, ',' order by oid) from pg_constraint where connamespace = 'public'::regnamespace),
       (select string_agg(tgname, ',' order by oid) from pg_trigger where not tgisinternal),
       (select string_agg(version_num, ',') from alembic_version)
"""
END_OTHERS = """
select pg_terminate_backend(pid, 5000) from pg_stat_activity
 where datname = current_database() and pid <> pg_backend_pid()
"""


class CleanDatabases:
    """Gives the URL of a database without rows, at the template's revision. Not for two tests at once."""

    def __init__(self, server_url: str, template: str) -> None:
        self._server_url, self._template = server_url, template
        self._owned = ExitStack()
        self._connection: psycopg.Connection[tuple[object, ...]] | None = None
        self._url = ""
        self._num_uses = 0
        self._schema: object = None

    def get(self) -> str:
        """The URL of an empty database; the one that was given before must not be used any more."""
        if self._num_uses >= MAX_USES or not self._empty():
            self._renew()
        self._num_uses += 1
        return self._url

    def close(self) -> None:
        self._owned.close()
        self._connection = None

    def _renew(self) -> None:
        self.close()
        self._url = self._owned.enter_context(new_postgres_database(self._server_url, template=self._template))
        plain_url = make_url(self._url).set(drivername="postgresql").render_as_string(False)
        self._connection = self._owned.enter_context(psycopg.connect(plain_url, autocommit=True))
        self._connection.execute("set session_replication_role = replica")  # no foreign keys: rows go in any order
        self._schema = self._connection.execute(SCHEMA).fetchone()
        self._num_uses = 0

    def _empty(self) -> bool:
        """Whether all rows are gone, and the schema is as it was."""
        if self._connection is None:
            return False
        with suppress(psycopg.Error):  # a test may have restarted the server
            self._connection.execute(END_OTHERS)
            if self._connection.execute(SCHEMA).fetchone() != self._schema:
                return False
            tables = self._connection.execute(
                "select tablename from pg_tables where schemaname = 'public' and tablename <> 'alembic_version'"
            ).fetchall()
            self._connection.execute(";".join(f'delete from "{table}"' for (table,) in tables))
            return True
        return False
