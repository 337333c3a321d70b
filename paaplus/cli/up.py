"""`paaplus up`: the whole platform on one machine."""

from __future__ import annotations

import socket
from typing import Annotated

import typer

from paaplus.cli.common import notices
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Unavailable
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus import supervisor
    from paaplus.db import engine, migrate
    from paaplus.services.registry import base_models


def up(
    port: Annotated[int | None, typer.Option(help="API port; 0 chooses a free one.", min=0, max=65535)] = None,
) -> None:
    """Start API, worker and scheduler on this machine, until Ctrl-C. The first start prepares what is missing."""
    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate.upgrade(settings.resolved_database_url)
    _ensure_base_model(settings)
    chosen = _usable_port(settings.api_host, settings.api_port if port is None else port)
    url = f"http://{settings.api_host}:{chosen}"
    notices.print(
        f"[bold green]paaplus[/bold green] on {url}  (docs: {url}/docs, logs: {settings.home}/logs)", soft_wrap=True
    )
    notices.print("a first key:  paaplus keys create --scope admin --name me", highlight=False)
    supervisor.Supervisor(supervisor.embedded_children(settings), supervisor.child_environment(settings, chosen)).run()


def _ensure_base_model(settings: Settings) -> None:
    database = engine.Database(settings.resolved_database_url)
    try:
        with database.read_session() as session:
            if base_models.find_default(session, settings) is not None:
                return
    finally:
        database.dispose()
    from paaplus.cli.base_models import train_builtin

    notices.print("no base model yet: training [bold]lite2[/bold] on the built-in set (simulated people) ...")
    train_builtin(settings)


def _usable_port(host: str, port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another with --port"
            ) from error
        chosen: int = probe.getsockname()[1]
        return chosen
