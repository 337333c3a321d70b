"""`paaplus jobs`: what was asked for and how far it is."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated, Any
from uuid import UUID

import typer

from paaplus.cli.common import JsonOption, open_database, print_record, print_rows, user_of
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobState
from paaplus.queue import jobs as job_queue

app = typer.Typer(help="Training and feature jobs.")

FIELDS = ("id", "kind", "state", "reason", "user_id", "queue", "attempts", "progress_done", "progress_total", "worker",
          "created_at", "finished_at", "last_error")  # fmt: skip

JSON_ONLY = ("queue", "progress_total", "worker", "finished_at")


@app.command("list")
def list_jobs(
    user: Annotated[str | None, typer.Option(help="UUID or application/external_id.")] = None,
    state: Annotated[JobState | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 30,
    as_json: JsonOption = False,
) -> None:
    """Jobs, newest first."""
    with open_database() as database, database.read_session() as session:
        user_id = user_of(session, user).id if user else None
        rows = job_queue.list_jobs(session, user_id=user_id, state=state, limit=limit)
        print_rows(
            rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="jobs", json_only=JSON_ONLY
        )


@app.command()
def show(job_id: UUID, as_json: JsonOption = False) -> None:
    """One job."""
    with open_database() as database, database.read_session() as session:
        print_record(_record(job_queue.get(session, job_id)), as_json=as_json)


def _record(row: JobRow) -> dict[str, Any]:
    return {column.key: getattr(row, column.key) for column in JobRow.__table__.columns if column.key != "lease_token"}
