"""`paaplus images`: list and add images."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track

from paaplus.cli.common import JsonOption, notices, open_blobs, open_database, print_rows
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus.services.images import images as images_service
    from paaplus.services.users import keys

if TYPE_CHECKING:
    from paaplus.db.tables import ImageRow

app = typer.Typer()

FIELDS = ("id", "application", "name", "width_px", "height_px", "size_bytes", "sha256", "created_at")


@app.command("list")
def list_images(limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100, as_json: JsonOption = False) -> None:
    """Images, newest first."""
    with open_database() as database, database.read_session() as session:
        rows = images_service.list_images(session, keys.OPERATOR, limit=limit)
        print_rows(
            rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="images", json_only=("sha256",)
        )


@app.command()
def add(
    files: Annotated[list[Path], typer.Argument(exists=True, dir_okay=False, help="JPEG, PNG or WebP files.")],
    application: Annotated[str, typer.Option(help="Application that the images belong to.")] = "default",
    as_json: JsonOption = False,
) -> None:
    """Add image files. Unusable files are reported, all others are stored. A file added twice is one image."""
    added: list[ImageRow] = []
    refused = 0
    with open_database() as database:
        for file in track(files, description="images", console=notices, disable=len(files) < 2):
            try:
                image = images_service.add(
                    database,
                    open_blobs(),
                    get_settings(),
                    application=application,
                    data=file.read_bytes(),
                    name=file.name,
                )
                added.append(image.row)
            except InvalidInput as error:
                refused += 1
                notices.print(f"{file}: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
    print_rows(added, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, json_only=("sha256",))
    if refused:
        raise typer.Exit(1)
