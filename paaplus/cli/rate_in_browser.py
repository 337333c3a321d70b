"""`paaplus rate` in the studio: on a platform that runs with the same database, or on an API that runs until Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from paaplus.cli import studio
from paaplus.cli.common import ACTOR, notices
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import PaaplusError, Unavailable

with lazy_imports():
    from paaplus import processes, running, supervisor
    from paaplus.services.users import keys, sessions

if TYPE_CHECKING:
    from paaplus.photos.platform import LocalPlatform

KEY_NAME: Final = "paaplus rate"
_ASKED_S: Final = 3.0


def why_not() -> str | None:
    """Why no browser can be opened for the person at this terminal; None: it can."""
    if not sys.stdin.isatty():
        return "the input is no terminal"
    if not studio.is_installed():
        return "the studio is not installed: pip install 'paaplus[studio]'"
    if os.environ.get("BROWSER"):
        return None
    if sys.platform not in ("darwin", "win32") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return "there is no display"
    try:
        webbrowser.get()
    except webbrowser.Error:
        return "there is no browser"
    return None


def rate(local: LocalPlatform) -> bool:
    """Open the studio's rating page, as the platform's user. A platform that runs with this database serves it.

    Returns:
        Whether the page was served from here, and is closed now. False: a running platform goes on serving it.

    Raises:
        Unavailable: the API did not start.
    """
    with local.database.session() as session:
        key_id, token, code = sessions.invite_here(session, local.user_id, name=KEY_NAME, actor=ACTOR)
    settings = local.settings
    served = (url for url in running.addresses(settings) if _serves(url, token, str(local.user_id)))
    if (url := next(served, None)) is not None:
        _open(studio.link_of(url + settings.root_path, code))
        notices.print("the running platform trains what you answer", highlight=False)
        return False
    try:
        _serve(local, code)
    finally:
        with local.database.session() as session:
            keys.revoke(session, key_id, actor=ACTOR)
    return True


def _serves(url: str, token: str, user_id: str) -> bool:
    """Whether a server at this address has our database: it knows a key that was made just now."""
    from paaplus.client import Client, Retries

    try:
        with Client(url, token, timeout_s=_ASKED_S, retries=Retries(limit=0)) as client:
            return client.user(user_id).id == user_id
    except PaaplusError:
        return False


def _serve(local: LocalPlatform, code: str) -> None:
    """Serve the studio, and train what is answered, until Ctrl-C."""
    settings = local.settings
    try:
        port = processes.usable_port(settings.api_host, settings.api_port)
    except Unavailable:
        port = processes.usable_port(settings.api_host, 0)
    url = processes.url_of(settings.api_host, port)

    def tell() -> None:
        _open(studio.link_of(url + settings.root_path, code))
        notices.print("[bold]Ctrl-C here when you are done[/bold]")

    api = supervisor.Child("api", processes.api_command(), settings.home.absolute() / "logs" / "api.log")
    environment = supervisor.child_environment(settings, port)
    is_ready = partial(supervisor.answers, f"{url}/readyz")
    with local.working(), _signals_kept():
        supervisor.Supervisor([api], environment, is_ready=is_ready, when_ready=tell).run()


def _open(link: str) -> None:
    notices.print(f"rate at:  {link}  (works once)", highlight=False, markup=False, soft_wrap=True)
    webbrowser.open(link)


@contextmanager
def _signals_kept() -> Iterator[None]:
    """What the supervisor does with signals ends with it: a second Ctrl-C stops the training after it."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
