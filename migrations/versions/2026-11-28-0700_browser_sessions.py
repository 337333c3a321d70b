"""Browser sessions of the studio, and the one-time links that open them."""

import sqlalchemy as sa
from alembic import op

revision = "8c41e7d0b3a6"
down_revision = "a3d90b5e7c18"


def upgrade() -> None:
    op.create_table(
        "browser_sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Uuid(), nullable=False),
        sa.Column("acting_user_id", sa.Uuid(), nullable=True),
        sa.Column("secret_sha256", sa.String(64), nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=True),
        sa.Column("form_token", sa.String(64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="fk_browser_sessions_key_id_api_keys", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["acting_user_id"], ["users.id"], name="fk_browser_sessions_acting_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_browser_sessions"),
        sa.UniqueConstraint("secret_sha256", name="uq_browser_sessions_secret_sha256"),
    )
    for column in ("key_id", "acting_user_id", "previous_sha256", "expires_at"):
        op.create_index(f"ix_browser_sessions_{column}", "browser_sessions", [column])


def downgrade() -> None:
    op.drop_table("browser_sessions")
