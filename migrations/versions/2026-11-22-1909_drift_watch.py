"""Drift watch."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "53019b2473ae"
down_revision = "60a1538cf99a"


def upgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("watched_sequence", sa.Integer(), server_default=sa.text("0"), nullable=False))
        batch_op.add_column(
            sa.Column(
                "drift", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
            )
        )
        batch_op.create_index(
            "ix_users_unwatched",
            ["id"],
            unique=False,
            sqlite_where=sa.text("feedback_sequence > watched_sequence"),
            postgresql_where=sa.text("feedback_sequence > watched_sequence"),
        )
    # feedback from before anybody watched is no news
    op.execute("UPDATE users SET watched_sequence = feedback_sequence")


def downgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_users_unwatched",
            sqlite_where=sa.text("feedback_sequence > watched_sequence"),
            postgresql_where=sa.text("feedback_sequence > watched_sequence"),
        )
        batch_op.drop_column("drift")
        batch_op.drop_column("watched_sequence")
