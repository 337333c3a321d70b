"""SQLAlchemy's compiled statements, shared by all engines of the test process.

SQLAlchemy keeps what it has compiled for each engine, and every test has an engine of its own: without sharing, most of
a test's processor time on a database goes into compiling the same statements again.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

MAX_STATEMENTS = 5000


def share() -> None:
    """From now on all engines on one kind of database find what any of them has compiled.

    A statement is found by its engine's dialect, an object of each engine. Those of one class count as equal here:
    all engines of the product are made with the same options.
    """
    for dialect in (PGDialect_psycopg, SQLiteDialect_pysqlite):
        dialect.__eq__ = lambda self, other: type(self) is type(other)  # type: ignore[method-assign]
        dialect.__hash__ = lambda self: hash(type(self))  # type: ignore[method-assign]
    shared: LRUCache[Any, Any] = LRUCache(MAX_STATEMENTS)
    sa.Engine._compiled_cache = property(lambda engine: shared, lambda engine, own: None)  # type: ignore[assignment]
