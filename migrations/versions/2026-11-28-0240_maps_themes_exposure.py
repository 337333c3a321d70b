"""Maps of images, a theme tag, and ratings of exposure."""

import sqlalchemy as sa
from alembic import op

revision = "c41d7e0a92b6"
down_revision = "7ba75d8c5be0"

JOB_KINDS = ("adapt", "extract_features", "label_images")


def _replace_job_kinds(kinds: tuple[str, ...]) -> None:
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_jobs_kind"), type_="check")
        batch_op.create_check_constraint(op.f("ck_jobs_kind"), sa.column("kind").in_(kinds))


def upgrade() -> None:
    _replace_job_kinds((*JOB_KINDS, "draw_map"))
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("theme", sa.String(length=64), nullable=True))
        batch_op.create_index("ix_images_application_theme", ["application", "theme"], unique=False)
    op.create_table(
        "image_maps",
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("tool", sa.String(length=64), nullable=False),
        sa.Column("tool_version", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("low", sa.Double(), nullable=True),
        sa.Column("high", sa.Double(), nullable=True),
        sa.Column("meaning", sa.String(length=256), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_image_maps_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", "tool", "tool_version", name=op.f("pk_image_maps")),
    )
    op.create_table(
        "exposure_ratings",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_exposure_ratings_image_id_images"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_exposure_ratings_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "image_id", name=op.f("pk_exposure_ratings")),
    )
    with op.batch_alter_table("exposure_ratings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_exposure_ratings_image_id"), ["image_id"], unique=False)


def downgrade() -> None:
    op.drop_table("exposure_ratings")
    op.drop_table("image_maps")
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_index("ix_images_application_theme")
        batch_op.drop_column("theme")
    op.execute("DELETE FROM jobs WHERE kind = 'draw_map'")
    _replace_job_kinds(JOB_KINDS)
