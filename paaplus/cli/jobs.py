"""`paaplus jobs`: jobs of the workers, and their progress."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import typer

from paaplus.cli.common import JsonOption, open_database, print_record, print_rows, user_of
from paaplus.cli.lazy import lazy_imports

with lazy_imports():
    from paaplus.queue import jobs as job_queue

if TYPE_CHECKING:
    from paaplus.db.tables import JobRow

app = typer.Typer()

FIELDS = ("id", "kind", "state", "reason", "user_id", "queue", "attempts", "progress_done", "progress_total", "worker",
          "created_at", "finished_at", "last_error")  # fmt: skip

JSON_ONLY = ("queue", "progress_total", "worker", "finished_at")

# The values of JobState, whose module loads SQLAlchemy.
State = Literal["queued", "running", "succeeded", "dead", "cancelled"]


@app.command("list")
def list_jobs(
    user: Annotated[str | None, typer.Option(help="UUID or application/external_id.")] = None,
    state: Annotated[State | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 30,
    as_json: JsonOption = False,
) -> None:
    """Jobs, newest first."""
    from paaplus.db.tables.jobs import JobState

    with open_database() as database, database.read_session() as session:
        user_id = user_of(session, user).id if user else None
        rows = job_queue.list_jobs(session, user_id=user_id, state=JobState(state) if state else None, limit=limit)
        print_rows(
            rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="jobs", json_only=JSON_ONLY
        )


@app.command()
def show(job_id: UUID, as_json: JsonOption = False) -> None:
    """One job."""
    with open_database() as database, database.read_session() as session:
        print_record(_record(job_queue.get(session, job_id)), as_json=as_json)


def _record(row: JobRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in row.__table__.columns if column.key != "lease_token"}
