"""Find schema differences that Alembic does not compare: enum values, other CHECKs, and predicates of partial indexes.

Databases rewrite expressions (`kind IN ('a')` becomes `(kind)::text = ANY (ARRAY['a'::text])`). So expressions are
compared by the parts that stay the same.
"""

from __future__ import annotations

import re

import sqlalchemy as sa

_QUOTED = re.compile(r"'((?:[^']|'')*)'")
_CAST = re.compile(r"::(?:character varying|double precision|timestamp with time zone|\w+)(?:\(\d+\))?(?:\[\])?")


def uncompared_differences(connection: sa.Connection, metadata: sa.MetaData) -> list[str]:
    """One line per difference between the database and `metadata`, for the tables that both have."""
    inspector = sa.inspect(connection)
    present = set(inspector.get_table_names())
    lines: list[str] = []
    for table in metadata.sorted_tables:
        if table.name in present:
            lines += _compare("CHECK", _checks_of(table, connection.dialect), _checks_in(inspector, table))
            lines += _compare("WHERE of index", _wheres_of(table, connection.dialect), _wheres_in(inspector, table))
    return lines


def _compare(what: str, expected: dict[str, str], found: dict[str, str]) -> list[str]:
    return [
        f"{what} {name}: expected {expected.get(name, 'none')}, found {found.get(name, 'none')}"
        for name in sorted(expected.keys() | found.keys())
        if expected.get(name) != found.get(name)
    ]


def _checks_of(table: sa.Table, dialect: sa.Dialect) -> dict[str, str]:
    checks = [constraint for constraint in table.constraints if isinstance(constraint, sa.CheckConstraint)]
    return {str(check.name): _values(_sql(check.sqltext, dialect)) for check in checks}


def _checks_in(inspector: sa.Inspector, table: sa.Table) -> dict[str, str]:
    return {str(check["name"]): _values(check["sqltext"]) for check in inspector.get_check_constraints(table.name)}


def _wheres_of(table: sa.Table, dialect: sa.Dialect) -> dict[str, str]:
    wheres = {str(index.name): index.dialect_options[dialect.name].get("where") for index in table.indexes}
    return {name: _plain(_sql(where, dialect)) for name, where in wheres.items() if where is not None}


def _wheres_in(inspector: sa.Inspector, table: sa.Table) -> dict[str, str]:
    option = f"{inspector.dialect.name}_where"
    wheres = {
        index["name"]: index.get("dialect_options", {}).get(option) for index in inspector.get_indexes(table.name)
    }
    return {str(name): _plain(str(where)) for name, where in wheres.items() if where is not None}


def _sql(expression: sa.ClauseElement, dialect: sa.Dialect) -> str:
    return str(expression.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _values(sql: str) -> str:
    """The quoted values of a CHECK, sorted: the members of an enum."""
    return ", ".join(sorted(_QUOTED.findall(sql))) or "no values"


def _plain(sql: str) -> str:
    """A predicate without casts, brackets and spaces, in lower case: simple ones are then equal on both databases."""
    return re.sub(r"[\s()\"]", "", _CAST.sub("", sql)).lower()
