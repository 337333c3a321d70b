"""`paaplus data`: published data sets, and the built-in one, as data folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, print_record, print_rows, require_makeable
from paaplus.errors import InvalidInput

app = typer.Typer()


@app.command("list")
def list_datasets(as_json: JsonOption = False) -> None:
    """The data sets that can be imported, with where to get them."""
    from paaplus.data.benchmarks.datasets import DATASETS

    rows = list(DATASETS.items())
    columns = {
        "name": lambda one: one[0],
        "about": lambda one: one[1].about,
        "source": lambda one: one[1].source,
        "layout": lambda one: " ".join((one[1].read.__doc__ or "").split()),
    }
    print_rows(rows, columns, as_json=as_json, title="data sets", json_only=("layout",))


@app.command("import")
def import_(
    dataset: Annotated[str, typer.Argument(help="See `paaplus data list`.")],
    src: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The unpacked release.")],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder: images/, ratings.csv, ...")],
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images; default: hard links where possible.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a published data set as a data folder, which every `paaplus evaluate` command reads."""
    from paaplus.data.benchmarks.datasets import import_dataset

    print_record(import_dataset(dataset, src, target, copy), as_json=as_json)


@app.command()
def pictures(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="The folder, for example var/pictures.")],
    as_json: JsonOption = False,
) -> None:
    """Write 40 pictures to try things with: 11 photographs of installed packages, and 29 painted scenes."""
    from paaplus.data.builtin_set.pictures import write_pictures

    require_makeable(target)
    files = write_pictures(target)
    print_record({"folder": str(target), "pictures": [file.stem for file in files]}, as_json=as_json)


@app.command()
def simulated(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, for example var/simulated.")],
    as_json: JsonOption = False,
) -> None:
    """Write a data folder to try `paaplus evaluate` with: 800 pictures, and the ratings of 72 simulated people.

    The numbers show that a study runs, and nothing about people.
    """
    from paaplus.data.builtin_set.build import write_builtin_set
    from paaplus.data.builtin_set.photographs import require_installed

    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInput(f"{target} is not an empty folder")
    require_installed()  # before anything is written
    written = write_builtin_set(target)
    num_images = written.num_variants * len(written.photographs + written.synthetic_scenes)
    print_record({"folder": str(target), "num_people": written.num_people, "num_images": num_images}, as_json=as_json)
