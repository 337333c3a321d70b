"""`paaplus adapters`: versions of a user's adapter, and the active one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, Literal
from uuid import UUID

import typer

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    OnceOption,
    ReasonOption,
    UserArgument,
    once,
    open_database,
    print_record,
    print_rows,
    user_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput
from paaplus.times import parse_moment

with lazy_imports():
    from paaplus.services.adapters import bulk_rollback, rollbacks
    from paaplus.services.adapters import versions as adapters_service
    from paaplus.services.feedback import exclusions
    from paaplus.services.users import users as users_service

app = typer.Typer()

VERSION_FIELDS = ("number", "state", "kind", "strategy", "num_ratings", "high_water_sequence", "size_bytes", "digest",
                  "created_at")  # fmt: skip


class FeedbackChoice(StrEnum):
    EXCLUDE = "exclude"
    KEEP = "keep"


@app.command("list")
def list_versions(user: UserArgument, as_json: JsonOption = False) -> None:
    """All versions of a user, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = adapters_service.list_versions(session, user_of(session, user).id)
        columns: dict[str, Any] = {name: attrgetter(name) for name in VERSION_FIELDS}
        columns["gate"] = lambda row: row.gate_report.get("reason")
        print_rows(
            rows,
            columns,
            as_json=as_json,
            title=f"adapter versions of {user}",
            json_only=("gate", "high_water_sequence", "size_bytes"),
        )


@app.command()
def show(user: UserArgument, number: int, as_json: JsonOption = False) -> None:
    """One version with its metrics and the gate's report."""
    with open_database() as database, database.read_session() as session:
        row = adapters_service.get_version(session, user_of(session, user).id, number)
        record = {name: getattr(row, name) for name in VERSION_FIELDS}
        print_record({**record, "metrics": row.metrics, "gate_report": row.gate_report}, as_json=as_json)


@app.command()
def compare(user: UserArgument, a: int, b: int, as_json: JsonOption = False) -> None:
    """Compare two versions."""
    with open_database() as database, database.read_session() as session:
        both = adapters_service.compare(session, user_of(session, user).id, a, b)
        rows: list[tuple[str, Any, Any]] = [
            (name, getattr(both.a, name), getattr(both.b, name)) for name in VERSION_FIELDS
        ]
        rows += [(name, *values) for name, values in both.metrics.items() if name not in VERSION_FIELDS]
        columns: dict[str, Any] = {
            "what": lambda r: r[0],
            f"version {a}": lambda r: r[1],
            f"version {b}": lambda r: r[2],
        }
        print_rows(rows, columns, as_json=as_json)


@app.command()
def history(user: UserArgument, as_json: JsonOption = False) -> None:
    """Every change of the active version, newest first: who, when, from which to which, and why."""
    with open_database() as database, database.read_session() as session:
        rows = adapters_service.history(session, user_of(session, user).id)
        columns: dict[str, Any] = {
            "created_at": lambda r: r.created_at,
            "move": lambda r: r.move,
            "from": lambda r: _served(r.details, "from", as_json),
            "to": lambda r: _served(r.details, "to", as_json),
            "actor": lambda r: r.actor,
            "reason": lambda r: r.reason,
            "details": lambda r: {k: v for k, v in r.details.items() if k not in ("from", "to")},
        }
        print_rows(rows, columns, as_json=as_json, title=f"history of {user}", json_only=("details",))


@app.command()
def promote(
    user: UserArgument, number: int, reason: ReasonOption, key: OnceOption = None, as_json: JsonOption = False
) -> None:
    """Make a version active, even if the gate rejected it."""
    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        given = {"user": user_id, "number": number, "reason": reason}
        act = partial(adapters_service.promote, session, user_id, number, actor=ACTOR, reason=reason)
        _print(once(session, key, "adapters promote", given, lambda: asdict(act())), as_json)


@app.command()
def pin(
    user: UserArgument, number: int, reason: ReasonOption, key: OnceOption = None, as_json: JsonOption = False
) -> None:
    """Make a version active and keep it active until it is unpinned."""
    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        given = {"user": user_id, "number": number, "reason": reason}
        act = partial(adapters_service.pin, session, user_id, number, actor=ACTOR, reason=reason)
        _print(once(session, key, "adapters pin", given, lambda: asdict(act())), as_json)


@app.command()
def unpin(user: UserArgument, reason: ReasonOption, key: OnceOption = None, as_json: JsonOption = False) -> None:
    """Let the gate change the active version again."""
    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        act = partial(adapters_service.unpin, session, user_id, actor=ACTOR, reason=reason)
        given = {"user": user_id, "reason": reason}
        _print(once(session, key, "adapters unpin", given, lambda: asdict(act())), as_json)


