"""Parameters and new ids in `INSERT ... SELECT`, for statements that write thousands of rows without reading them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.types import TypeEngine

from paaplus.ids import new_hex

_TAIL_DIGITS = 8


def given(dialect: str, parameter: str, kind: TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """A parameter among selected columns: PostgreSQL must be told its type."""
    value = sa.bindparam(parameter, type_=kind)
    return sa.cast(value, kind) if dialect == "postgresql" else value


def numbered_id(dialect: str) -> sa.ColumnElement[Any]:
    """An id for each selected row, ordered by its place among them. The statement needs the values of `id_values`."""
    number = given(dialect, "id_tail", sa.BigInteger()) + sa.func.row_number().over()
    head = given(dialect, "id_head", sa.String())
    if dialect == "sqlite":
        return head + sa.func.printf(f"%0{_TAIL_DIGITS}x", number)
    return sa.cast(head + sa.func.lpad(sa.func.to_hex(number), _TAIL_DIGITS, "0"), sa.Uuid())


def id_values() -> dict[str, Any]:
    """The values of `numbered_id` for one execution: the ids are of this moment, as those of `new_id`."""
    first = new_hex()
    tail = int(first[-_TAIL_DIGITS:], 16) >> 2  # so that no number of rows makes it longer
    return {"id_head": first[:-_TAIL_DIGITS], "id_tail": tail}
