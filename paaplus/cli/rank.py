"""`paaplus rank`: a folder of photographs in one person's order."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paaplus.cli.common import JsonOption, console, notices, print_json, print_rows, progress_bar, require_folder_of
from paaplus.cli.lazy import lazy_imports
from paaplus.errors import InvalidInput
from paaplus.services.names import HOME_USER
from paaplus.settings import get_settings
from paaplus.texts import printable

with lazy_imports():
    from paaplus import extras
    from paaplus.photos import contact_sheet, folder, importing, outcome, platform, ranking
    from paaplus.services import names
    from paaplus.services.registry import starter

if TYPE_CHECKING:
    from paaplus.photos.importing import Imported
    from paaplus.photos.platform import LocalPlatform

FolderArgument = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="A folder of photographs.")]
UserOption = Annotated[str, typer.Option(help="Whose taste: a name of your choice.")]
_NUM_REPORTED = 20


def rank(
    directory: FolderArgument,
    user: UserOption = HOME_USER,
    top: Annotated[int, typer.Option(min=1, help="How many to print, and to copy.")] = 20,
    csv: Annotated[Path | None, typer.Option(dir_okay=False, help="Write all of them into this CSV file.")] = None,
    xmp: Annotated[
        bool, typer.Option("--xmp", help="Write stars and scores as XMP into sidecars, NAME.xmp, for other programs.")
    ] = False,
    in_place: Annotated[
        bool,
        typer.Option("--in-place", help="With --xmp: into the photographs themselves, where their kind allows it."),
    ] = False,
    copy_to: Annotated[
        Path | None, typer.Option(file_okay=False, help="Copy the first ones into this new folder, in order.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Contact sheet. Default: in `photos` of PAAPLUS_HOME.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a folder of photographs into your order, with a contact sheet. The next run reads only new files."""
    if in_place and not xmp:
        raise InvalidInput("--in-place says where --xmp writes; give both")
    names.check_external_id(user)
    _check_targets(csv, sheet, copy_to, xmp=xmp)
    files = folder.find_photographs(directory, [copy_to] if copy_to else [])
    with platform.open_platform(get_settings(), user, starter.ensure) as local:
        imported = bring_in(local, files)
        ranked = ranking.rank_folder(local, imported)
        name = directory.resolve().name
        file = sheet or local.home / f"{name or 'photos'}-{user}.html"
        decision = outcome.last_decision(local)
        contact_sheet.write_contact_sheet(local, ranked, printable(name or str(directory)), user, file)
    written: dict[str, Any] = {"contact_sheet": str(file)}
    if csv is not None:
        ranking.write_csv(ranked, csv)
        written["csv"] = str(csv)
    if copy_to is not None:
        written["copied"] = ranking.copy_best(ranked, top, copy_to)
    if xmp:
        with bar("XMP") as on_progress:
            written_xmp = ranking.write_xmp(ranked, user, in_place=in_place, on_progress=on_progress)
        written["xmp"] = written_xmp.num_written
        report(written_xmp.refused, "not written")
    if as_json:
        rows = [{name: read(photo) for name, read in ranking.FIELDS.items()} for photo in ranked.photos]
        refused = [{"image": name, "reason": reason} for name, reason in ranked.refused]
        order = {"source": ranked.source, "version": ranked.version, "new_files": imported.num_new}
        print_json({"photos": rows, "refused": refused, **order, **written})
        return
    shown = ["rank", "image", "score", "stars"]
    shown += ["rated"] if any(photo.rated is not None for photo in ranked.photos[:top]) else []
    shown += ["generic_rank"]
    shown += ["burst", "best_of_burst"] if any(photo.burst is not None for photo in ranked.photos[:top]) else []
    whose = f"{whose_is(user)} order, version {ranked.version}" if ranked.source != "base" else "everybody's order"
    print_rows(
        ranked.photos[:top],
        {name: _plain(ranking.FIELDS[name]) for name in shown},
        as_json=False,
        title=f"{len(ranked.photos)} photographs, {whose}",
    )
    if ranked.source == "base":
        console.print(decision.told, markup=False, highlight=False, soft_wrap=True)
        told = f"to rate some: {command_of('rate', directory, user)}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    for name, value in written.items():
        console.print(f"{name.replace('_', ' ')}: {value}", markup=False, highlight=False, soft_wrap=True)
    report(ranked.refused, "left out")


def command_of(name: str, directory: Path, user: str) -> str:
    """`paaplus rank` or `paaplus rate` of this folder and person, to be pasted."""
    whose = [] if user == HOME_USER else ["--user", user]
    return shlex.join(["paaplus", name, str(directory), *whose])


def whose_is(user: str) -> str:
    return "your" if user == HOME_USER else f"{user}'s"


def _check_targets(csv: Path | None, sheet: Path | None, copy_to: Path | None, *, xmp: bool) -> None:
    """Refuse now what would fail after minutes of work.

    Raises:
        InvalidInput: there is no folder for a file, one path is to be two things, or the folder of copies has files.
        Unavailable: the package that writes XMP is not installed.
    """
    given = [path.resolve() for path in (csv, sheet, copy_to) if path is not None]
    if len(set(given)) < len(given):
        raise InvalidInput("--csv, --sheet and --copy-to name the same path")
    for file in filter(None, (csv, sheet)):
        require_folder_of(file)
    if copy_to is not None:
        ranking.require_empty(copy_to)
    if xmp:
        extras.require("pyexiv2")


def bring_in(local: LocalPlatform, files: list[Any]) -> Imported:
    """Import files and have their features extracted, with progress bars."""
    with bar("photographs") as on_progress:
        imported = importing.import_files(local, files, on_progress)
    with bar("features") as on_progress:
        local.extract(imported.image_ids, on_progress)
    return imported


@contextmanager
def bar(name: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar with the time that is left; it is moved by calling with what is done, and the total."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with progress_bar(*columns) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _plain(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def cell(photo: Any) -> Any:
        value = read(photo)
        return ("yes" if value else None) if isinstance(value, bool) else value

    return cell


def report(refused: list[tuple[str, str]], what: str) -> None:
    """Print files with reasons on standard error."""
    for name, reason in refused[:_NUM_REPORTED]:
        notices.print(f"{what}: {name}: {reason}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    if len(refused) > _NUM_REPORTED:
        notices.print(f"{what}: {len(refused) - _NUM_REPORTED} more; --json lists all", style="yellow")
