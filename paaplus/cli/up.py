"""`paaplus up`: the whole platform on one machine."""

from __future__ import annotations

import subprocess
from functools import partial
from typing import Annotated

import typer

from paaplus.cli.common import notices
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Unavailable
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus import extras, processes, supervisor
    from paaplus.data.builtin_set import photographs
    from paaplus.db import engine, migrate
    from paaplus.services.registry import base_models


def up(
    port: Annotated[int | None, typer.Option(help="API port; 0 chooses a free one.", min=0, max=65535)] = None,
) -> None:
    """Start API, worker and scheduler on this machine, until Ctrl-C. The first start prepares what is missing."""
    settings = get_settings()
    extras.require("celery", "torch")  # before a database is made that no worker will use
    if engine.missing_file(settings.resolved_database_url) is not None:
        photographs.require_installed()  # before a database is made that nothing can be trained for
    settings.home.mkdir(parents=True, exist_ok=True)
    chosen = processes.usable_port(settings.api_host, settings.api_port if port is None else port)
    migrate.upgrade(settings.resolved_database_url)
    environment = supervisor.child_environment(settings, chosen)
    _ensure_base_model(settings, environment)
    url = processes.url_of(settings.api_host, chosen)

    def tell_ready() -> None:
        notices.print(
            f"[bold green]ready:[/bold green] {url}  (docs: {url}/docs, logs: {settings.home}/logs)", soft_wrap=True
        )
        notices.print("a first key:  paaplus keys create --scope admin --name me", highlight=False)

    notices.print(f"starting on {url} ...", highlight=False, soft_wrap=True)
    children = supervisor.embedded_children(settings)
    is_ready = partial(supervisor.answers, f"{url}/readyz")
    supervisor.Supervisor(children, environment, is_ready=is_ready, when_ready=tell_ready).run()


def _ensure_base_model(settings: Settings, environment: dict[str, str]) -> None:
    database = engine.Database(settings.resolved_database_url)
    try:
        with database.read_session() as session:
            if base_models.find_default(session, settings) is not None:
                return
    finally:
        database.dispose()
    notices.print("no base model yet: training [bold]lite2[/bold] on the built-in set (simulated people) ...")
    done = subprocess.run(processes.train_builtin_command(), env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise Unavailable(f"the base model could not be trained (exit code {done.returncode}); see the lines above")
