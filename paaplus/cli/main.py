"""Entry point: the tree of commands, and errors told as one line."""

from __future__ import annotations

import logging
import sys
import warnings
from functools import cache
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy.exc import InterfaceError, OperationalError

from paaplus import __version__, logs
from paaplus.cli import (
    adapters,
    audit,
    backup,
    base_models,
    chaos,
    db,
    demo,
    doctor,
    experts,
    feedback,
    images,
    jobs,
    keys,
    physique,
    priors,
    reviews,
    score,
    surveys,
    tools,
    up,
    users,
)
from paaplus.cli.evaluate import commands as evaluate
from paaplus.errors import PaaplusError, Unavailable
from paaplus.settings import get_settings

app = typer.Typer(
    name="paaplus",
    help="A continual-learning personalization platform: one frozen base model, one small adapter per user.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command("up")(up.up)
app.command("demo")(demo.demo)
app.command("score")(score.score)
app.command("chaos")(chaos.chaos)
app.command("doctor")(doctor.doctor)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
for name, group in {
    "db": db.app,
    "keys": keys.app,
    "users": users.app,
    "images": images.app,
    "feedback": feedback.app,
    "adapters": adapters.app,
    "jobs": jobs.app,
    "audit": audit.app,
    "base-models": base_models.app,
    "priors": priors.app,
    "experts": experts.app,
    "surveys": surveys.app,
    "tools": tools.app,
    "reviews": reviews.app,
    "evaluate": evaluate.app,
    "physique": physique.app,
}.items():
    app.add_typer(group, name=name, no_args_is_help=True)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Settings come from environment variables PAAPLUS_*; `paaplus doctor` shows what is in force."""
    logs.configure(get_settings().log_level)  # on standard error: standard output is for answers


@cache
def _command() -> Any:
    """The tree, built: a quarter of a second for all commands, so once a process."""
    return typer.main.get_command(app)


def main() -> None:
    """Run the command; what its caller or its surroundings got wrong is one line on stderr and exit code 1."""
    warnings.formatwarning = lambda message, *_args, **_options: f"warning: {message}\n"  # not whose line said it
    try:
        _command()()
    except PaaplusError as error:
        _fail(error.code, str(error))
    except (OperationalError, InterfaceError) as error:
        _fail(Unavailable.code, f"database: {str(error.orig).splitlines()[0]}")
    except OSError as error:
        _fail(Unavailable.code, str(error))


def _fail(code: str, message: str) -> NoReturn:
    logging.getLogger(__name__).debug("failed", exc_info=True)
    Console(stderr=True).print(f"[red]error[/red] ({code}): {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
