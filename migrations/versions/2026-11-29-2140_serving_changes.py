"""A log of who is served by something else, which triggers write: processes keep in memory what serves a user."""

import sqlalchemy as sa
from alembic import op

revision = "7d21c4e8b6f3"
down_revision = "81d4b6f0c3a9"

EVENTS = {
    "serving_adapters_added": ("adapters", "INSERT", "NEW.state = 'active'"),
    "serving_adapters_changed": (
        "adapters",
        "UPDATE OF state, match_id, user_id",
        "OLD.state = 'active' OR NEW.state = 'active'",
    ),
    "serving_adapters_deleted": ("adapters", "DELETE", "OLD.state = 'active'"),
    "serving_users_changed": ("users", "UPDATE OF id, application, external_id", ""),
    "serving_users_deleted": ("users", "DELETE", ""),
}
INSERT = "INSERT INTO serving_changes (number, transaction_id, user_id)"
NEXT = (
    "coalesce((SELECT max(number) FROM serving_changes) + 1, "
    "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER))"
)
FUNCTION = """CREATE FUNCTION note_serving_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    this_transaction bigint := pg_current_xact_id()::text::bigint;
BEGIN
    IF TG_TABLE_NAME = 'users' THEN
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, OLD.id);
    ELSIF TG_OP = 'INSERT' THEN
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, NEW.user_id);
    ELSE
        INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, OLD.user_id);
        IF TG_OP = 'UPDATE' AND NEW.user_id <> OLD.user_id THEN
            INSERT INTO serving_changes (transaction_id, user_id) VALUES (this_transaction, NEW.user_id);
        END IF;
    END IF;
    RETURN NULL;
END
$$"""


def upgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    op.create_table(
        "serving_changes",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transaction_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_serving_changes")),
    )
    is_known = sa.text("transaction_id > 0")
    op.create_index(
        "ix_serving_changes_transaction_id",
        "serving_changes",
        ["transaction_id"],
        sqlite_where=is_known,
        postgresql_where=is_known,
    )
    if not is_sqlite:
        op.execute(FUNCTION)
    for name, (table, event, when) in EVENTS.items():
        op.execute(on_sqlite(name, table, event, when) if is_sqlite else on_postgresql(name, table, event, when))


def on_sqlite(name: str, table: str, event: str, when: str) -> str:
    user = "OLD.id" if table == "users" else "NEW.user_id" if event == "INSERT" else "OLD.user_id"
    body = f"{INSERT} VALUES ({NEXT}, 0, {user});"
    if table == "adapters" and event.startswith("UPDATE"):
        body += f" {INSERT} SELECT {NEXT}, 0, NEW.user_id WHERE NEW.user_id <> OLD.user_id;"  # nosec B608: names of the schema
    return f"CREATE TRIGGER {name} AFTER {event} ON {table} {f'WHEN {when} ' if when else ''}BEGIN {body} END"


def on_postgresql(name: str, table: str, event: str, when: str) -> str:
    condition = f"WHEN ({when}) " if when else ""
    return (
        f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW {condition}EXECUTE FUNCTION note_serving_change()"
    )


def downgrade() -> None:
    is_sqlite = op.get_context().dialect.name == "sqlite"
    for name, (table, _, _) in EVENTS.items():
        op.execute(f"DROP TRIGGER {name}" if is_sqlite else f"DROP TRIGGER {name} ON {table}")
    if not is_sqlite:
        op.execute("DROP FUNCTION note_serving_change()")
    op.drop_table("serving_changes")
