"""`paaplus audit`: the audit trail of privileged acts, and a check that it is unchanged."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, open_database, print_record, print_rows
from paaplus.cli.lazy import lazy_imports

with lazy_imports():
    from paaplus.services import audit as audit_service

app = typer.Typer()

FIELDS = ("sequence", "created_at", "actor", "action", "subject_id", "details", "entry_sha256")


@app.command("list")
def list_entries(limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50, as_json: JsonOption = False) -> None:
    """Privileged acts, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = audit_service.list_entries(session, limit=limit)
        print_rows(rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="audit")


@app.command()
def verify(
    expected: Annotated[
        str | None,
        typer.Option("--expect", help="The head that an earlier run printed, SEQUENCE:SHA256."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the chain of hashes; exit code 1 if an entry was changed, removed or inserted."""
    link = audit_service.Link.parse(expected) if expected is not None else None
    with open_database() as database, database.read_session() as session:
        report = audit_service.verify(session, link)
    record = {
        "is_intact": report.is_intact,
        "num_entries": report.num_entries,
        "head": str(report.head) if report.head is not None else None,
        "num_problems": report.num_problems,
        "problems": report.problems,
    }
    print_record(record, as_json=as_json)
    if not report.is_intact:
        raise typer.Exit(1)
