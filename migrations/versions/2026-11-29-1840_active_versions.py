"""An index of active versions that has their ids too: who has which version is read from it alone."""

import sqlalchemy as sa
from alembic import op

revision = "5c3ae90f7b12"
down_revision = "2b9e5d13c8a7"


def upgrade() -> None:
    is_active = sa.text("state = 'active'")
    op.create_index(
        "ix_adapters_active",
        "adapters",
        ["user_id", "id", "match_id", "state"],
        sqlite_where=is_active,
        postgresql_where=is_active,
    )


def downgrade() -> None:
    op.drop_index("ix_adapters_active", table_name="adapters")
