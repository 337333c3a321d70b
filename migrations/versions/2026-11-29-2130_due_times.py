"""Due times in a table of their own: a scan deletes thousands of them without writing the rows of users."""

import sqlalchemy as sa
from alembic import op

revision = "81d4b6f0c3a9"
down_revision = "5c3ae90f7b12"


def upgrade() -> None:
    op.create_table(
        "due_times",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_due_times_user_id_users", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name="pk_due_times"),
    )
    # A time without a reason meant new feedback.
    op.execute(
        "INSERT INTO due_times (user_id, due_at, reason) "
        "SELECT id, next_due_at, coalesce(due_reason, 'new_feedback') FROM users "
        "WHERE next_due_at IS NOT NULL OR due_reason IS NOT NULL"
    )
    op.create_index("ix_due_times_due_at", "due_times", ["due_at"])
    at_once = sa.text("reason <> 'interval'")
    op.create_index("ix_due_times_at_once", "due_times", ["due_at"], sqlite_where=at_once, postgresql_where=at_once)
    op.drop_index("ix_users_next_due_at", table_name="users")
    op.drop_index("ix_users_due_at_once", table_name="users")
    op.drop_column("users", "next_due_at")
    op.drop_column("users", "due_reason")


def downgrade() -> None:
    op.add_column("users", sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("users", sa.Column("due_reason", sa.String(length=24), nullable=True))
    op.execute(
        "UPDATE users SET next_due_at = due_times.due_at, due_reason = due_times.reason FROM due_times "
        "WHERE due_times.user_id = users.id"
    )
    is_due, at_once = sa.text("next_due_at IS NOT NULL"), sa.text("due_reason <> 'interval'")
    op.create_index("ix_users_next_due_at", "users", ["next_due_at"], sqlite_where=is_due, postgresql_where=is_due)
    op.create_index("ix_users_due_at_once", "users", ["next_due_at"], sqlite_where=at_once, postgresql_where=at_once)
    op.drop_table("due_times")
