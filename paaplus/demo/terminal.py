"""The demo's terminal output: a line per step, a table of people, commands to try."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class Steps:
    """Shows steps as they run, and records the duration of each."""

    def __init__(self, console: Console) -> None:
        self.seconds: dict[str, float] = {}
        self._console = console

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step of unknown length."""
        begun = time.perf_counter()
        with self._console.status(name):
            yield
        self._done(name, begun)

    @contextmanager
    def progress(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """A step with `total` parts; call the yielded function with the number of finished parts."""
        begun = time.perf_counter()
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(
            *columns, console=self._console, transient=True, disable=not self._console.is_terminal
        ) as progress:
            task = progress.add_task(name, total=total)
            yield lambda completed: progress.update(task, completed=completed)
        self._done(name, begun)

    @contextmanager
    def counter(self, name: str, total: int) -> Iterator[Callable[[], None]]:
        """A step with `total` parts; call the yielded function once per part."""
        done = 0

        def advance() -> None:
            nonlocal done
            done += 1
            update(done)

        with self.progress(name, total) as update:
            yield advance

    def _done(self, name: str, begun: float) -> None:
        self.seconds[name] = time.perf_counter() - begun
        self._console.print(f"[green]✓[/green] {name}  [dim]{self.seconds[name]:.1f} s[/dim]", highlight=False)


def results_table(report: dict[str, Any]) -> Table:
    """The people as rows, the means below."""
    title = f"{report['people_kind']} people, unseen {report['unseen_by']}s: SRCC"
    table = Table(title=title, header_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("person", "strategy"):
        table.add_column(name)
    for name in (
        "generic",
        *(f"+{i + 1}" for i in range(report["num_increments"])),
        "gain",
        "forgot",
        "train s",
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for person in sorted(report["people"], key=lambda p: -p["gain"]):
        colour = "green" if person["gain"] > 0 else "red"
        table.add_row(
            escape(person["id"]),
            person["strategy"],
            f"{person['srcc_generic']:.3f}",
            *(f"{value:.3f}" for value in person["srcc_by_increment"][1:]),
            f"[{colour}]{person['gain']:+.3f}[/{colour}]",
            f"{person['forgetting']:+.3f}",
            f"{person['seconds']:.2f}",
        )
    table.add_section()
    table.add_row(
        "[bold]mean[/bold]",
        "",
        f"{report['srcc_generic']:.3f}",
        *(f"{value:.3f}" for value in report["srcc_by_increment"][1:]),
        f"[bold]{report['gain']['mean']:+.3f}[/bold]",
        f"{report['forgetting']:+.3f}",
        f"{report['seconds_per_user']:.2f}",
    )
    return table


def commands_to_try(home: Path, application: str, user_id: str, image_id: str) -> list[tuple[str, str]]:
    """Commands to try on the demo's platform: (description, command line)."""
    user = quote(f"{application}/{user_id}")
    body = json.dumps({"users": [user_id], "images": [image_id]})
    commands = [
        ("the demo's platform again, on http://127.0.0.1:8000/docs", f"export PAAPLUS_HOME={quote(str(home))}"),
        ("", "paaplus up &"),
        (
            "a key for the application",
            f"KEY=$(paaplus keys create --scope application --application {application} --name me --json "
            """| sed -n 's/.*"key": "\\([^"]*\\)".*/\\1/p')""",
        ),
        (
            "one person's score of one image, beside the generic score",
            'curl -s http://127.0.0.1:8000/v1/predictions -H "Authorization: Bearer $KEY" '
            f"-H 'Content-Type: application/json' -d {quote(body)}",
        ),
        ("versions, history, and a rollback of your own", f"paaplus adapters list {user}"),
        ("", f"paaplus adapters history {user}"),
        ("", f"paaplus adapters rollback {user} --to 1 --reason 'just to see'"),
        ("the demo with real people: a folder with images/ and ratings.csv", "PAAPLUS_DATA=DIR paaplus demo"),
    ]
    if shutil.which("paaplus") is None:
        commands.insert(0, ("the command", f"export PATH={quote(str(Path(sys.executable).parent))}:$PATH"))
    return commands
