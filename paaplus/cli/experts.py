"""`paaplus experts`: experts, and matching users with their models."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    UserArgument,
    open_blobs,
    open_database,
    print_record,
    print_rows,
    user_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import NotFound
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.adapters import matches
    from paaplus.services.experts import experts as experts_service
    from paaplus.services.experts import matching, quality
    from paaplus.services.predictions import serving_store
    from paaplus.services.registry import base_models
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service

if TYPE_CHECKING:
    from paaplus.db.engine import Database
    from paaplus.db.tables import MatchRow

app = typer.Typer()

# The values of ExpertForm and MatchKind, whose module loads SQLAlchemy.
Form = Literal["pooled", "head"]
Kind = Literal["generic", "expert", "combination"]


@app.command("list")
def list_experts(
    application: Annotated[str | None, typer.Option(help="Only experts of this application.")] = None,
    domain: Annotated[str | None, typer.Option(help="Only of this domain.")] = None,
    as_json: JsonOption = False,
) -> None:
    """All experts with the version of their model, and the reason if no user is matched with it."""
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        rows = experts_service.list_experts(
            session, keys.OPERATOR, application=application, domain=domain, limit=10_000
        )
        default = base_models.find_default(session, get_settings())
        described = experts_service.describe(session, rows, default)
    columns = {
        "user": lambda e: f"{e.user.application}/{e.user.external_id}",
        "id": lambda e: e.row.user_id,
        "name": lambda e: e.row.name,
        "domain": lambda e: e.row.domain,
        "form": lambda e: e.row.form,
        "version": lambda e: e.version.number if e.version else None,
        "num_ratings": lambda e: e.version.num_ratings if e.version else 0,
        "num_revised_labels": lambda e: e.num_revised_labels,
        "not_matched_because": lambda e: e.not_matched_because,
    }
    print_rows(described, columns, as_json=as_json, title="experts", json_only=("id",))


@app.command()
def show(user: UserArgument, as_json: JsonOption = False) -> None:
    """One expert: the model, its metrics, and its SRCC on held-out images."""
    with open_database() as database:
        with database.read_session() as session:
            row = experts_service.get(session, user_of(session, user).id)
            default = base_models.find_default(session, get_settings())
            [found] = experts_service.describe(session, [row], default)
        held_out = quality.held_out(database, _store(database), get_settings(), row.user_id)
    record = {
        "name": row.name,
        "domain": row.domain,
        "form": row.form,
        "version": found.version.number if found.version else None,
        "num_revised_labels": found.num_revised_labels,
        "not_matched_because": found.not_matched_because,
        "metrics": found.version.metrics if found.version else None,
        "held_out": asdict(held_out),
    }
    print_record(record, as_json=as_json)


@app.command()
def register(
    user: UserArgument,
    name: Annotated[str, typer.Option(help="The name that matched users are shown.")],
    domain: Annotated[str, typer.Option(help="The kind of objects that the expert judges.")],
    form: Annotated[
        Form, typer.Option(help="pooled: corrects the generic score; head: a score of its own.")
    ] = "pooled",
    as_json: JsonOption = False,
) -> None:
    """Make a user an expert, or change name, domain or form. `users retrain` trains the model."""
    from paaplus.db.tables.experts import ExpertForm

    with open_database() as database, database.session() as session:
        user_id = user_of(session, user).id
        row, is_new = experts_service.register(
            session, user_id, name=name, domain=domain, form=ExpertForm(form), actor=ACTOR
        )
        print_record({"id": row.user_id, "name": row.name, "form": row.form, "is_new": is_new}, as_json=as_json)


@app.command()
def retire(user: UserArgument, as_json: JsonOption = False) -> None:
    """Match no new user with the expert; existing matches stay."""
    _set_retired(user, True, as_json)


@app.command()
def restore(user: UserArgument, as_json: JsonOption = False) -> None:
    """Match new users with the expert again."""
    _set_retired(user, False, as_json)


@app.command()
def agreement(application: str, as_json: JsonOption = False) -> None:
    """Agreement of every two experts of an application on the images that both labelled."""
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        found = quality.agreement(session, application)
    columns = {
        name: (lambda each, name=name: getattr(each, name))
        for name in ("first", "second", "aspect", "num_images", "srcc", "mean_difference")
    }
    print_rows(found, columns, as_json=as_json, title="agreement")


@app.command("match")
def match_user(
    user: UserArgument,
    expert: Annotated[list[str] | None, typer.Option(help="Only this expert; may be repeated; default: all.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Choose the best of this kind only.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Choose a user's starting point by the user's answers and ratings, and put it in force."""
    from paaplus.db.tables.experts import MatchKind

    with open_database() as database:
        with database.read_session() as session:
            user_id = user_of(session, user).id
            expert_ids = {user_of(session, each).id for each in expert} if expert else None
        row = matching.match(
            database,
            open_blobs(),
            _store(database),
            get_settings(),
            user_id,
            actor=ACTOR,
            expert_ids=expert_ids,
            kind=MatchKind(kind) if kind else None,
        )
        _print_match(database, row, as_json)


@app.command("match-of")
def show_match(user: UserArgument, as_json: JsonOption = False) -> None:
    """The user's match in force, with its evidence."""
    with open_database() as database:
        with database.read_session() as session:
            row = matches.in_force(session, user_of(session, user).id)
        if row is None:
            raise NotFound(f"user {user!r} was not matched yet")
        _print_match(database, row, as_json)


def _print_match(database: Database, row: MatchRow, as_json: bool) -> None:
    with database.read_session() as session:
        default = base_models.find_default(session, get_settings())
        view = matches.view(session, row, default.id if default else None)
    record: dict[str, Any] = {
        "id": row.id,
        "kind": row.kind,
        "reason": row.reason,
        "version": view.version.number if view.version else None,
        "experts": {each.name: round(each.share, 4) for each in view.experts},
        "evidence": row.evidence,
        "stale": row.stale_at is not None,
        "created_at": row.created_at,
    }
    print_record(record, as_json=as_json)


def _set_retired(user: str, retired: bool, as_json: bool) -> None:
    with open_database() as database, database.session() as session:
        row = experts_service.set_retired(session, user_of(session, user).id, retired, actor=ACTOR)
        print_record({"id": row.user_id, "name": row.name, "retired_at": row.retired_at}, as_json=as_json)


def _store(database: Database) -> serving_store.ServingStore:
    return serving_store.ServingStore(database, open_blobs(), get_settings())
