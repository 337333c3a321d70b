"""`paaplus reviews`: send labelled images to experts; progress and agreement of the experts."""

from __future__ import annotations

import json
from dataclasses import asdict
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from paaplus.cli.common import (
    JsonOption,
    OnceOption,
    asked_once,
    carried_out,
    open_blobs,
    open_database,
    print_record,
    print_rows,
    require_application,
    to_plain,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Conflict
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services import idempotency
    from paaplus.services.predictions import serving_store
    from paaplus.services.reviews import batches, progress
    from paaplus.services.users import keys

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from paaplus.db.engine import Database
    from paaplus.db.tables import ReviewBatchRow
    from paaplus.services.reviews.batches import NewBatch

app = typer.Typer()

FIELDS = ("id", "application", "name", "tools", "order", "seed", "created_at", "closed_at")
BatchArgument = Annotated[UUID, typer.Argument(help="UUID of the batch.")]

MAX_IMAGES = 5_000  # of one batch, as in services/reviews/batches.py
Order = Literal["value", "random"]  # of ReviewOrder, whose module loads SQLAlchemy


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the batch.")],
    expert: Annotated[list[str], typer.Option(help="UUID, or application/external_id; may be repeated.")],
    tool: Annotated[
        list[str] | None, typer.Option(help="Tool whose labels are shown; may be repeated; default: all.")
    ] = None,
    image: Annotated[
        list[UUID] | None, typer.Option(help="Only this image; may be repeated; default: all labelled images.")
    ] = None,
    order: Annotated[
        Order, typer.Option(help="value: images with uncertain or contradicting labels first; random.")
    ] = "value",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overlap: Annotated[float, typer.Option(min=0, max=1, help="Share of the images that every expert reviews.")] = 0.0,
    limit: Annotated[int, typer.Option(min=1, max=MAX_IMAGES, help="Most images.")] = 1_000,
    application: Annotated[str, typer.Option(help="Application of the images and experts.")] = "default",
    key: OnceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send images to experts. Every expert gets a queue."""
    from paaplus.db.tables.reviews import ReviewOrder

    new = batches.NewBatch(
        application=application,
        name=name,
        experts=tuple(expert),
        tools=tuple(tool) if tool else None,
        image_ids=tuple(image) if image else None,
        order=ReviewOrder(order),
        seed=seed,
        overlap=overlap,
        limit=limit,
    )
    with open_database() as database:
        require_application(database, application)
        print_record(_created(database, new, key), as_json=as_json)


def _created(database: Database, new: NewBatch, key: str | None) -> dict[str, Any]:
    """The record of the new batch, or of the one that the same command made under this idempotency key."""
    made = carried_out(database, key, "reviews create", asdict(new))
    if made is not None:
        return made
    asked = asked_once(key, "reviews create", asdict(new)) if key is not None else None
    record: dict[str, Any] = {}

    def begin(session: Session) -> None:
        if asked is not None and idempotency.begin(session, asked) is not None:
            raise Conflict("the same command was carried out at this moment: repeat it to see what it made")

    def finish(session: Session, row: ReviewBatchRow) -> None:
        of_experts = progress.progress(session, [row.id])[row.id]
        record.update(_record(row), num_reviews=sum(one.open for one in of_experts))
        if asked is not None:
            idempotency.finish(session, asked, 200, json.dumps(record, default=to_plain).encode())

    store = serving_store.ServingStore(database, open_blobs(), get_settings())
    batches.create(database, store, keys.OPERATOR, new, begin=begin, finish=finish)
    return record


@app.command("list")
def list_batches(limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100, as_json: JsonOption = False) -> None:
    """Batches, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = batches.list_batches(session, keys.OPERATOR, limit=limit)
        print_rows(rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="review batches")


@app.command()
def show(batch: BatchArgument, as_json: JsonOption = False) -> None:
    """Each expert's progress in a batch, and the experts' agreement on shared images."""
    with open_database() as database, database.read_session() as session:
        row = batches.get(session, keys.OPERATOR, batch)
        of_experts = [asdict(one) for one in progress.progress(session, [batch])[batch]]
        agreement = [asdict(one) for one in progress.agreement(session, batch)]
        print_record({**_record(row), "progress": of_experts, "agreement": agreement}, as_json=as_json)


@app.command()
def close(batch: BatchArgument, as_json: JsonOption = False) -> None:
    """Close a batch: open reviews leave all queues, finished reviews stay."""
    with open_database() as database, database.session() as session:
        print_record(_record(batches.close(session, keys.OPERATOR, batch)), as_json=as_json)


def _record(row: ReviewBatchRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}
