"""`paaplus chaos`: fault injection on a platform of its own."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

notices = Console(stderr=True)


def chaos(
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of traffic and faults. Their timing also depends on the machine.")
    ] = 0,
    minutes: Annotated[float, typer.Option(min=0.05, help="Duration of traffic and faults.")] = 20.0,
    database_url: Annotated[str, typer.Option(help="An EMPTY PostgreSQL database; default: SQLite.")] = "",
    broker_url: Annotated[str, typer.Option(help="An EMPTY Redis database; default: a folder.")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="An empty folder; default: a temporary one, deleted if all promises were kept.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")] = False,
) -> None:
    """Run a platform of its own under traffic, kill and starve its processes, and check every promise afterwards.

    Exit code 1 if a promise was broken; the folder then stays.
    """
    from paaplus.chaos.report import as_text
    from paaplus.chaos.run import Options, run_chaos

    signal.signal(signal.SIGTERM, _exit)  # so that SIGTERM stops the platform too
    home = (folder or Path(tempfile.mkdtemp(prefix="paaplus-chaos-"))).expanduser().absolute()
    options = Options(seed, minutes, home, database_url, broker_url)
    report = run_chaos(options, lambda words: notices.print(words, highlight=False, markup=False))
    typer.echo(json.dumps(report, indent=2) if as_json else as_text(report))
    if not report["ok"]:
        notices.print(f"the platform's folder is kept: {home}", highlight=False, markup=False)
        raise typer.Exit(1)
    if folder is None:
        shutil.rmtree(home, ignore_errors=True)


def _exit(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
