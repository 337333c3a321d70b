"""`paaplus bench`: a deployment of any size, to measure on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, open_database, print_record
from paaplus.cli.lazy import lazy_imports

with lazy_imports():
    from paaplus.services.operations import seed as seeding

app = typer.Typer(no_args_is_help=True, help="Fill a deployment with made-up rows, to measure how it grows.")


@app.callback()
def bench() -> None:
    """Fill a deployment with made-up rows, to measure how it grows."""


@app.command()
def seed(
    users: Annotated[int, typer.Option(min=0, help="Users to make.")],
    feedback: Annotated[int, typer.Option(min=0, help="Ratings of each of them.")] = 0,
    images: Annotated[int, typer.Option(min=0, help="Images to make, without files and features.")] = 0,
    due: Annotated[int, typer.Option(min=0, help="Users who are due for a training now.")] = 0,
    application: Annotated[str, typer.Option(help="Application of the users and images.")] = "bench",
    aspect: Annotated[str, typer.Option(help="Aspect that is rated.")] = "beauty",
    as_json: JsonOption = False,
) -> None:
    """Make users, images and ratings in the database, not through HTTP. Never do this to a deployment in use."""
    plan = seeding.SeedPlan(application, users, feedback, images, due, aspect)
    with open_database() as database:
        print_record(asdict(seeding.seed(database, plan)), as_json=as_json)
