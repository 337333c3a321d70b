"""The commands of `paaplus`: the module of each, and its line in `paaplus --help`.

A command's module is imported when the command is invoked. So `paaplus --help` imports none of them.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from paaplus.errors import InvalidInput


class Definition(NamedTuple):
    """Where a command is defined.

    Attributes:
        place: MODULE:NAME of a function, which is one command, or of a Typer app, which is a group of commands.
        help: the line in `paaplus --help`. A function's docstring begins with it.
        takes_more: options that the command does not know are arguments.
    """

    place: str
    help: str
    takes_more: bool = False


COMMANDS = {
    "up": Definition(
        "paaplus.cli.up:up",
        "Start API, worker and scheduler on this machine, until Ctrl-C. The first start prepares what is missing.",
    ),
    "studio": Definition("paaplus.cli.studio:studio", "Print a link that opens the studio once, as its admin."),
    "demo": Definition(
        "paaplus.demo.command:demo",
        "Play the whole loop over HTTP on a platform of its own, and write a report into var/demo.",
    ),
    "rank": Definition(
        "paaplus.cli.rank:rank",
        "Put a folder of photographs into your order, with a contact sheet. The next run reads only new files.",
    ),
    "rate": Definition(
        "paaplus.cli.rate:rate",
        "Rate photographs of a folder in the browser or the terminal; those come first that teach most.",
    ),
    "doctor": Definition(
        "paaplus.cli.doctor:doctor", "Check this deployment; exit code 1 if something keeps it from working."
    ),
    "api": Definition("paaplus.cli.processes:api", "Start the HTTP API and serve until stopped."),
    "worker": Definition(
        "paaplus.cli.processes:worker",
        "Start a worker that trains, extracts features and labels images. Further options go to `celery worker`.",
        takes_more=True,
    ),
    "scheduler": Definition(
        "paaplus.cli.processes:scheduler",
        "Start the scheduler, which asks for a scan at regular intervals. Further options go to `celery beat`.",
        takes_more=True,
    ),
    "db": Definition("paaplus.cli.db:app", "Create and upgrade the database schema."),
    "keys": Definition("paaplus.cli.keys:app", "Create, list, rotate and revoke API keys."),
    "users": Definition("paaplus.cli.users:app", "Users and their training policies."),
    "images": Definition("paaplus.cli.images:app", "List images, and add image files."),
    "feedback": Definition("paaplus.cli.feedback:app", "Read a user's feedback log, and import ratings."),
    "adapters": Definition("paaplus.cli.adapters:app", "Adapter versions: list, compare, promote, pin, roll back."),
    "jobs": Definition("paaplus.cli.jobs:app", "List and show training, feature and labelling jobs."),
    "webhooks": Definition(
        "paaplus.cli.webhooks:app", "Webhooks: add, test, enable and remove them, and see their deliveries."
    ),
    "audit": Definition("paaplus.cli.audit:app", "List and verify the audit trail of privileged acts."),
    "base-models": Definition("paaplus.cli.base_models:app", "Base models: a frozen backbone with a generic head."),
    "priors": Definition("paaplus.cli.priors:app", "Taste priors: learn them from people who rated, list, retire."),
    "experts": Definition("paaplus.cli.experts:app", "Experts, their models, and the users matched with them."),
    "surveys": Definition("paaplus.cli.surveys:app", "Surveys, answers, and the encoders learned from them."),
    "tools": Definition("paaplus.cli.tools:app", "AI tools, their pseudo labels, and what they learn from reviews."),
    "reviews": Definition("paaplus.cli.reviews:app", "Experts' reviews of pseudo labels."),
    "data": Definition("paaplus.cli.data:app", "Published data sets, and a simulated one, as data folders."),
    "evaluate": Definition("paaplus.cli.evaluate.commands:app", "Measure on a data set; needs no database."),
    "physique": Definition("paaplus.cli.physique:app", "Data sets in the layout of PhysiqueAA50K."),
    "score": Definition(
        "paaplus.cli.score:score",
        "Score image files, 0-10, by a base model's generic score.",
    ),
    "backup": Definition(
        "paaplus.cli.backup:backup", "Save all rows and files, as of one moment, while the platform runs."
    ),
    "restore": Definition(
        "paaplus.cli.backup:restore",
        "Fill an empty database and storage from a backup, of this version or an older one; nothing may run meanwhile.",
    ),
    "maintain": Definition(
        "paaplus.cli.maintain:maintain",
        "Delete old receipts that no feedback names, old finished jobs, old events and unfinished uploads.",
    ),
    "bench": Definition("paaplus.cli.bench:app", "Fill a deployment with made-up rows, to measure how it grows."),
    "chaos": Definition(
        "paaplus.chaos.command:chaos",
        "Run a platform of its own under traffic, kill and starve its processes, and check every promise afterwards.",
    ),
}


class Interrupted(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, after which Typer exits without a word, or says "Aborted" as at a question."""


