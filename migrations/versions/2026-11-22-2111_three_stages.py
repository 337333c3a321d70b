"""AI tools, reviews, experts, surveys and matches."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "7ba75d8c5be0"
down_revision = "53019b2473ae"

JOB_KINDS = ("adapt", "extract_features")
MOVES = (
    "gate_promoted",
    "gate_refused",
    "promoted",
    "rolled_back",
    "pinned",
    "unpinned",
    "released",
    "retrain_requested",
)


def _replace_check(table: str, column: str, values: tuple[str, ...]) -> None:
    with op.batch_alter_table(table, schema=None) as batch_op:
        batch_op.drop_constraint(op.f(f"ck_{table}_{column}"), type_="check")
        batch_op.create_check_constraint(op.f(f"ck_{table}_{column}"), sa.column(column).in_(values))


def upgrade() -> None:
    op.create_table(
        "review_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column(
            "tools", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column(
            "review_order",
            sa.Enum("value", "random", name="review_order", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review_batches")),
    )
    with op.batch_alter_table("review_batches", schema=None) as batch_op:
        batch_op.create_index("ix_review_batches_application", ["application"], unique=False)

    op.create_table(
        "surveys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("domain", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column(
            "form", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_surveys")),
        sa.UniqueConstraint("application", "name", "version", name=op.f("uq_surveys_application_name_version")),
    )
    op.create_table(
        "experts",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("domain", sa.String(length=64), nullable=False),
        sa.Column(
            "form",
            sa.Enum("pooled", "head", name="form", native_enum=False, create_constraint=True, length=24),
            nullable=False,
        ),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_experts_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_experts")),
    )
    op.create_table(
        "matches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("base_model_id", sa.Uuid(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "generic", "expert", "combination", name="kind", native_enum=False, create_constraint=True, length=24
            ),
            nullable=False,
        ),
        sa.Column("prior_digest", sa.String(length=64), nullable=True),
        sa.Column("shift", sa.LargeBinary(), nullable=True),
        sa.Column(
            "evidence", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("high_water_sequence", sa.Integer(), nullable=False),
        sa.Column("stale_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_model_id"], ["base_models.id"], name=op.f("fk_matches_base_model_id_base_models")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_matches_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_matches")),
    )
    with op.batch_alter_table("matches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_matches_base_model_id"), ["base_model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_matches_user_id"), ["user_id"], unique=False)
        batch_op.create_index(
            "uq_matches_one_in_force",
            ["user_id"],
            unique=True,
            sqlite_where=sa.text("superseded_at IS NULL"),
            postgresql_where=sa.text("superseded_at IS NULL"),
        )

    op.create_table(
        "preference_encoders",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("survey_id", sa.Uuid(), nullable=False),
        sa.Column("base_model_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("num_people", sa.Integer(), nullable=False),
        sa.Column(
            "metrics", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_model_id"], ["base_models.id"], name=op.f("fk_preference_encoders_base_model_id_base_models")
        ),
        sa.ForeignKeyConstraint(["survey_id"], ["surveys.id"], name=op.f("fk_preference_encoders_survey_id_surveys")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preference_encoders")),
        sa.UniqueConstraint(
            "survey_id", "base_model_id", "version", name=op.f("uq_preference_encoders_survey_id_base_model_id_version")
        ),
    )
    with op.batch_alter_table("preference_encoders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_preference_encoders_base_model_id"), ["base_model_id"], unique=False)

    op.create_table(
        "quizzes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("base_model_id", sa.Uuid(), nullable=False),
        sa.Column("max_pairs", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.String(length=64), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["base_model_id"], ["base_models.id"], name=op.f("fk_quizzes_base_model_id_base_models")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_quizzes_user_id_users"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quizzes")),
    )
    with op.batch_alter_table("quizzes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quizzes_base_model_id"), ["base_model_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quizzes_user_id"), ["user_id"], unique=False)
        batch_op.create_index(
            "uq_quizzes_one_open_per_user",
            ["user_id"],
            unique=True,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )

    op.create_table(
        "survey_answers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("survey_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "answers", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["survey_id"], ["surveys.id"], name=op.f("fk_survey_answers_survey_id_surveys")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_survey_answers_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_survey_answers")),
    )
    with op.batch_alter_table("survey_answers", schema=None) as batch_op:
        batch_op.create_index("ix_survey_answers_survey_id", ["survey_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_survey_answers_user_id"), ["user_id"], unique=False)
        batch_op.create_index(
            "uq_survey_answers_one_in_force",
            ["survey_id", "user_id"],
            unique=True,
            sqlite_where=sa.text("superseded_at IS NULL"),
            postgresql_where=sa.text("superseded_at IS NULL"),
        )

    op.create_table(
        "tool_revisions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("application", sa.String(length=64), nullable=False),
        sa.Column("tool", sa.String(length=64), nullable=False),
        sa.Column("tool_version", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("base_model_id", sa.Uuid(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("num_reviews", sa.Integer(), nullable=False),
        sa.Column(
            "metrics", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stale_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["base_model_id"], ["base_models.id"], name=op.f("fk_tool_revisions_base_model_id_base_models")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tool_revisions")),
        sa.UniqueConstraint(
            "application",
            "tool",
            "tool_version",
            "version",
            name=op.f("uq_tool_revisions_application_tool_tool_version_version"),
        ),
    )
    with op.batch_alter_table("tool_revisions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tool_revisions_base_model_id"), ["base_model_id"], unique=False)

    op.create_table(
        "preference_encoder_people",
        sa.Column("preference_encoder_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["preference_encoder_id"],
            ["preference_encoders.id"],
            name=op.f("fk_preference_encoder_people_preference_encoder_id_preference_encoders"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_preference_encoder_people_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("preference_encoder_id", "user_id", name=op.f("pk_preference_encoder_people")),
    )
    with op.batch_alter_table("preference_encoder_people", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_preference_encoder_people_user_id"), ["user_id"], unique=False)

    op.create_table(
        "preferences",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column(
            "preference", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("preference_encoder_id", sa.Uuid(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["preference_encoder_id"],
            ["preference_encoders.id"],
            name=op.f("fk_preferences_preference_encoder_id_preference_encoders"),
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_preferences_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_preferences")),
    )
    with op.batch_alter_table("preferences", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_preferences_preference_encoder_id"), ["preference_encoder_id"], unique=False
        )

    op.create_table(
        "pseudo_labels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("tool", sa.String(length=64), nullable=False),
        sa.Column("tool_version", sa.String(length=64), nullable=False),
        sa.Column(
            "scores", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column(
            "confidences", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_pseudo_labels_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pseudo_labels")),
        sa.UniqueConstraint(
            "image_id", "tool", "tool_version", name=op.f("uq_pseudo_labels_image_id_tool_tool_version")
        ),
    )
    op.create_table(
        "tool_revision_people",
        sa.Column("tool_revision_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tool_revision_id"],
            ["tool_revisions.id"],
            name=op.f("fk_tool_revision_people_tool_revision_id_tool_revisions"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_tool_revision_people_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tool_revision_id", "user_id", name=op.f("pk_tool_revision_people")),
    )
    with op.batch_alter_table("tool_revision_people", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tool_revision_people_user_id"), ["user_id"], unique=False)

    op.create_table(
        "match_experts",
        sa.Column("match_id", sa.Uuid(), nullable=False),
        sa.Column("expert_id", sa.Uuid(), nullable=False),
        sa.Column("adapter_id", sa.Uuid(), nullable=True),
        sa.Column("share", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter_id"], ["adapters.id"], name=op.f("fk_match_experts_adapter_id_adapters"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["expert_id"], ["users.id"], name=op.f("fk_match_experts_expert_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["match_id"], ["matches.id"], name=op.f("fk_match_experts_match_id_matches"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("match_id", "expert_id", name=op.f("pk_match_experts")),
    )
    with op.batch_alter_table("match_experts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_match_experts_adapter_id"), ["adapter_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_match_experts_expert_id"), ["expert_id"], unique=False)

    op.create_table(
        "quiz_pairs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("quiz_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("first_image_id", sa.Uuid(), nullable=False),
        sa.Column("second_image_id", sa.Uuid(), nullable=False),
        sa.Column("expected_information", sa.Double(), nullable=False),
        sa.Column("feedback_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["feedback_id"], ["feedback.id"], name=op.f("fk_quiz_pairs_feedback_id_feedback"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["first_image_id"], ["images.id"], name=op.f("fk_quiz_pairs_first_image_id_images"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["quiz_id"], ["quizzes.id"], name=op.f("fk_quiz_pairs_quiz_id_quizzes"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["second_image_id"], ["images.id"], name=op.f("fk_quiz_pairs_second_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quiz_pairs")),
        sa.UniqueConstraint("quiz_id", "position", name=op.f("uq_quiz_pairs_quiz_id_position")),
    )
    with op.batch_alter_table("quiz_pairs", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quiz_pairs_feedback_id"), ["feedback_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quiz_pairs_first_image_id"), ["first_image_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_quiz_pairs_second_image_id"), ["second_image_id"], unique=False)

    op.create_table(
        "reviews",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("expert_id", sa.Uuid(), nullable=False),
        sa.Column("image_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("expected_value", sa.Double(), nullable=False),
        sa.Column(
            "shown", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=False
        ),
        sa.Column(
            "answers", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
        ),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "done",
                "skipped",
                "cannot_say",
                name="state",
                native_enum=False,
                create_constraint=True,
                length=24,
            ),
            nullable=False,
        ),
        sa.Column("feedback_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["review_batches.id"], name=op.f("fk_reviews_batch_id_review_batches"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["expert_id"], ["users.id"], name=op.f("fk_reviews_expert_id_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["feedback_id"], ["feedback.id"], name=op.f("fk_reviews_feedback_id_feedback"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_reviews_image_id_images"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sa.UniqueConstraint("batch_id", "expert_id", "image_id", name=op.f("uq_reviews_batch_id_expert_id_image_id")),
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_feedback_id"), ["feedback_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_reviews_image_id"), ["image_id"], unique=False)
        batch_op.create_index("ix_reviews_queue", ["expert_id", "state", "batch_id", "position"], unique=False)

    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.add_column(sa.Column("match_id", sa.Uuid(), nullable=True))
        batch_op.add_column(
            sa.Column(
                "preference",
                sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"),
                nullable=True,
            )
        )
        batch_op.create_index(batch_op.f("ix_adapters_match_id"), ["match_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_adapters_match_id_matches"), "matches", ["match_id"], ["id"], ondelete="SET NULL"
        )

    with op.batch_alter_table("prediction_receipts", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "details", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql"), nullable=True
            )
        )

    _replace_check("jobs", "kind", (*JOB_KINDS, "label_images"))
    _replace_check("adapter_history", "move", (*MOVES, "matched"))


def downgrade() -> None:
    # what an older version cannot name: wishes that can be made again, and notes of matches
    op.execute("DELETE FROM jobs WHERE kind = 'label_images'")
    op.execute("DELETE FROM adapter_history WHERE move = 'matched'")
    _replace_check("adapter_history", "move", MOVES)
    _replace_check("jobs", "kind", JOB_KINDS)

    with op.batch_alter_table("prediction_receipts", schema=None) as batch_op:
        batch_op.drop_column("details")

    with op.batch_alter_table("adapters", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_adapters_match_id_matches"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_adapters_match_id"))
        batch_op.drop_column("preference")
        batch_op.drop_column("match_id")

    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index("ix_reviews_queue")
        batch_op.drop_index(batch_op.f("ix_reviews_image_id"))
        batch_op.drop_index(batch_op.f("ix_reviews_feedback_id"))

    op.drop_table("reviews")
    with op.batch_alter_table("quiz_pairs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_quiz_pairs_second_image_id"))
        batch_op.drop_index(batch_op.f("ix_quiz_pairs_first_image_id"))
        batch_op.drop_index(batch_op.f("ix_quiz_pairs_feedback_id"))

    op.drop_table("quiz_pairs")
    with op.batch_alter_table("match_experts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_match_experts_expert_id"))
        batch_op.drop_index(batch_op.f("ix_match_experts_adapter_id"))

    op.drop_table("match_experts")
    with op.batch_alter_table("tool_revision_people", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tool_revision_people_user_id"))

    op.drop_table("tool_revision_people")
    op.drop_table("pseudo_labels")
    with op.batch_alter_table("preferences", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_preferences_preference_encoder_id"))

    op.drop_table("preferences")
    with op.batch_alter_table("preference_encoder_people", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_preference_encoder_people_user_id"))

    op.drop_table("preference_encoder_people")
    with op.batch_alter_table("tool_revisions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tool_revisions_base_model_id"))

    op.drop_table("tool_revisions")
    with op.batch_alter_table("survey_answers", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_survey_answers_one_in_force",
            sqlite_where=sa.text("superseded_at IS NULL"),
            postgresql_where=sa.text("superseded_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_survey_answers_user_id"))
        batch_op.drop_index("ix_survey_answers_survey_id")

    op.drop_table("survey_answers")
    with op.batch_alter_table("quizzes", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_quizzes_one_open_per_user",
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_quizzes_user_id"))
        batch_op.drop_index(batch_op.f("ix_quizzes_base_model_id"))

    op.drop_table("quizzes")
    with op.batch_alter_table("preference_encoders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_preference_encoders_base_model_id"))

    op.drop_table("preference_encoders")
    with op.batch_alter_table("matches", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_matches_one_in_force",
            sqlite_where=sa.text("superseded_at IS NULL"),
            postgresql_where=sa.text("superseded_at IS NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_matches_user_id"))
        batch_op.drop_index(batch_op.f("ix_matches_base_model_id"))

    op.drop_table("matches")
    op.drop_table("experts")
    op.drop_table("surveys")
    with op.batch_alter_table("review_batches", schema=None) as batch_op:
        batch_op.drop_index("ix_review_batches_application")

    op.drop_table("review_batches")
