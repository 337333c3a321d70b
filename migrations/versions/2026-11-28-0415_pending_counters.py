"""Counters of the events that wait for a training, and indexes that keep scans and trainings flat."""

import sqlalchemy as sa
from alembic import op

revision = "9d3f6a81c2e7"
down_revision = "e5b1c07d3f48"


def upgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pending_count", sa.Integer(), server_default=sa.text("0"), nullable=False))
        batch_op.add_column(sa.Column("pending_since", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_users_due_at_once",
        "users",
        ["next_due_at"],
        sqlite_where=sa.text("due_reason <> 'interval'"),
        postgresql_where=sa.text("due_reason <> 'interval'"),
    )
    op.create_index(
        "ix_feedback_retractions",
        "feedback",
        ["user_id", "sequence"],
        sqlite_where=sa.text("retracts_sequence IS NOT NULL"),
        postgresql_where=sa.text("retracts_sequence IS NOT NULL"),
    )
    op.create_index(
        "ix_images_shared_in_order",
        "images",
        ["application", "sha256", "id"],
        sqlite_where=sa.text("owner_id IS NULL"),
        postgresql_where=sa.text("owner_id IS NULL"),
    )
    op.execute(
        "UPDATE users SET (pending_count, pending_since) = ("
        "SELECT count(*), min(feedback.received_at) FROM feedback "
        "WHERE feedback.user_id = users.id AND feedback.sequence > users.trained_sequence AND NOT EXISTS ("
        "SELECT 1 FROM exclusions WHERE exclusions.feedback_id = feedback.id AND exclusions.released_at IS NULL)) "
        "WHERE feedback_sequence > trained_sequence"
    )


def downgrade() -> None:
    op.drop_index("ix_users_due_at_once", table_name="users")
    op.drop_index("ix_images_shared_in_order", table_name="images")
    op.drop_index("ix_feedback_retractions", table_name="feedback")
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_column("pending_since")
        batch_op.drop_column("pending_count")
