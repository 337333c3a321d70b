"""Images have the application's own id and longer names; feedback outlives its images; keys may create users.

Going down drops these columns, and cuts names at 256 characters.
"""

import sqlalchemy as sa
from alembic import op

revision = "7f3c0a9d51b8"
down_revision = "5b8e2f60c9d4"

REFERENCES = (("image_id", "fk_feedback_image_id_images"), ("other_image_id", "fk_feedback_other_image_id_images"))


def _replace_references(ondelete: str) -> None:
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        for column, name in REFERENCES:
            batch_op.drop_constraint(name, type_="foreignkey")
            batch_op.create_foreign_key(name, "images", [column], ["id"], ondelete=ondelete)


def upgrade() -> None:
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("external_id", sa.String(128), nullable=True))
        batch_op.alter_column("name", existing_type=sa.String(256), type_=sa.String(512), existing_nullable=True)
    with op.batch_alter_table("images", schema=None) as batch_op:
        for owner, columns, where in (
            ("application", ["application", "external_id"], "owner_id IS NULL AND external_id IS NOT NULL"),
            ("owner", ["owner_id", "external_id"], "owner_id IS NOT NULL AND external_id IS NOT NULL"),
        ):
            batch_op.create_index(
                f"uq_images_{owner}_external_id",
                columns,
                unique=True,
                sqlite_where=sa.text(where),
                postgresql_where=sa.text(where),
            )
        batch_op.create_index("ix_images_application_name", ["application", "name"])
    _replace_references("SET NULL")
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("creates_users", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    with op.batch_alter_table("api_keys", schema=None) as batch_op:
        batch_op.drop_column("creates_users")
    _replace_references("CASCADE")
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_index("ix_images_application_name")
        batch_op.drop_index("uq_images_owner_external_id")
        batch_op.drop_index("uq_images_application_external_id")
    op.execute("UPDATE images SET name = substr(name, 1, 256) WHERE length(name) > 256")
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.alter_column("name", existing_type=sa.String(512), type_=sa.String(256), existing_nullable=True)
        batch_op.drop_column("external_id")
