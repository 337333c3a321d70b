"""Jobs know their application, so that applications take turns; a taste prior may be of one application only.

Jobs of before keep an empty application: they take turns as one.
"""

import sqlalchemy as sa
from alembic import op

revision = "5b8e2f60c9d4"
down_revision = "9d3f6a81c2e7"


def upgrade() -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("application", sa.String(64), nullable=False, server_default=sa.text("''")))
        batch_op.create_index("ix_jobs_turns", ["state", "application", "queue", "priority", "run_after"])
        batch_op.create_index("ix_jobs_started", ["started_at", "application"])
    with op.batch_alter_table("taste_priors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("application", sa.String(64), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("taste_priors", schema=None) as batch_op:
        batch_op.drop_column("application")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index("ix_jobs_started")
        batch_op.drop_index("ix_jobs_turns")
        batch_op.drop_column("application")
