"""Entry point of `paaplus`: runs the command, and prints an error as one line."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from functools import cache
from typing import Any, Final, NoReturn

import typer

from paaplus import __version__, garbage
from paaplus.cli.tree import Interrupted, LazyGroup
from paaplus.errors import PaaplusError, Unavailable

INTERRUPTED: Final = 128 + signal.SIGINT

app = typer.Typer(
    name="paaplus",
    cls=LazyGroup,
    help="A continual-learning personalization platform: one frozen base model, one small adapter per user.",
    epilog="Settings are environment variables PAAPLUS_*; `paaplus doctor` shows what is in force.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def main() -> None:
    """Run the command. The caller's mistakes and a failing environment are one line on stderr, with exit code 1.

    Ctrl-C is one line too, with exit code 130. Services that it stops in order (`up`, `api`, `worker`, `scheduler`) end
    with 0.
    """
    garbage.begin_process()
    _open_streams()
    warnings.formatwarning = lambda message, *_args, **_options: f"warning: {message}\n"  # without the line of code
    try:
        _command()()
    except PaaplusError as error:
        _fail(error.code, str(error))
    except OSError as error:
        _fail(Unavailable.code, str(error))
    except (KeyboardInterrupt, Interrupted):
        _end_interrupted()
    except ModuleNotFoundError as error:
        from paaplus import extras

        known = extras.missing(error)
        if known is None:
            raise
        _fail(known.code, str(known))
    except Exception as error:
        sqlalchemy = sys.modules.get("sqlalchemy.exc")  # not imported here, which would cost each start 0.3 s
        if sqlalchemy is None or not isinstance(error, sqlalchemy.DBAPIError):
            raise
        from paaplus.db.engine import DAMAGED, is_damaged

        is_away = isinstance(error, (sqlalchemy.OperationalError, sqlalchemy.InterfaceError))
        if not is_away and not is_damaged(error):
            raise
        advice = f"; {DAMAGED}" if is_damaged(error) else ""
        _fail(Unavailable.code, f"database {_database()}: {str(error.orig).splitlines()[0]}{advice}")


def _open_streams() -> None:
    """What is printed is printed, on every terminal: names of files need not be in its encoding, nor in UTF-8.

    A stream that was closed, as `>&-` does, leads nowhere.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and getattr(stream, "errors", "") == "strict":
            stream.reconfigure(errors="backslashreplace")


def _end_interrupted() -> NoReturn:
    """One line, and the exit code that shells give to what Ctrl-C has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once more, while threads end, would print their tracebacks
    logging.disable()  # torch logs statistics at the end of a process
    print("interrupted", file=sys.stderr)
    sys.exit(INTERRUPTED)


def _database() -> str:
    """Which one, without its password."""
    from sqlalchemy.engine import make_url

    from paaplus.settings import get_settings

    return make_url(get_settings().resolved_database_url).render_as_string(hide_password=True)


def _fail(code: str, message: str) -> NoReturn:
    from rich.console import Console
    from rich.markup import escape

    logging.getLogger(__name__).debug("failed", exc_info=True)
    Console(stderr=True).print(f"[red]error[/red] ({code}): {escape(message)}", highlight=False, soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