@contextmanager
def _interruptible() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as error:
        raise Interrupted from error
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise Interrupted from error
        raise


class LazyGroup(TyperGroup):
    """The root: it lists `COMMANDS` and imports only the one that is invoked."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, definition in COMMANDS.items():
            self.add_command(TyperCommand(name, help=definition.help), name)

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the command line. `Interrupted`: as in `invoke`."""
        with _interruptible():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            Interrupted: Ctrl-C was pressed, also at a question. What the command had opened is closed.
        """
        with _interruptible():
            return super().invoke(ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The command that the first argument names, with its options and subcommands."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else command, rest


def load(name: str) -> TyperCommand | TyperGroup:
    """Import a command with everything below it."""
    definition = COMMANDS[name]
    module, _, attribute = definition.place.partition(":")
    found = getattr(import_module(module), attribute)
    root = typer.Typer()
    if isinstance(found, typer.Typer):
        root.add_typer(found, name=name, help=definition.help, no_args_is_help=True)
    else:
        more = {"allow_extra_args": True, "ignore_unknown_options": True} if definition.takes_more else None
        root.command(name, context_settings=more)(found)
    command: Any = typer.main.get_group(root).commands[name]
    _prepare(command)
    return command


def _prepare(command: Any) -> None:
    """Read the settings when a command starts to work: `--help` needs none. Read numbers, texts and paths strictly."""
    if isinstance(command, TyperGroup):
        for each in command.commands.values():
            _prepare(each)
        return
    command.callback = _after_logs(command.callback)
    from paaplus.numbers import parse_number, parse_whole

    parsers: dict[Any, Callable[[str], object]] = {
        str: _check_encoding,
        list[str]: _check_encoding,
        int: parse_whole,
        float: parse_number,
        list[int]: parse_whole,
        list[float]: parse_number,
    }
    for parameter in command.params:
        parameter.process_value = _plainly(parameter.process_value)
        if parse := parsers.get(parameter.type_descriptor.annotation):
            parameter.process_value = _strictly(parse, parameter.process_value)
    command.make_parser = _once_each(command.make_parser)


def _once_each(make_parser: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Refuse an option that is given twice, of which the last one would count, and values that are empty.

    In a path, `~` is the home of a user: no shell replaces it in `--out=~/report`.
    """

    def make(context: Any) -> Any:
        parser = make_parser(context)
        parse = parser.parse_args

        def parse_checked(args: list[str]) -> Any:
            values, rest, order = parse(args)
            for parameter, count in Counter(order).items():
                if count > 1 and not parameter.multiple and (not parameter.is_flag or parameter.secondary_opts):
                    raise typer.BadParameter(f"is given {count} times; once is needed", ctx=context, param=parameter)
                if (given := values.get(parameter.name)) is not None:
                    values[parameter.name] = _filled(given, parameter, context)
            return values, rest, order

        parser.parse_args = parse_checked
        return parser

    return make


def _filled(given: Any, parameter: Any, context: Any) -> Any:
    """What was given on the command line, with expanded paths."""
    if isinstance(given, list | tuple):
        return type(given)(_filled(each, parameter, context) for each in given)
    if not isinstance(given, str):
        return given
    if not given.strip():
        advice = "leave it out, or give a value" if parameter.param_type_name == "option" else "give a value"
        raise typer.BadParameter(f"is empty: {advice}", ctx=context, param=parameter)
    kind = parameter.type_descriptor.annotation
    if not given.startswith("~") or Path not in (kind, *get_args(kind)):
        return given
    try:
        return str(Path(given).expanduser())
    except RuntimeError as error:
        raise typer.BadParameter(f"{given!r:.80}: {error}", ctx=context, param=parameter) from error


def _check_encoding(text: str) -> None:
    """Python takes any bytes on a command line. Names of files may have them, what goes into a database may not."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{text!r:.80} is not UTF-8") from error


def _plainly(process: Callable[..., Any]) -> Callable[..., Any]:
    """Refusals without the words with which pydantic begins those of our own."""

    def told(context: Any, value: Any) -> Any:
        try:
            return process(context, value)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    return told


def _strictly(parse: Callable[[str], object], process: Callable[..., Any]) -> Callable[..., Any]:
    """Python's `int` and `float`, which the command line uses, would read `1_0` as 10."""

    def checked(context: Any, value: Any) -> Any:
        try:
            for each in value if isinstance(value, list | tuple) else (value,):
                if isinstance(each, str):
                    parse(each)
        except InvalidInput as error:
            raise typer.BadParameter(str(error), ctx=context) from error
        return process(context, value)

    return checked


def _after_logs(callback: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(callback)
    def work(*arguments: Any, **options: Any) -> Any:
        from paaplus import logs
        from paaplus.settings import get_settings

        level = get_settings().log_level
        if sys.stderr.isatty() and level == "INFO":
            level = "WARNING"  # no JSON among the tables that a person reads
        logs.configure(level)  # on standard error: standard output is for answers
        return callback(*arguments, **options)

    return work
