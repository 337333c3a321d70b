"""Digests of features, and requests that are carried out once."""

import hashlib
from uuid import UUID

import sqlalchemy as sa
from alembic import op

revision = "e5b1c07d3f48"
down_revision = "4c1e97d0a6b2"

ROWS_AT_ONCE = 500

features = sa.table(
    "features",
    sa.column("extractor_digest", sa.String),
    sa.column("image_id", sa.Uuid),
    sa.column("data", sa.LargeBinary),
    sa.column("sha256", sa.String),
)


def upgrade() -> None:
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("request_sha256", sa.String(length=64), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency")),
    )
    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_idempotency_expires_at"), ["expires_at"], unique=False)

    with op.batch_alter_table("features", schema=None) as batch_op:
        batch_op.add_column(sa.Column("sha256", sa.String(length=64), nullable=True))
    _add_digests(op.get_bind())


def _add_digests(connection: sa.Connection) -> None:
    """What is stored now counts as undamaged."""
    key = sa.tuple_(features.c.extractor_digest, features.c.image_id)
    read = (
        sa.select(features.c.extractor_digest, features.c.image_id, features.c.data)
        .where(features.c.data.is_not(None))
        .order_by(features.c.extractor_digest, features.c.image_id)
        .limit(ROWS_AT_ONCE)
    )
    write = (
        sa.update(features)
        .where(features.c.extractor_digest == sa.bindparam("extractor"), features.c.image_id == sa.bindparam("image"))
        .values(sha256=sa.bindparam("digest"))
    )
    rows = connection.execute(read).all()
    while rows:
        digests = [
            {"extractor": extractor, "image": image_id, "digest": _digest(extractor, image_id, data)}
            for extractor, image_id, data in rows
        ]
        connection.execute(write, digests)
        last = sa.tuple_(sa.literal(rows[-1][0]), sa.literal(rows[-1][1], sa.Uuid()))
        rows = connection.execute(read.where(key > last)).all()


def _digest(extractor_digest: str, image_id: UUID, data: bytes) -> str:
    # as `services/images/features.py` had it at this revision
    return hashlib.sha256(extractor_digest.encode() + image_id.bytes + data).hexdigest()


def downgrade() -> None:
    with op.batch_alter_table("features", schema=None) as batch_op:
        batch_op.drop_column("sha256")

    with op.batch_alter_table("idempotency", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotency_expires_at"))

    op.drop_table("idempotency")
