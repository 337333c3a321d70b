"""`paaplus db`: the schema."""

from __future__ import annotations

import typer

from paaplus.cli.common import JsonOption, print_record
from paaplus.cli.lazy import lazy_imports
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.db import migrate

app = typer.Typer()


@app.command()
def upgrade(revision: str = typer.Argument("head"), as_json: JsonOption = False) -> None:
    """Upgrade the schema to a revision, by default the newest."""
    url = get_settings().resolved_database_url
    before = migrate.current(url)
    migrate.upgrade(url, revision)
    print_record({"from": before, "to": migrate.current(url)}, as_json=as_json)


@app.command()
def downgrade(revision: str, as_json: JsonOption = False) -> None:
    """Downgrade the schema to a revision. The data of later columns and tables are lost."""
    url = get_settings().resolved_database_url
    migrate.require_file(url)
    before = migrate.current(url)
    migrate.downgrade(url, revision)
    print_record({"from": before, "to": migrate.current(url)}, as_json=as_json)


@app.command()
def current(as_json: JsonOption = False) -> None:
    """Show the schema's revision and the newest revision."""
    print_record(
        {"current": migrate.current(get_settings().resolved_database_url), "head": migrate.head()}, as_json=as_json
    )


@app.command()
def check() -> None:
    """Fail if the schema differs from what this version expects."""
    url = get_settings().resolved_database_url
    migrate.require_file(url)
    migrate.check(url)
    typer.echo("the schema is what this version expects")
