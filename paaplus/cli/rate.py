"""`paaplus rate`: rate photographs in the studio, or in the terminal."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from paaplus.cli import rate_in_browser
from paaplus.cli.common import JsonOption, console, notices, print_record, refuse_given
from paaplus.cli.lazy import lazy_imports
from paaplus.cli.rank import FolderArgument, UserOption, bar, bring_in, command_of, report, whose_is
from paaplus.errors import InvalidInput
from paaplus.services.names import HOME_USER
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus import extras
    from paaplus.photos import folder, outcome, platform, rating
    from paaplus.services import names
    from paaplus.services.registry import starter

if TYPE_CHECKING:
    from paaplus.photos.rating import Question, RatingSession

RATING_KEYS = "1 to 5: stars   s: skip   p: compare two instead   u: undo   q: end"
PAIR_KEYS = "1: the first   2: the second   3: equal   s: skip   p: rate one instead   u: undo   q: end"
_PREFERENCE = {"1": "first", "2": "second", "3": "tie"}
_MIN_TO_TRAIN = 5


def rate(
    context: typer.Context,
    directory: FolderArgument,
    user: UserOption = HOME_USER,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="Ask in the terminal. So it is where no browser can be opened, too.")
    ] = False,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="In the terminal: compare two photographs instead of rating one.")
    ] = False,
    viewer: Annotated[
        str,
        typer.Option(
            "--open", metavar="COMMAND", help="In the terminal: show each photograph with this command, such as feh."
        ),
    ] = "",
    from_xmp: Annotated[
        bool, typer.Option("--from-xmp", help="Take the stars in files and sidecars instead of asking.")
    ] = False,
    num: Annotated[
        int, typer.Option("--num", min=0, help="In the terminal: end after so many answers; 0: when you end it.")
    ] = 0,
    as_json: JsonOption = False,
) -> None:
    """Rate photographs of a folder in the browser or the terminal; those come first that teach most.

    The prediction is shown after your answer, so that it does not bias you. Answers are stored at once, and train
    while you go on in the browser, or at the end.
    """
    names.check_external_id(user)
    if from_xmp:
        refuse_given(context, ("terminal", "pairs", "viewer", "num"), "--from-xmp asks nothing")
    command = _viewer(viewer)
    asks_here = terminal or pairs or bool(viewer) or num > 0 or from_xmp
    if not asks_here and (reason := rate_in_browser.why_not()) is not None:
        notices.print(f"rating in the terminal: {reason}", markup=False, highlight=False)
        asks_here = True
    if from_xmp:
        extras.require("pyexiv2")
    files = folder.find_photographs(directory)
    with platform.open_platform(get_settings(), user, starter.ensure) as local:
        if not from_xmp:
            files = rating.sample(local, files)
        imported = bring_in(local, files)
        if from_xmp:
            with bar("stars") as on_progress:
                taken = rating.import_stars(local, imported, on_progress)
            report(taken.refused, "not read")
            done = {"stars_found": taken.num_found, "ratings_added": taken.num_accepted}
        elif asks_here:
            session = rating.RatingSession.of(local, imported)
            _ask(session, command, pairs=pairs, most=num)
            done = {"answers": session.num_given}
        else:
            if num_others := rating.num_others(local, imported):
                notices.print(
                    f"the page also asks about {num_others} photographs of other folders; "
                    "--terminal asks about this one only",
                    highlight=False,
                )
            before = rating.num_answers(local)
            if not rate_in_browser.rate(local):
                if as_json:
                    print_record({"result": "a running platform serves the page"}, as_json=True)
                return
            done = {"answers": rating.num_answers(local) - before}
        done["photographs_rated"] = num_rated = len(rating.rated_images(local))
        if num_rated >= _MIN_TO_TRAIN:
            notices.print("training ...")
            local.train("paaplus rate")
        decision = outcome.last_decision(local)
    told = decision.told
    if num_rated < _MIN_TO_TRAIN:
        told += f"; a training needs at least {_MIN_TO_TRAIN} rated photographs"
    measured = {} if decision.gate is None else {"gate": decision.gate}
    print_record({**done, "result": told, **measured}, as_json=as_json)
    if not as_json:
        line = f"{whose_is(user)} order: {command_of('rank', directory, user)}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _viewer(command: str) -> list[str]:
    """The words of `--open`, whose first is a program.

    Raises:
        InvalidInput: there is no such program, or a quotation mark is open.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidInput(f"--open {command!r:.80}: {error}") from error
    if words and shutil.which(words[0]) is None:
        raise InvalidInput(f"--open {words[0]}: there is no such program")
    return words


