"""A row of feedback takes half the bytes: numbers as keys, short digests, packed ratings, partial indexes.

The table is written anew, in order of its ids. Going up, an event keeps its UUID as `earlier_id`. Going down, newer
events get the UUID that clients see, and digests are filled up with zeros: an event that is posted again to an older
version of the code is then taken for another event with its id, and refused.
"""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "e2a94c7b1d60"
down_revision = "7d21c4e8b6f3"

KINDS = ("rating", "correction", "comparison", "binary", "retraction")
SAME = "user_id, sequence, event_id, kind, image_id, other_image_id, receipt_id, retracts_sequence, source"
REFERRING = ("reviews", "quiz_pairs")
PARTIAL = {
    "ix_feedback_other_image_id": (["other_image_id"], "other_image_id IS NOT NULL"),
    "ix_feedback_receipt_id": (["receipt_id"], "receipt_id IS NOT NULL"),
    "ix_feedback_retractions": (["user_id", "sequence"], "retracts_sequence IS NOT NULL"),
    "ix_feedback_without_key": (["user_id"], "event_key IS NULL"),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

# PostgreSQL's expressions for what Python's functions below do on SQLite.
KEY = (
    "('x' || left(encode(sha256(convert_to(replace(user_id::text, '-', '') || event_id, 'UTF8')), 'hex'), 16))"
    "::bit(64)::bigint"
)
DIGEST = "CASE WHEN body_digest ~ '^[0-9a-f]{16}' THEN ('x' || left(body_digest, 16))::bit(64)::bigint ELSE 0 END"
PACKED = (
    "CASE WHEN jsonb_typeof(payload) = 'object' AND jsonb_typeof(payload -> 'scale') = 'object' THEN "
    "CASE WHEN payload - 'ratings' - 'scale' = '{}' AND payload -> 'ratings' IS NOT NULL "
    "AND (payload -> 'scale') - 'min' - 'max' = '{}' "
    "AND payload -> 'scale' -> 'min' IS NOT NULL AND payload -> 'scale' -> 'max' IS NOT NULL "
    "THEN json_build_array(payload -> 'ratings', payload -> 'scale' -> 'min', payload -> 'scale' -> 'max') "
    "ELSE payload::json END ELSE payload::json END"
)
UNPACKED = (
    "CASE WHEN json_typeof(payload) = 'array' THEN jsonb_build_object('ratings', payload -> 0, 'scale', "
    "jsonb_build_object('min', payload -> 1, 'max', payload -> 2)) ELSE payload::jsonb END"
)
CONTENT = "encode(sha256(convert_to(replace(user_id::text, '-', '') || ':' || sequence, 'UTF8')), 'hex')"
SHOWN_ID = (
    "lpad(to_hex((extract(epoch FROM date_trunc('milliseconds', received_at)) * 1000)::bigint), 12, '0') || '7' "
    f"|| substr({CONTENT}, 2, 3) || to_hex(('x' || substr({CONTENT}, 5, 1))::bit(4)::int & 3 | 8) "
    f"|| substr({CONTENT}, 6, 15)"
)


def upgrade() -> None:
    is_sqlite = _prepare()
    _create("feedback_new", is_new=True)
    columns = f"earlier_id, event_key, body_digest, received_at, occurred_at, {SAME}, payload"
    given = (
        "id_bytes(id), event_key(user_id, event_id), first_digits(body_digest), as_number(received_at), "
        f"as_number(occurred_at), {SAME}, packed(payload)"
        if is_sqlite
        else f"uuid_send(id), {KEY}, {DIGEST}, received_at, occurred_at, {SAME}, {PACKED}"
    )
    op.execute(
        f"INSERT INTO feedback_new ({columns}) SELECT {given} FROM feedback WHERE true ORDER BY id "  # nosec B608: names of the schema
        "ON CONFLICT (event_key) DO NOTHING"
    )
    if _num_rows("feedback_new") < _num_rows("feedback"):  # events with the key of another one, which have none
        keyless = given.replace("event_key(user_id, event_id)" if is_sqlite else KEY, "NULL")
        op.execute(
            f"INSERT INTO feedback_new ({columns}) SELECT {keyless} FROM feedback AS given WHERE NOT EXISTS ("  # nosec B608: as above
            "SELECT 1 FROM feedback_new AS there WHERE there.user_id = given.user_id "
            "AND there.sequence = given.sequence) ORDER BY id"
        )
    _refer_to_new(NUMBER)
    op.create_index("ix_feedback_image_id", "feedback", ["image_id"])
    for name, (names, where) in PARTIAL.items():
        op.create_index(name, "feedback", names, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    is_sqlite = _prepare()
    _create("feedback_new", is_new=False)
    given = (
        "shown_id(earlier_id, user_id, sequence, received_at), all_digits(body_digest), as_text(received_at), "
        f"as_text(occurred_at), {SAME}, unpacked(payload)"
        if is_sqlite
        else f"(CASE WHEN length(earlier_id) = 16 THEN encode(earlier_id, 'hex') ELSE {SHOWN_ID} END)::uuid, "
        f"rpad(lpad(to_hex(body_digest), 16, '0'), 64, '0'), received_at, occurred_at, {SAME}, {UNPACKED}"
    )
    op.execute(
        f"INSERT INTO feedback_new (id, body_digest, received_at, occurred_at, {SAME}, payload) "  # nosec B608: as above
        f"SELECT {given} FROM feedback ORDER BY id"
    )
    _refer_to_new(sa.Uuid())
    for name in ("image_id", "other_image_id", "receipt_id"):
        op.create_index(f"ix_feedback_{name}", "feedback", [name])
    names, where = PARTIAL["ix_feedback_retractions"]
    op.create_index(
        "ix_feedback_retractions", "feedback", names, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )


def _create(name: str, *, is_new: bool) -> None:
    """The table without its indexes."""
    is_sqlite = op.get_context().dialect.name == "sqlite"
    time = sa.BigInteger() if is_sqlite and is_new else sa.DateTime(timezone=True)
    own: list[Any] = (
        [
            sa.Column("id", NUMBER, nullable=False),
            sa.Column("event_key", sa.BigInteger(), nullable=True),
            sa.Column("body_digest", sa.BigInteger(), nullable=False),
        ]
        if is_new
        else [
            sa.Column("id", sa.Uuid(), nullable=False),
            sa.Column("body_digest", sa.String(64), nullable=False),
        ]
    )
    last: list[Any] = (
        [
            sa.Column("payload", sa.JSON(), nullable=False),
            sa.Column("earlier_id", sa.LargeBinary(), nullable=True),
            sa.UniqueConstraint("event_key", name=op.f("uq_feedback_event_key")),
        ]
        if is_new
        else [
            sa.Column("payload", sa.JSON() if is_sqlite else sa.dialects.postgresql.JSONB(), nullable=False),
            sa.UniqueConstraint("user_id", "event_id", name=op.f("uq_feedback_user_id_event_id")),
        ]
    )
    if not is_sqlite:  # a schema has each name of an index once
        op.execute("ALTER INDEX pk_feedback RENAME TO pk_feedback_before")
        op.execute("ALTER INDEX uq_feedback_user_id_sequence RENAME TO uq_feedback_user_id_sequence_before")
    op.create_table(
        name,
        *own,
        sa.Column("received_at", time, nullable=False),
        sa.Column("occurred_at", time, nullable=True),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=True),
        sa.Column("other_image_id", sa.Uuid(), nullable=True),
        sa.Column("receipt_id", sa.Uuid(), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("retracts_sequence", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(24), nullable=False),
        sa.Column("event_id", sa.String(128), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        *last,
        sa.CheckConstraint(f"kind IN ({', '.join(map(repr, KINDS))})", name=op.f("ck_feedback_kind")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_feedback_user_id_users"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_feedback_image_id_images"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["other_image_id"], ["images.id"], name=op.f("fk_feedback_other_image_id_images"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["receipt_id"],
            ["prediction_receipts.id"],
            name=op.f("fk_feedback_receipt_id_prediction_receipts"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feedback")),
        sa.UniqueConstraint("user_id", "sequence", name=op.f("uq_feedback_user_id_sequence")),
    )


def _refer_to_new(kind: Any) -> None:
    """Put the new table in the place of the old one, and let other tables refer to it."""
    for table in REFERRING:
        op.add_column(table, sa.Column("feedback_new_id", kind, nullable=True))
        op.execute(
            f"UPDATE {table} SET feedback_new_id = (SELECT new.id FROM feedback AS old JOIN feedback_new AS new "  # nosec B608: as above
            "ON new.user_id = old.user_id AND new.sequence = old.sequence "
            f"WHERE old.id = {table}.feedback_id) WHERE feedback_id IS NOT NULL"
        )
        op.drop_index(f"ix_{table}_feedback_id", table_name=table)
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_constraint(f"fk_{table}_feedback_id_feedback", type_="foreignkey")
            batch_op.drop_column("feedback_id")
            batch_op.alter_column("feedback_new_id", new_column_name="feedback_id", existing_type=kind)
    op.drop_table("feedback")
    op.rename_table("feedback_new", "feedback")
    if op.get_context().dialect.name != "sqlite" and kind is NUMBER:
        op.execute("ALTER SEQUENCE feedback_new_id_seq RENAME TO feedback_id_seq")
    for table in REFERRING:
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.create_foreign_key(
                f"fk_{table}_feedback_id_feedback", "feedback", ["feedback_id"], ["id"], ondelete="SET NULL"
            )
        op.create_index(f"ix_{table}_feedback_id", table, ["feedback_id"])


def _num_rows(table: str) -> int:
    return int(op.get_bind().execute(sa.select(sa.func.count()).select_from(sa.table(table))).scalar_one())


def _prepare() -> bool:
    """Let SQLite call the functions below. Returns whether this is SQLite."""
    if op.get_context().dialect.name != "sqlite":
        return False
    driver: Any = op.get_bind().connection.driver_connection
    driver.execute("pragma cache_size = -131072")  # KiB, of this connection: keys come in no order
    functions: list[Callable[..., Any]] = [
        id_bytes, event_key, first_digits, as_number, packed, shown_id, all_digits, as_text, unpacked
    ]  # fmt: skip
    for function in functions:
        driver.create_function(function.__name__, function.__code__.co_argcount, function)
    return True


def id_bytes(row_id: str) -> bytes:
    return bytes.fromhex(row_id)


def event_key(user: str, event_id: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{user}{event_id}".encode()).digest()[:8], signed=True)


def first_digits(body_digest: str) -> int:
    try:
        return int.from_bytes(bytes.fromhex(body_digest[:16]), signed=True)
    except ValueError:
        return 0


def all_digits(body_digest: int) -> str:
    return body_digest.to_bytes(8, signed=True).hex().ljust(64, "0")


def as_number(moment: str | None) -> int | None:
    if moment is None:
        return None
    return (datetime.fromisoformat(moment).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def as_text(moment: int | None) -> str | None:
    if moment is None:
        return None
    return (EPOCH + timedelta(microseconds=moment)).replace(tzinfo=None).isoformat(" ", "microseconds")


def packed(payload: str) -> str:
    try:
        value = json.loads(payload)
    except ValueError:  # a damaged row stays as it is
        return payload
    if isinstance(value, dict) and value.keys() == {"ratings", "scale"}:
        scale = value["scale"]
        if isinstance(scale, dict) and scale.keys() == {"min", "max"}:
            value = [value["ratings"], scale["min"], scale["max"]]
    return json.dumps(value, separators=(",", ":"))


def unpacked(payload: str) -> str:
    value = json.loads(payload)
    if isinstance(value, list):
        value = {"ratings": value[0], "scale": {"min": value[1], "max": value[2]}}
    return json.dumps(value)


def shown_id(earlier_id: bytes | None, user: str, sequence: int, received_at: int) -> str:
    if earlier_id is not None and len(earlier_id) == 16:
        return earlier_id.hex()
    content = hashlib.sha256(f"{user}:{sequence}".encode()).digest()
    number = (received_at // 1000 << 80) | int.from_bytes(content[:10])
    number = (number & ~(0xF << 76)) | (7 << 76)
    return f"{(number & ~(0x3 << 62)) | (0x2 << 62):032x}"
