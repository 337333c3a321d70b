"""Two indexes of jobs less, and one of the rows that it is asked for: each costs every job that is enqueued.

`ix_jobs_turns` has the columns of `ix_jobs_ready`, and finds the few jobs that run. The index of histories has their
order too: a user's last entry is looked up for every new one.
"""

import sqlalchemy as sa
from alembic import op

revision = "d06e83b1f7a5"
down_revision = "b7f2c95e1d04"


def upgrade() -> None:
    op.drop_index("ix_jobs_ready", table_name="jobs")
    op.drop_index("ix_jobs_lease", table_name="jobs")
    op.drop_index("ix_jobs_started", table_name="jobs")
    has_started = sa.text("started_at IS NOT NULL")
    op.create_index(
        "ix_jobs_started",
        "jobs",
        ["started_at", "application"],
        sqlite_where=has_started,
        postgresql_where=has_started,
    )

    op.drop_index("ix_adapter_history_user_id", table_name="adapter_history")
    op.create_index("ix_adapter_history_user_id", "adapter_history", ["user_id", "id"])


def downgrade() -> None:
    op.drop_index("ix_adapter_history_user_id", table_name="adapter_history")
    op.create_index("ix_adapter_history_user_id", "adapter_history", ["user_id"])
    op.drop_index("ix_jobs_started", table_name="jobs")
    op.create_index("ix_jobs_started", "jobs", ["started_at", "application"])
    op.create_index("ix_jobs_lease", "jobs", ["state", "lease_expires_at"])
    op.create_index("ix_jobs_ready", "jobs", ["state", "queue", "priority", "run_after"])