def _ask(session: RatingSession, viewer: list[str], *, pairs: bool, most: int) -> None:
    """Ask until the person ends it, or all is rated."""
    shown: list[subprocess.Popen[bytes]] = []
    try:
        with suppress(KeyboardInterrupt, EOFError), _single_keys() as read_key:
            _ask_by_key(session, viewer, shown, read_key, pairs=pairs, most=most)
    finally:
        _close(shown)
    if not session.num_given and not sys.stdin.isatty():
        raise InvalidInput("no answer came: the answers are keys of a terminal or a pipe; --from-xmp asks nothing")


def _ask_by_key(
    session: RatingSession,
    viewer: list[str],
    shown: list[subprocess.Popen[bytes]],
    read_key: Callable[[], str],
    *,
    pairs: bool,
    most: int,
) -> None:
    question: Question | None = None
    while not most or session.num_given < most:
        if question is None:
            question = session.next_question(pair=pairs)
            if question is None:
                notices.print("nothing is left to ask")
                return
            _show(question, session.num_given + 1, viewer, shown)
        key = read_key()
        if key in ("q", "\x04", ""):
            return
        if key == "p":
            pairs, question = not pairs, None
        elif key == "u":
            previous = session.undo()
            notices.print("taken back" if previous else "nothing to take back")
            if previous is not None:
                question = previous
                _show(question, session.num_given + 1, viewer, shown)
        elif key == "s":
            session.skip(question)
            question = None
        elif question.is_pair and key in _PREFERENCE:
            session.prefer(question, _PREFERENCE[key])
            question = None
        elif not question.is_pair and key in "12345":
            session.rate(question, int(key))
            expected = session.prediction(question.images[0])
            notices.print(f"   {key} star{'s' * (key != '1')}; expected were {expected:.1f}", highlight=False)
            question = None
        else:
            notices.print(PAIR_KEYS if question.is_pair else RATING_KEYS, markup=False, highlight=False)


def _show(question: Question, number: int, viewer: list[str], shown: list[subprocess.Popen[bytes]]) -> None:
    _close(shown)
    if number == 1:
        notices.print(PAIR_KEYS if question.is_pair else RATING_KEYS, markup=False, highlight=False)
    for place, file in enumerate(question.files, 1):
        begin = f"{number}." if not question.is_pair else f"{number}.{place}"
        notices.print(f"{begin} {file}", markup=False, highlight=False, soft_wrap=True)
        if viewer:
            try:
                shown.append(
                    subprocess.Popen([*viewer, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                )
            except OSError as error:
                raise InvalidInput(f"--open {viewer[0]}: {error.strerror or error}") from error


def _close(shown: list[subprocess.Popen[bytes]]) -> None:
    while shown:
        process = shown.pop()
        if process.poll() is None:
            process.terminate()
            process.wait()


@contextmanager
def _single_keys() -> Iterator[Callable[[], str]]:
    """Reads keys without Enter; what is typed ahead is kept. The key is empty when the input has ended."""
    try:
        import termios
        import tty
    except ImportError:  # not on Windows, whose console Click reads
        import click

        yield lambda: click.getchar().lower()
        return
    terminal = sys.stdin.fileno()
    if not sys.stdin.isatty():
        yield partial(_piped_key, terminal)
        return
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal, termios.TCSADRAIN)
        yield lambda: os.read(terminal, 1).decode("ascii", "ignore").lower()
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _piped_key(stream: int) -> str:
    """The next key of a pipe or a file; ends of lines and blanks are none."""
    while (key := os.read(stream, 1)) and key.isspace():
        pass
    return key.decode("ascii", "ignore").lower()
