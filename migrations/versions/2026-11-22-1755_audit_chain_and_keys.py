"""Audit chain, key rotation, allowances of keys. Acts that are there already are chained in the order of their ids."""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "052393738109"
down_revision = "29c7da1e5b7a"


def upgrade() -> None:
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("entry_sha256", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "allowances",
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_allowances_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("key_id", "kind", name=op.f("pk_allowances")),
    )
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sequence", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("previous_sha256", sa.String(length=64), nullable=True))
        batch_op.add_column(sa.Column("entry_sha256", sa.String(length=64), nullable=True))
        batch_op.create_index("ix_audit_sequence", ["sequence"], unique=False)

    chain_what_is_there(op.get_bind())


AUDIT = sa.table(
    "audit",
    sa.column("id", sa.Uuid()),
    sa.column("actor", sa.String()),
    sa.column("action", sa.String()),
    sa.column("subject_id", sa.Uuid()),
    sa.column("details", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")),
    sa.column("created_at", sa.DateTime(timezone=True)),
    sa.column("sequence", sa.Integer()),
    sa.column("previous_sha256", sa.String()),
    sa.column("entry_sha256", sa.String()),
)
AUDIT_HEAD = sa.table(
    "audit_head", sa.column("id", sa.Integer()), sa.column("sequence", sa.Integer()), sa.column("entry_sha256")
)


def chain_what_is_there(connection: sa.Connection) -> None:
    """As `services.audit` did it when this was written; a copy, so that it stays what it was."""
    sequence, previous = 0, "0" * 64
    for row in connection.execute(sa.select(AUDIT).order_by(AUDIT.c.id)).all():
        sequence += 1
        entry = entry_sha256(row, sequence, previous)
        connection.execute(
            sa.update(AUDIT)
            .where(AUDIT.c.id == row.id)
            .values(sequence=sequence, previous_sha256=previous, entry_sha256=entry)
        )
        previous = entry
    if sequence:
        connection.execute(sa.insert(AUDIT_HEAD).values(id=1, sequence=sequence, entry_sha256=previous))


def entry_sha256(row: Any, sequence: int, previous: str) -> str:
    created_at: datetime = row.created_at
    utc = created_at.replace(tzinfo=UTC) if created_at.tzinfo is None else created_at.astimezone(UTC)
    content = [
        sequence,
        previous,
        str(row.id),
        row.actor,
        row.action,
        str(row.subject_id) if row.subject_id is not None else None,
        row.details,
        utc.isoformat(timespec="microseconds"),
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def downgrade() -> None:
    with op.batch_alter_table("audit", schema=None) as batch_op:
        batch_op.drop_index("ix_audit_sequence")
        batch_op.drop_column("entry_sha256")
        batch_op.drop_column("previous_sha256")
        batch_op.drop_column("sequence")

    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_column("rotated_at")

    op.drop_table("allowances")
    op.drop_table("audit_head")
