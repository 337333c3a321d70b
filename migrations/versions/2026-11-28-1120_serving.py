"""An index for pages of an application's users, and the deployment's secrets, of which one signs receipts."""

import sqlalchemy as sa
from alembic import op

revision = "b7f2c95e1d04"
down_revision = "8c41e7d0b3a6"


def upgrade() -> None:
    op.create_index("ix_users_application_id", "users", ["application", "id"])
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )


def downgrade() -> None:
    op.drop_table("secrets")
    op.drop_index("ix_users_application_id", table_name="users")
