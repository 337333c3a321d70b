"""`paaplus studio`: a one-time link that opens the studio."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated

import typer

from paaplus.cli.common import ACTOR, open_database, user_of
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Unavailable
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus import processes, running, supervisor
    from paaplus.db import engine
    from paaplus.services.users import sessions


def studio(
    user: Annotated[str, typer.Option(help="APPLICATION/EXTERNAL_ID or id: a link with this user's access only.")] = "",
    port: Annotated[
        int | None, typer.Option(help="The API's port; not needed for `paaplus up`.", min=1, max=65535)
    ] = None,
) -> None:
    """Print a link that opens the studio once, as its admin."""
    if not is_installed():
        raise Unavailable("the studio is not installed: pip install 'paaplus[studio]'")
    settings = get_settings()
    url = processes.url_of(settings.api_host, port) if port else _running(settings)
    with open_database() as database, database.session() as session:
        if user:
            code = sessions.invite(session, user_of(session, user).id, actor=ACTOR)
        else:
            code = sessions.operator_link(session)
    print(link_of(url + settings.root_path, code))


def _running(settings: Settings) -> str:
    """The address at which a platform with this home answers, or would."""
    found = running.addresses(settings)
    return next((url for url in found if supervisor.answers(f"{url}/healthz")), found[-1])


def is_installed() -> bool:
    return find_spec("jinja2") is not None


def studio_link(settings: Settings, url: str) -> str | None:
    """The address of a new one-time link with an admin's access; None: the studio is not installed."""
    if not is_installed():
        return None
    database = engine.Database(settings.resolved_database_url)
    try:
        with database.session() as session:
            return link_of(url + settings.root_path, sessions.operator_link(session))
    finally:
        database.dispose()


def link_of(url: str, code: str) -> str:
    """The address of a one-time link."""
    return f"{url}/studio/enter?code={code}"
