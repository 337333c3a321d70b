"""`paaplus up`: the whole platform on one machine."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer
from rich.markup import escape

from paaplus.cli.common import notices, open_blobs, open_database
from paaplus.cli.lazy import lazy_imports
from paaplus.cli.studio import studio_link
from paaplus.settings import Settings, get_settings

with lazy_imports():
    from paaplus import extras, processes, running, supervisor
    from paaplus.db import migrate
    from paaplus.services.images import images
    from paaplus.services.registry import base_models, starter


def up(
    port: Annotated[int | None, typer.Option(help="API port; 0 chooses a free one.", min=0, max=65535)] = None,
) -> None:
    """Start API, worker and scheduler on this machine, until Ctrl-C. The first start prepares what is missing."""
    settings = get_settings()
    extras.require("celery", "torch")  # before a database is made that no worker will use
    settings.home.mkdir(parents=True, exist_ok=True)
    chosen = processes.usable_port(settings.api_host, settings.api_port if port is None else port)
    environment = supervisor.child_environment(settings, chosen)
    url = processes.url_of(settings.api_host, chosen)

    def prepare() -> None:
        migrate.upgrade(settings.resolved_database_url)
        _ensure_base_model(settings)
        notices.print(f"starting on {url} ...", highlight=False, soft_wrap=True)

    def tell_ready() -> None:
        notices.print(
            f"[bold green]ready:[/bold green] {url}  (docs: {url}/docs, logs: {escape(str(settings.home))}/logs)",
            soft_wrap=True,
        )
        link = studio_link(settings, url)
        if link is not None:
            notices.print(
                f"open:  {link}  (works once; `paaplus studio` prints another)", highlight=False, soft_wrap=True
            )
        notices.print("a first key:  paaplus keys create --scope admin --name me", highlight=False)

    children = supervisor.embedded_children(settings)
    is_ready = partial(supervisor.answers, f"{url}/readyz")
    with running.noted(settings.home, url):
        supervisor.Supervisor(children, environment, is_ready=is_ready, when_ready=tell_ready).run(prepare)
    notices.print("stopped", highlight=False)


def _ensure_base_model(settings: Settings) -> None:
    """Register the starter base model, if there is no base model."""
    with open_database() as database:
        with database.read_session() as session:
            if base_models.find_default(session, settings) is not None:
                return
        row = starter.ensure(database, open_blobs(), settings)
        with database.session() as session:
            images.request_features(session, None, settings)
    notices.print(
        f"base model: [bold]{escape(row.name)}@{row.version}[/bold], fitted to the ratings of "
        f"{row.metrics['num_people']} people (`paaplus base-models show starter`).\n"
        "One of your own: `paaplus base-models train lite2 --data DIR`",
        highlight=False,
        soft_wrap=True,
    )
