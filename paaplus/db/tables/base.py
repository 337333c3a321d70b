"""Declarative base: names of constraints, and column types of annotations.

Files of tables have no `from __future__ import annotations`: each annotation would be a text, which SQLAlchemy
evaluates, a tenth of their import.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

from paaplus.db.types import JSONType, UTCDateTime

NAMING_CONVENTION = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {
        UUID: sa.Uuid,
        datetime: UTCDateTime,
        dict[str, Any]: JSONType,
        list[str]: JSONType,
        list[float]: JSONType,
        bytes: sa.LargeBinary,
    }


def partial(name: str, *columns: str, where: str, unique: bool = False) -> sa.Index:
    """An index over the rows that satisfy `where`; SQLite and PostgreSQL both have them."""
    return sa.Index(name, *columns, unique=unique, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def partial_unique(name: str, *columns: str, where: str) -> sa.Index:
    """A unique index over the rows that satisfy `where`."""
    return partial(name, *columns, where=where, unique=True)
