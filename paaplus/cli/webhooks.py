"""`paaplus webhooks`: addresses that are told of platform events, and what became of the deliveries."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import ACTOR, JsonOption, console, open_database, print_record, print_rows
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput, Unavailable
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.users import keys
    from paaplus.services.webhooks import deliveries as deliveries_service
    from paaplus.services.webhooks import webhooks

if TYPE_CHECKING:
    from paaplus.db.tables import WebhookRow

app = typer.Typer()

FIELDS = ("id", "application", "url", "kinds", "failures", "disabled_at", "last_error", "created_at")
DELIVERY_FIELDS = ("id", "event_id", "kind", "state", "attempts", "created_at", "next_at", "delivered_at", "last_error")

WebhookArgument = Annotated[UUID, typer.Argument(help="Which: `paaplus webhooks list` shows the ids.")]


@app.command("list")
def list_webhooks(limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100, as_json: JsonOption = False) -> None:
    """All webhooks, without their secrets, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = webhooks.list_webhooks(session, keys.OPERATOR, limit=limit)
        print_rows(
            rows,
            {name: attrgetter(name) for name in FIELDS},
            as_json=as_json,
            title="webhooks",
            json_only=("created_at",),
        )


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Where events are posted: https, and a public address.")],
    application: Annotated[str | None, typer.Option(help="Whose events; left out: those of all applications.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Only these, for example adapter.promoted; may be repeated. Left out: all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Add a webhook, and show once the secret that signs what it is told."""
    from paaplus.db.tables.events import EventKind

    known = {each.value: each for each in EventKind}
    if unknown := [each for each in kind or () if each not in known]:
        raise InvalidInput(f"--kind {unknown[0]!r} is unknown; there are {', '.join(known)}")
    with open_database() as database, database.session() as session:
        row = webhooks.create(
            session,
            application=application,
            url=url,
            kinds=[known[each] for each in kind] if kind else None,
            actor=ACTOR,
            settings=get_settings(),
        )
        record = _record(row) | {"secret": row.secret}
    print_record(record, as_json=as_json)


@app.command("test")
def send_test(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Post a signed event of type `webhook.test` now, from this machine; exit code 1 if it is not answered with 2xx."""
    with open_database() as database, database.read_session() as session:
        row = webhooks.get(session, keys.OPERATOR, webhook)
    error = deliveries_service.send_test(row, get_settings())
    if error is not None:
        raise Unavailable(f"{row.url}: {error}")
    print_record({"id": row.id, "url": row.url, "result": "delivered"}, as_json=as_json)


@app.command()
def enable(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Enable a disabled webhook. What waited is delivered now; what happened meanwhile is not."""
    with open_database() as database, database.session() as session:
        record = _record(webhooks.enable(session, keys.OPERATOR, webhook, actor=ACTOR))
    print_record(record, as_json=as_json)


@app.command()
def disable(webhook: WebhookArgument, as_json: JsonOption = False) -> None:
    """Send nothing to a webhook until it is enabled. What happens meanwhile is not told."""
    with open_database() as database, database.session() as session:
        record = _record(webhooks.disable(session, keys.OPERATOR, webhook, actor=ACTOR))
    print_record(record, as_json=as_json)


@app.command()
def remove(webhook: WebhookArgument, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False) -> None:
    """Remove a webhook. What was not delivered is dropped."""
    if not yes:
        with open_database() as database, database.read_session() as session:
            webhooks.get(session, keys.OPERATOR, webhook)
        typer.confirm(f"remove webhook {webhook}, with what waits for it?", abort=True)
    with open_database() as database, database.session() as session:
        webhooks.delete(session, keys.OPERATOR, webhook, actor=ACTOR)
    typer.echo(f"removed {webhook}")


@app.command()
def deliveries(
    webhook: WebhookArgument,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 30,
    as_json: JsonOption = False,
) -> None:
    """What was posted to a webhook, and what waits, with the errors; newest first."""
    with open_database() as database, database.read_session() as session:
        row = webhooks.get(session, keys.OPERATOR, webhook)
        rows = webhooks.list_deliveries(session, keys.OPERATOR, webhook, limit=limit)
    print_rows(
        rows,
        {name: attrgetter(name) for name in DELIVERY_FIELDS},
        as_json=as_json,
        title=f"deliveries to {row.url}",
        json_only=("id", "delivered_at"),
    )
    if row.disabled_at is not None and not as_json:
        console.print(
            f"disabled since {row.disabled_at:%Y-%m-%d %H:%M:%S}: {row.last_error or 'by a person'}; "
            f"paaplus webhooks enable {row.id}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )


def _record(row: WebhookRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}
