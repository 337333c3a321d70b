"""The rows of a database, to be put into others of the same kind and schema: far quicker than making them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True)
class SavedRows:
    """Rows by table, parents first, in the words of the database's driver."""

    dialect: str
    tables: tuple[tuple[str, Any], ...]

    @classmethod
    def of(cls, engine: sa.Engine, tables: Sequence[sa.Table]) -> SavedRows:
        """All rows of these tables, which come in an order that foreign keys allow."""
        dialect, saved = engine.dialect.name, []
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            for table in tables:
                if dialect == "postgresql":
                    with driver.cursor().copy(f'copy "{table.name}" to stdout') as rows:
                        saved.append((table.name, b"".join(rows)))
                else:
                    saved.append((table.name, driver.execute(f'select * from "{table.name}"').fetchall()))
        return cls(dialect, tuple((name, rows) for name, rows in saved if rows))

    def put(self, engine: sa.Engine) -> None:
        """Add the rows, all or none."""
        with engine.begin() as connection:
            driver: Any = connection.connection.driver_connection
            for name, rows in self.tables:
                if self.dialect == "postgresql":
                    with driver.cursor().copy(f'copy "{name}" from stdin') as copy:
                        copy.write(rows)
                else:
                    values = ",".join("?" * len(rows[0]))
                    driver.executemany(f'insert into "{name}" values ({values})', rows)
