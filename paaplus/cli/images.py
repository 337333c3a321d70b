"""`paaplus images`: list, add, tag and delete images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer
from rich.progress import track

from paaplus.cli.common import (
    ACTOR,
    JsonOption,
    notices,
    open_blobs,
    open_database,
    print_record,
    print_rows,
    require_folder_of,
)
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import Conflict, InvalidInput
from paaplus.services.names import check_application
from paaplus.settings import get_settings

with lazy_imports():
    from paaplus import image_kinds
    from paaplus.data import image_folder
    from paaplus.photos import folder as photo_folder
    from paaplus.services.images import deletions, filters, maps, themes, uploads
    from paaplus.services.images import images as images_service
    from paaplus.services.images import names as image_names
    from paaplus.services.users import keys
    from paaplus.services.users import users as users_service
    from paaplus.tools import maps as tool_maps

if TYPE_CHECKING:
    from paaplus.db.tables import ImageRow

app = typer.Typer()

FIELDS = (
    "id", "application", "name", "external_id", "theme", "width_px", "height_px", "size_bytes", "sha256", "created_at",
)  # fmt: skip
JSON_ONLY = ("sha256", "external_id")


@app.command("list")
def list_images(
    theme: Annotated[str | None, typer.Option(help="Only images with this tag.")] = None,
    application: Annotated[str | None, typer.Option(help="Only images of this application.")] = None,
    search: Annotated[str | None, typer.Option(help="Only images whose name contains this.")] = None,
    external_id: Annotated[str | None, typer.Option(help="Only images with this own id of the application.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Images, newest first."""
    wanted = filters.ImageFilter(application=application, theme=theme, search=search, external_id=external_id)
    with open_database() as database, database.read_session() as session:
        users_service.require_application(session, application)
        rows = images_service.list_images(session, keys.OPERATOR, wanted, limit=limit)
        print_rows(
            rows, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, title="images", json_only=JSON_ONLY
        )


@app.command()
def add(
    files: Annotated[
        list[Path], typer.Argument(exists=True, metavar="FILE|DIR...", help="JPEG, PNG or WebP files, and folders.")
    ],
    application: Annotated[str, typer.Option(help="Application that the images belong to.")] = "default",
    external_ids: Annotated[
        bool, typer.Option("--external-ids", help="Keep each name as the application's own id too.")
    ] = False,
    theme: Annotated[str | None, typer.Option(help="A tag for all of them.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add image files. Unusable files are reported, all others are stored. A file added twice is one image.

    Of a folder, all image files below it are added; an image's name is its path in the folder. Imports find an image by
    the name under which it was added first, so doubled and second names are reported.
    """
    added: list[ImageRow] = []
    refused = 0
    theme = themes.check(theme)
    check_application(application)
    found = list(_files(files))
    if not found:
        raise InvalidInput(f"no image file ({', '.join(image_folder.IMAGE_SUFFIXES)}) in {', '.join(map(str, files))}")
    with open_database() as database:
        blobs, settings = open_blobs(), get_settings()
        with database.read_session() as session:
            names = Counter(image_names.ImageNames(session, application).names)
        for file, path in track(found, description="images", console=notices, disable=len(found) < 2):
            wanted = image_names.path_name(path)
            try:
                image = uploads.add(
                    database,
                    blobs,
                    settings,
                    application=application,
                    data=file.read_bytes(),
                    name=wanted,
                    external_id=image_names.check_external_id(wanted or "") if external_ids else None,
                    theme=theme,
                )
            except (Conflict, InvalidInput, OSError) as error:
                refused += 1
                _report(file, str(error), "red")
                continue
            added.append(image.row)
            name = image.row.name
            if not image.created and name != wanted:
                _report(file, f"stored before, under the name {name!r}; imports find it by that name only", "yellow")
            elif image.created and name is not None:
                names[name] += 1
                if names[name] > 1:
                    _report(file, f"{names[name]} images are named {name!r} now; imports need their ids", "yellow")
    if added or as_json:
        print_rows(added, {name: attrgetter(name) for name in FIELDS}, as_json=as_json, json_only=JSON_ONLY)
    if refused:
        raise typer.Exit(1)


def _files(given: list[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with its name: of a file that was given, its own; of one in a folder, its path in the folder."""
    for path in given:
        if not path.is_dir():
            yield path, path.name
            continue
        others: Counter[str] = Counter()
        for file in photo_folder.files_below(path):
            suffix = file.suffix.lower()
            if suffix in image_folder.IMAGE_SUFFIXES and file.is_file():
                yield file, file.relative_to(path).as_posix()
            elif suffix[1:] in image_kinds.PHOTO_SUFFIXES | {"bmp", "gif"}:
                others[suffix] += 1
        if others:
            told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items()))
            _report(path, f"left out, because JPEG, PNG and WebP are taken only: {told}", "yellow")


@app.command()
def delete(
    image: Annotated[UUID, typer.Argument(help="Which image.")],
    with_feedback: Annotated[
        bool, typer.Option("--with-feedback", help="Also if feedback is about it, which is then retracted.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete an image with its file, features and labels."""
    with open_database() as database:
        with database.session() as session:
            num_retracted = deletions.delete(
                session, open_blobs(), keys.OPERATOR, image, with_feedback=with_feedback, actor=ACTOR
            )
        database.scrub()
    print_record({"id": image, "num_retracted": num_retracted}, as_json=as_json)


@app.command()
def tag(
    image: Annotated[UUID, typer.Argument(help="Which image.")],
    theme: Annotated[str | None, typer.Argument(help="What it is about; left out: the tag is taken away.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Set an image's theme."""
    with open_database() as database, database.session() as session:
        row = themes.set_theme(session, keys.OPERATOR, image, theme)
        print_record({name: getattr(row, name) for name in FIELDS}, as_json=as_json)


@app.command("map")
def get_map(
    image: Annotated[UUID, typer.Argument(help="Which image.")],
    tool: Annotated[str, typer.Argument(help="A tool that draws maps.")],
    file: Annotated[Path, typer.Argument(dir_okay=False, help="Where to write it: .png, or .npy for the numbers.")],
    as_json: JsonOption = False,
) -> None:
    """Write a tool's map of an image into a file; if nobody has asked before, ask a worker and say so."""
    if file.suffix not in (".png", ".npy"):
        raise InvalidInput(f"{file.name}: a map is written as .png or .npy")
    require_folder_of(file)
    with open_database() as database:
        found = maps.get_or_request(database, keys.OPERATOR, image, tool, get_settings())
    if isinstance(found, tool_maps.ToolMap):
        file.write_bytes(tool_maps.to_png(found) if file.suffix == ".png" else tool_maps.to_npy(found))
        print_record({"file": str(file), "meaning": found.meaning}, as_json=as_json)
    else:
        print_record({"job_id": found}, as_json=as_json)
        raise typer.Exit(1)


def _report(file: Path, message: str, style: str) -> None:
    notices.print(f"{file}: {message}", style=style, highlight=False, markup=False, soft_wrap=True)
