"""`paaplus users`: users and their training policies."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    ReasonOption,
    UserArgument,
    open_blobs,
    open_database,
    print_record,
    print_rows,
    user_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Conflict, InvalidInput
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services import scheduling
    from paaplus.services.adapters import versions
    from paaplus.services.operations import erasures, export
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service

if TYPE_CHECKING:
    from paaplus.db.tables import UserRow

app = typer.Typer()

FIELDS = ("id", "application", "external_id", "version", "feedback", "pending", "pinned", "last_trained_at",
          "next_due_at", "due_reason")  # fmt: skip


@app.command("list")
def list_users(
    application: Annotated[str | None, typer.Option(help="Only users of this application.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Users with their active versions and the time when they are due."""
    with open_database() as database, database.read_session() as session:
        rows = users_service.list_users(session, keys.OPERATOR, application=application, limit=limit)
        print_rows(
            [_record(session, row) for row in rows],
            _columns(),
            as_json=as_json,
            title="users",
            json_only=("id", "pinned"),
        )


@app.command()
def show(user: UserArgument, as_json: JsonOption = False) -> None:
    """One user: active version, pending feedback, policy, and the next training with its reason."""
    with open_database() as database, database.read_session() as session:
        row = user_of(session, user)
        record = {**_record(session, row), "policy": scheduling.policy_of(row).to_dict()}
        print_record(record, as_json=as_json)


@app.command()
def policy(
    user: UserArgument,
    overrides: Annotated[
        str | None,
        typer.Option(
            "--set", help='JSON object of fields to override, e.g. \'{"strategy": "replay_ewc"}\'; {} clears.'
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a user's training policy, or set its overrides."""
    with open_database() as database, database.session() as session:
        row = user_of(session, user)
        if overrides is not None:
            users_service.set_policy(session, row.id, _json_object(overrides), actor=ACTOR)
        print_record({"overrides": row.policy, "effective": scheduling.policy_of(row).to_dict()}, as_json=as_json)


@app.command()
def retrain(user: UserArgument, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """Train this user with the next free worker, even if the user is not due."""
    with open_database() as database, database.session() as session:
        row = user_of(session, user)
        job_id = scheduling.request_training(session, row.id, actor=ACTOR, reason=reason, settings=get_settings())
        print_record({"job": job_id}, as_json=as_json)


@app.command()
def sharing(
    user: UserArgument,
    shares_taste: Annotated[
        bool, typer.Option("--yes/--no", help="Whether taste priors and survey encoders may be learned from this user.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Set a user's consent to learning taste priors and survey encoders from the user's feedback."""
    with open_database() as database, database.session() as session:
        row = users_service.set_sharing(session, user_of(session, user).id, shares_taste, actor=ACTOR)
        print_record({**_record(session, row), "shares_taste": row.shares_taste}, as_json=as_json)


@app.command("export")
def export_user(
    user: UserArgument,
    to: Annotated[Path, typer.Option(help="The zip file to write.", dir_okay=False)],
) -> None:
    """Write all data about a user into a zip file: all rows, and the user's own images."""
    if to.exists():
        raise Conflict(f"{to} exists; choose another name")
    with open_database() as database:
        with database.read_session() as session:
            user_id = user_of(session, user).id
        with to.open("xb") as file:
            export.write_zip(database, open_blobs(), user_id, file)
    typer.echo(f"wrote {to}")


@app.command()
def erase(
    user: UserArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Erase a user with feedback, adapters and own images. This cannot be undone."""
    if not yes:
        typer.confirm(f"Erase {user} with all feedback, adapters and images?", abort=True)
    with open_database() as database:
        with database.session() as session:
            erasures.erase(
                session,
                open_blobs(),
                user_of(session, user).id,
                actor=ACTOR,
                erasures_url=get_settings().resolved_erasures_url,
            )
        database.scrub()
    typer.echo(f"erased {user}")


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--set must be a JSON object: {error}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"--set must be a JSON object, got {text}")
    return value


def _record(session: Any, row: UserRow) -> dict[str, Any]:
    version = versions.active(session, row.id)
    return {
        "id": row.id,
        "application": row.application,
        "external_id": row.external_id,
        "version": version.number if version else versions.BASE,
        "feedback": row.feedback_sequence,
        "pending": scheduling.pending_feedback(session, row.id),
        "pinned": row.pinned,
        "last_trained_at": row.last_trained_at,
        "next_due_at": row.next_due_at,
        "due_reason": row.due_reason,
    }


def _columns() -> dict[str, Any]:
    return {name: itemgetter(name) for name in FIELDS}
