"""The gate retires versions and quarantines feedback; two of its settings are gone."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "4c1e97d0a6b2"
down_revision = "c41d7e0a92b6"

MOVES = (
    "gate_promoted",
    "gate_refused",
    "promoted",
    "rolled_back",
    "pinned",
    "unpinned",
    "released",
    "retrain_requested",
    "matched",
)
NEW_MOVES = ("gate_retired", "quarantined")
OLD_SETTINGS = ("min_agreement", "trust_region")

users = sa.table(
    "users",
    sa.column("id", sa.Uuid()),
    sa.column("policy", sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")),
)


def _replace_check(values: tuple[str, ...]) -> None:
    with op.batch_alter_table("adapter_history", schema=None) as batch_op:
        batch_op.drop_constraint(op.f("ck_adapter_history_move"), type_="check")
        batch_op.create_check_constraint(op.f("ck_adapter_history_move"), sa.column("move").in_(values))


def upgrade() -> None:
    _replace_check((*MOVES, *NEW_MOVES))
    connection = op.get_bind()
    for user_id, policy in connection.execute(sa.select(users.c.id, users.c.policy)).all():
        if any(name in policy.get("gate", {}) for name in OLD_SETTINGS):
            connection.execute(users.update().where(users.c.id == user_id).values(policy=_without_old(policy)))


def _without_old(policy: dict[str, Any]) -> dict[str, Any]:
    return {**policy, "gate": {name: value for name, value in policy["gate"].items() if name not in OLD_SETTINGS}}


def downgrade() -> None:
    op.execute("DELETE FROM adapter_history WHERE move IN ('gate_retired', 'quarantined')")
    _replace_check(MOVES)