@app.command()
def rollback(
    user: UserArgument,
    reason: ReasonOption,
    to: Annotated[
        str | None, typer.Option(help="Version, or base; default: the one that the active version was trained from.")
    ] = None,
    active: Annotated[int | None, typer.Option(help="Number that the active version must have.", min=0)] = None,
    feedback: Annotated[
        FeedbackChoice,
        typer.Option(help="exclude: later feedback does not train until it is released; keep: it trains."),
    ] = FeedbackChoice.EXCLUDE,
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve an earlier version again, with exactly the same scores."""
    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        act = partial(
            rollbacks.rollback,
            session,
            user_id,
            to=_target(to),
            active_number=active,
            feedback=feedback.value,
            actor=ACTOR,
            reason=reason,
        )
        given = {"user": user_id, "to": to, "active": active, "feedback": feedback.value, "reason": reason}
        _print(once(session, key, "adapters rollback", given, lambda: asdict(act())), as_json)


@app.command("rollback-many")
def rollback_many(
    reason: ReasonOption,
    application: Annotated[str | None, typer.Option(help="Only users of this application.")] = None,
    run: Annotated[UUID | None, typer.Option(help="The training that made the version.")] = None,
    since: Annotated[str | None, typer.Option(help="The version was made then or later; ISO 8601 with offset.")] = None,
    strategy: Annotated[str | None, typer.Option(help="The strategy that made the version.")] = None,
    source: Annotated[str | None, typer.Option(help="It was trained on feedback of this source, as key:ID.")] = None,
    feedback: Annotated[FeedbackChoice, typer.Option(help="As in rollback.")] = FeedbackChoice.EXCLUDE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count who would be rolled back.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Roll back all users whose active version meets the conditions. Interrupted, the same command goes on."""
    selection = bulk_rollback.Selection(application, run, parse_moment(since) if since else None, strategy, source)
    done = failed = 0
    errors: list[str] = []
    with open_database() as database:
        with database.read_session() as session:
            users_service.require_application(session, application)
        for report in bulk_rollback.roll_back_all(
            database, selection, feedback=feedback.value, actor=ACTOR, reason=reason, dry_run=dry_run
        ):
            done += sum(user.error is None for user in report.users)
            failed += sum(user.error is not None for user in report.users)
            errors += [f"{user.user_id}: {user.error}" for user in report.users if user.error is not None]
    print_record({"dry_run": dry_run, "done": done, "failed": failed, "errors": errors[:20]}, as_json=as_json)


@app.command("exclusions")
def list_exclusions(user: UserArgument, as_json: JsonOption = False) -> None:
    """List events that a rollback excluded or the gate quarantined: no training uses them until they are released."""
    with open_database() as database, database.read_session() as session:
        columns: dict[str, Any] = {
            "sequence": lambda event: event.sequence,
            "kind": lambda event: exclusions.kind_of(event.exclusion),
            "actor": lambda event: event.exclusion.actor,
            "created_at": lambda event: event.exclusion.created_at,
            "reason": lambda event: event.exclusion.reason,
        }
        rows = exclusions.list_open(session, user_of(session, user).id)
        print_rows(rows, columns, as_json=as_json, title=f"exclusions of {user}")


@app.command("release")
def release_feedback(
    user: UserArgument,
    reason: ReasonOption,
    sequence: Annotated[
        list[int] | None, typer.Option(help="Number of an event; may be repeated; default: all.")
    ] = None,
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Release excluded or quarantined events: trainings may use them again, and the gate leaves them alone."""
    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        act = partial(exclusions.release, session, user_id, sequences=sequence or None, actor=ACTOR, reason=reason)
        given = {"user": user_id, "sequences": sequence, "reason": reason}
        print_record(once(session, key, "adapters release", given, lambda: {"num_released": act()}), as_json=as_json)


def _target(to: str | None) -> int | Literal["base"] | None:
    if to is None:
        return None
    if to == "base":
        return "base"
    if not re.fullmatch("[0-9]{1,9}", to):
        raise InvalidInput(f"--to {to!r:.40}: the number of a version, or base")
    return int(to)


def _print(record: dict[str, Any], as_json: bool) -> None:
    numbers = {name: _served(record, name, as_json) for name in ("from_number", "to_number")}
    print_record(record | numbers, as_json=as_json)


def _served(record: Mapping[str, Any], name: str, as_json: bool) -> Any:
    """The version before or after a change. Without a version the base model serves: a table says `base`, JSON null."""
    return "base" if not as_json and record.get(name, "") is None else record.get(name)
