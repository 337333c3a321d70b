"""`paaplus keys`: API keys."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    SECRET,
    JsonOption,
    OnceOption,
    once,
    open_database,
    print_record,
    print_rows,
    user_of,
)
from paaplus.cli.lazy import lazy_imports

with lazy_imports():
    from paaplus.services.users import keys as keys_service

app = typer.Typer()


Scope = Literal["user", "application", "expert", "admin"]  # of KeyScope, whose module loads SQLAlchemy


@app.command()
def create(
    scope: Annotated[Scope, typer.Option(help="Who will use the key.")],
    name: Annotated[str, typer.Option(help="Name of its holder, shown in history and audit.")],
    application: Annotated[str | None, typer.Option(help="Needed for application keys.")] = None,
    user: Annotated[str | None, typer.Option(help="Needed for user keys: UUID or application/external_id.")] = None,
    creates_users: Annotated[
        bool, typer.Option("--creates-users", help="Of an application key: create users that it names first.")
    ] = False,
    once_key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Create a key and show it once. The database stores only its hash."""
    from paaplus.db.tables import governance

    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id if user else None

        def make() -> dict[str, Any]:
            created = keys_service.create(
                session,
                name=name,
                scope=governance.KeyScope(scope),
                application=application,
                user_id=user_id,
                creates_users=creates_users,
                actor=ACTOR,
            )
            shown = {field: getattr(created.row, field) for field in ("id", "name", "scope", "application")}
            return shown | {SECRET: created.token}

        given: dict[str, Any] = {"scope": scope, "name": name, "application": application, "user": user_id}
        given |= {"creates_users": True} if creates_users else {}
        record = once(session, once_key, "keys create", given, make)
    print_record(record, as_json=as_json)


@app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """All keys, without their secrets."""
    with open_database() as database, database.read_session() as session:
        rows = keys_service.list_keys(session)
        columns = {
            "id": lambda r: r.id,
            "name": lambda r: r.name,
            "scope": lambda r: r.scope,
            "application": lambda r: r.application,
            "user": lambda r: r.user_id,
            "creates_users": lambda r: r.creates_users,
            "created_at": lambda r: r.created_at,
            "rotated_at": lambda r: r.rotated_at,
            "revoked_at": lambda r: r.revoked_at,
        }
        print_rows(rows, columns, as_json=as_json, title="API keys")


@app.command()
def revoke(key_id: UUID, as_json: JsonOption = False) -> None:
    """Revoke a key permanently. When the command ends, no process accepts the key."""
    with open_database() as database, database.session() as session:
        row = keys_service.revoke(session, key_id, actor=ACTOR)
    keys_service.outlive_caches()
    print_record({"id": row.id, "name": row.name, "revoked_at": row.revoked_at}, as_json=as_json)


@app.command()
def rotate(key_id: UUID, once_key: OnceOption = None, as_json: JsonOption = False) -> None:
    """Give a key a new secret and show it once. When the command ends, no process accepts the old one."""
    with open_database() as database, database.session() as session:

        def make() -> dict[str, Any]:
            rotated = keys_service.rotate(session, key_id, actor=ACTOR)
            return {"id": rotated.row.id, "name": rotated.row.name, SECRET: rotated.token}

        record = once(session, once_key, "keys rotate", {"key": key_id}, make)
    keys_service.outlive_caches()
    print_record(record, as_json=as_json)
