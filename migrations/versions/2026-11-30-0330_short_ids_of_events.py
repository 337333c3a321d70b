"""Sources and event ids that are UUIDs take 23 characters: a mark, and their 16 bytes in base64.

A text that looks like that already changes places with what it would be read as, so the same statement goes up and
down.
"""

import base64
import re
from uuid import UUID

from alembic import op

revision = "b7f03a9c52d8"
down_revision = "e2a94c7b1d60"

PREFIXES = {"event_id": "", "source": "key:"}
LENGTHS = {"event_id": 128, "source": 64}


def upgrade() -> None:
    exchange()


def downgrade() -> None:
    exchange()


def exchange() -> None:
    if op.get_context().dialect.name == "sqlite":
        op.get_bind().connection.driver_connection.create_function("exchanged", 2, exchanged, deterministic=True)
        given = {column: f"exchanged({column}, '{prefix}')" for column, prefix in PREFIXES.items()}
        op.execute(
            f"UPDATE feedback SET {', '.join(f'{column} = {text}' for column, text in given.items())} "  # nosec B608: names of the schema
            f"WHERE {' OR '.join(f'{column} <> {text}' for column, text in given.items())}"
        )
        return
    # The table and its indexes are written anew: an update would leave twice the space.
    changes = [
        f"ALTER COLUMN {column} TYPE varchar({LENGTHS[column]}) USING {exchanged_by_postgresql(column, prefix)}"
        for column, prefix in PREFIXES.items()
    ]
    op.execute(f"ALTER TABLE feedback {', '.join(changes)}")


def exchanged_by_postgresql(column: str, prefix: str) -> str:
    digits = f"replace(substr({column}, {len(prefix) + 1}), '-', '')"
    base64_of = f"translate(rtrim(encode(decode({digits}, 'hex'), 'base64'), '='), '+/', '-_')"
    uuid_of = f"encode(decode(translate(substr({column}, 2), '-_', '+/') || '==', 'base64'), 'hex')::uuid"
    return (
        f"CASE WHEN {column} COLLATE \"C\" ~ '^{prefix}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' "
        f"THEN '~' || {base64_of} "
        f"WHEN {column} COLLATE \"C\" ~ '^~[A-Za-z0-9_-]{{21}}[AQgw]$' THEN '{prefix}' || {uuid_of} "
        f"ELSE {column} END"
    )


def exchanged(text: str, prefix: str) -> str:
    if re.fullmatch(f"{prefix}[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}", text):
        return "~" + base64.urlsafe_b64encode(UUID(text.removeprefix(prefix)).bytes)[:-2].decode()
    if re.fullmatch("~[A-Za-z0-9_-]{21}[AQgw]", text):
        return f"{prefix}{UUID(bytes=base64.urlsafe_b64decode(text[1:] + '=='))}"
    return text
