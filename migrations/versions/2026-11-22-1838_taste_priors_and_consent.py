"""Taste priors and consent."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "60a1538cf99a"
down_revision = "052393738109"


def upgrade() -> None:
    op.create_table(
        "taste_prior_people",
        sa.Column("taste_prior_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["taste_prior_id"],
            ["taste_priors.id"],
            name=op.f("fk_taste_prior_people_taste_prior_id_taste_priors"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_taste_prior_people_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("taste_prior_id", "user_id", name=op.f("pk_taste_prior_people")),
    )
    with op.batch_alter_table("taste_prior_people", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_taste_prior_people_user_id"), ["user_id"], unique=False)

    with op.batch_alter_table("taste_priors", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "metrics", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
            )
        )
        batch_op.add_column(sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("stale_at", sa.DateTime(timezone=True), nullable=True))

    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.add_column(sa.Column("shares_taste", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    with op.batch_alter_table("users", schema=None) as batch_op:
        batch_op.drop_column("shares_taste")

    with op.batch_alter_table("taste_priors", schema=None) as batch_op:
        batch_op.drop_column("stale_at")
        batch_op.drop_column("retired_at")
        batch_op.drop_column("metrics")

    with op.batch_alter_table("taste_prior_people", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_taste_prior_people_user_id"))

    op.drop_table("taste_prior_people")
