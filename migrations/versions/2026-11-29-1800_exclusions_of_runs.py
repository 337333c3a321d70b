"""An exclusion is of a run of events: a rollback writes one row for each user instead of one for each event."""

import sqlalchemy as sa
from alembic import op

revision = "f4a7c2d95b31"
down_revision = "d06e83b1f7a5"

# What rows of one act have in common.
ACT = "user_id, reason, actor, created_at, excluded_epoch, released_epoch, released_at, released_by"


def upgrade() -> None:
    op.add_column("exclusions", sa.Column("first_sequence", sa.Integer(), nullable=True))
    op.add_column("exclusions", sa.Column("last_sequence", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE exclusions SET first_sequence = feedback.sequence FROM feedback "
        "WHERE feedback.id = exclusions.feedback_id"
    )
    # Of each run, the row of its first event stays.
    op.execute(
        "UPDATE exclusions SET last_sequence = runs.last FROM ("  # nosec B608: names of the schema
        "SELECT first_value(id) OVER run AS id, max(first_sequence) OVER whole_run AS last FROM ("
        f"SELECT *, first_sequence - row_number() OVER (PARTITION BY {ACT} ORDER BY first_sequence) AS place "
        "FROM exclusions) AS placed "
        f"WINDOW run AS (PARTITION BY {ACT}, place ORDER BY first_sequence), "
        f"whole_run AS (PARTITION BY {ACT}, place)) AS runs WHERE runs.id = exclusions.id"
    )
    op.execute("DELETE FROM exclusions WHERE last_sequence IS NULL")
    op.drop_index("uq_exclusions_one_open_per_event", table_name="exclusions")
    op.drop_index("ix_exclusions_feedback_id", table_name="exclusions")
    with op.batch_alter_table("exclusions", schema=None) as batch_op:
        batch_op.drop_constraint("fk_exclusions_feedback_id_feedback", type_="foreignkey")
        batch_op.drop_column("feedback_id")
        batch_op.alter_column("first_sequence", existing_type=sa.Integer(), nullable=False)
        batch_op.alter_column("last_sequence", existing_type=sa.Integer(), nullable=False)
    is_open = sa.text("released_at IS NULL")
    op.create_index(
        "uq_exclusions_one_open_per_start",
        "exclusions",
        ["user_id", "first_sequence"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )


def downgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    new_id = "lower(hex(randomblob(16)))" if is_sqlite else "gen_random_uuid()"
    op.drop_index("uq_exclusions_one_open_per_start", table_name="exclusions")
    op.add_column("exclusions", sa.Column("feedback_id", sa.Uuid(), nullable=True))
    columns = "reason, actor, created_at, excluded_epoch, released_epoch, released_at, released_by"
    given = ", ".join(f"exclusions.{column}" for column in columns.split(", "))
    op.execute(
        f"INSERT INTO exclusions (id, feedback_id, user_id, first_sequence, last_sequence, {columns}) "  # nosec B608: names of the schema
        f"SELECT {new_id}, feedback.id, feedback.user_id, feedback.sequence, feedback.sequence, {given} "
        "FROM exclusions JOIN feedback ON feedback.user_id = exclusions.user_id "
        "AND feedback.sequence > exclusions.first_sequence AND feedback.sequence <= exclusions.last_sequence"
    )
    op.execute(
        "UPDATE exclusions SET feedback_id = feedback.id FROM feedback WHERE exclusions.feedback_id IS NULL "
        "AND feedback.user_id = exclusions.user_id AND feedback.sequence = exclusions.first_sequence"
    )
    op.execute("DELETE FROM exclusions WHERE feedback_id IS NULL")  # of no event
    with op.batch_alter_table("exclusions", schema=None) as batch_op:
        batch_op.drop_column("first_sequence")
        batch_op.drop_column("last_sequence")
        batch_op.alter_column("feedback_id", existing_type=sa.Uuid(), nullable=False)
        batch_op.create_foreign_key(
            "fk_exclusions_feedback_id_feedback", "feedback", ["feedback_id"], ["id"], ondelete="CASCADE"
        )
    op.create_index("ix_exclusions_feedback_id", "exclusions", ["feedback_id"])
    is_open = sa.text("released_at IS NULL")
    op.create_index(
        "uq_exclusions_one_open_per_event",
        "exclusions",
        ["feedback_id"],
        unique=True,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
