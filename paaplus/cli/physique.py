"""`paaplus physique`: data sets in the layout of PhysiqueAA50K. Needs no database."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from paaplus.cli.common import JsonOption, console, print_json, print_record
from paaplus.errors import InvalidInput

app = typer.Typer()
_MAX_TOLD = 50


@app.command()
def validate(
    data: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="The data set's folder.")],
    image_dir: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Default: images/ in the data set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check all rows of all CSV files, and print the file and line of each error. Exit code 1 if there is one."""
    from paaplus.data.physique import reader

    num_rows, problems = reader.validate(data, image_dir)
    counts = Counter(problem.severity for problem in problems)
    if as_json:
        told = [{"file": str(p.file), "line": p.line, "severity": p.severity, "message": p.message} for p in problems]
        print_json({"num_rows": num_rows, "problems": told})
    else:
        for problem in problems[:_MAX_TOLD]:
            console.print(f"{problem.severity}: {problem}", highlight=False, markup=False, soft_wrap=True)
        if len(problems) > _MAX_TOLD:
            console.print(f"and {len(problems) - _MAX_TOLD} more; --json prints all", highlight=False)
        summary = f"{num_rows} rows, {counts['error']} errors, {counts['warning']} warnings"
        console.print(summary, highlight=False)
    if counts["error"]:
        raise typer.Exit(1)


@app.command("make-miniature")
def make_miniature(
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write; created if needed.")],
    num_images: Annotated[int, typer.Option(min=8, help="Number of drawn figures; a quarter is for validation.")] = 320,
    num_vertices: Annotated[int, typer.Option(min=64, help="Vertices of a mesh; SMPL-X has 10475.")] = 10_475,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Write a SYNTHETIC data set: drawn figures whose build and pose determine their scores. No real people."""
    from paaplus.data.physique.miniature import write_miniature

    if out.is_dir() and any(out.iterdir()):
        raise InvalidInput(f"{out} is not empty")
    write_miniature(out, num_images, num_vertices, seed)
    record = {"folder": str(out), "num_images": num_images, "num_vertices": num_vertices, "seed": seed}
    print_record({**record, "kind": "synthetic"}, as_json=as_json)


@app.command("convert-meshes")
def convert_meshes(
    cache: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The release's cache of 7-tuples.")],
    out: Annotated[Path, typer.Option(file_okay=False, help="Folder to write, e.g. DIR/meshes.")],
    as_json: JsonOption = False,
) -> None:
    """Convert the release's mesh cache, a torch file, to safetensors. No code in the file is run."""
    from paaplus.data.physique.meshes import convert_cache

    num = convert_cache(cache, out)
    print_record({"folder": str(out), "num_bodies": num}, as_json=as_json)
