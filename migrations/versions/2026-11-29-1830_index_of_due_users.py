"""The index of due times has only users who have one: a scan that clears thousands writes nothing into it."""

import sqlalchemy as sa
from alembic import op

revision = "2b9e5d13c8a7"
down_revision = "f4a7c2d95b31"


def upgrade() -> None:
    is_due = sa.text("next_due_at IS NOT NULL")
    op.drop_index("ix_users_next_due_at", table_name="users")
    op.create_index("ix_users_next_due_at", "users", ["next_due_at"], sqlite_where=is_due, postgresql_where=is_due)


def downgrade() -> None:
    op.drop_index("ix_users_next_due_at", table_name="users")
    op.create_index("ix_users_next_due_at", "users", ["next_due_at"])
