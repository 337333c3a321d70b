"""Short keys of what is long in an event: which user's event it is, and its content. Each is a number of 64 bits."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_BYTES: Final = 8


def event_key(user: str, event_id: str) -> int:
    """The key under which a user's event is looked for. Two events may have the same: then compare user and event id.

    Args:
        user: the user's id as 32 hexadecimal digits.
    """
    return short_digest(f"{user}{event_id}")


def short_digest(text: str) -> int:
    """The beginning of a text's SHA-256, as the databases' whole numbers are: from -2**63 to 2**63 - 1."""
    return int.from_bytes(sha256(text.encode(errors="surrogatepass")).digest()[:_BYTES], signed=True)


def prepare_sql(connection: sa.Connection) -> None:
    """Let statements of this connection call `sql_event_key`; SQLite has no digests of its own."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        driver.create_function("event_key", 2, event_key, deterministic=True)


def sql_event_key(dialect: str, user_id: sa.ColumnElement[Any], event_id: sa.ColumnElement[str]) -> Any:
    """`event_key` in SQL, for statements that write many events."""
    if dialect == "sqlite":
        return sa.func.event_key(sa.type_coerce(user_id, sa.String()), event_id, type_=sa.BigInteger())
    user = sa.func.replace(sa.cast(user_id, sa.Text()), "-", "")
    digest = sa.func.encode(sa.func.sha256(sa.func.convert_to(user.concat(event_id), "UTF8")), "hex")
    first = sa.literal("x").concat(sa.func.left(digest, 2 * _BYTES))
    return sa.cast(sa.cast(first, postgresql.BIT(8 * _BYTES)), sa.BigInteger())
