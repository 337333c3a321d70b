"""Not a script: what the scripts share. Options, runs of `paaplus evaluate`, and the files of a recorded result."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parents[1]


def study_parser(description: str | None, seeds: str) -> argparse.ArgumentParser:
    """The options that all scripts of studies have."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = os.environ.get("PAAPLUS_BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(data) if data else None)
    parser.add_argument("--split", type=Path)
    parser.add_argument("--seeds", default=seeds)
    parser.add_argument("--record", action="store_true")
    return parser


def builtin_set() -> Path:
    """The built-in data set, written if it is not there yet."""
    from paaplus.data.builtin_set.build import write_builtin_set

    folder = ROOT / "var" / "builtin"
    write_builtin_set(folder)
    return folder


def result_folder(script: str, data: Path) -> Path:
    """Today's folder of a script's results."""
    return ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{script}-{data.name}"


def run_study(
    study: str, arguments: Sequence[str], data: Path, split: Path | None, folder: Path | None, name: str | None = None
) -> None:
    """Run `paaplus evaluate STUDY` and print its tables.

    Args:
        study: name of the study.
        arguments: options of the command besides --data, --split and --out.
        data: the data folder.
        split: a split file.
        folder: where the files are kept, see `result_folder`; None: they are not kept.
        name: of the kept files, when a script runs a study several times; None: the study's name.
    """
    name = name or study
    print(f"-- {name}", flush=True)
    command = [str(Path(sys.executable).with_name("paaplus")), "evaluate", study, "--data", str(data), *arguments]
    command += ["--split", str(split)] if split else []
    if folder is None:
        subprocess.run(command, check=True)
        return
    with tempfile.TemporaryDirectory() as scratch:  # the files of every run have the same names
        subprocess.run([*command, "--out", scratch], check=True)
        folder.mkdir(parents=True, exist_ok=True)
        for file in Path(scratch).iterdir():
            shutil.move(file, folder / file.name.replace(study, name, 1))
    _strip_folders(folder / f"{name}.json")


def write_run(folder: Path, script: str, data: Path, split: Path | None, arguments: Sequence[str]) -> None:
    """Write `run.json`: the command of a recorded result, with names instead of paths, and its conditions."""
    command = ["python", f"benchmarks/{script}.py", "--data", data.name]
    command += ["--split", split.name] if split else []
    (folder / "run.json").write_text(json.dumps(run_conditions(" ".join([*command, *arguments])), indent=2) + "\n")


def record_rows(
    name: str,
    command: str,
    found: list[dict[str, object]],
    *,
    conditions: dict[str, object] | None = None,
    shown: list[dict[str, object]] | None = None,
) -> Path:
    """Keep the rows of a measurement, with what a reader needs to run it again; returns their folder.

    Args:
        name: of the files and the folder.
        command: that measured them.
        found: the rows.
        conditions: what to know besides `run_conditions`.
        shown: the rows as the Markdown file has them; None: as they are.
    """
    conditions = run_conditions(command) | (conditions or {})
    folder = ROOT / "benchmarks" / "results" / f"{datetime.now(UTC):%Y-%m-%d}-{name}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(conditions, indent=2) + "\n")
    (folder / f"{name}.json").write_text(json.dumps(found, indent=2) + "\n")
    (folder / f"{name}.md").write_text(markdown(name, conditions, found if shown is None else shown))
    return folder


def markdown(name: str, conditions: dict[str, object], found: Sequence[dict[str, object]]) -> str:
    """The rows as a table, under what they were measured with. Rows of other columns get a table of their own."""
    lines = [f"# {name}", ""]
    lines += [f"* {key.replace('_', ' ')}: {_told(value)}" for key, value in conditions.items()]
    before: tuple[str, ...] = ()
    for row in found:
        if tuple(row) != before:
            before = tuple(row)
            lines += ["", "| " + " | ".join(before) + " |", "|" + "---|" * len(before)]
        lines.append("| " + " | ".join(_told(value) for value in row.values()) + " |")
    return "\n".join(lines) + "\n"


def _told(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_told(each)}" for key, each in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def versions() -> dict[str, str]:
    """Of what decides speed."""
    names = ("numpy", "scipy", "torch", "sqlalchemy", "fastapi", "pydantic", "psycopg", "celery", "timm")
    found = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def run_conditions(command: str) -> dict[str, object]:
    """What a reader needs to repeat a run and to judge its times: command, date, commit, load and versions."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    status = [*git, "status", "--porcelain", "--", ".", ":!benchmarks/results"]  # results are no change of the code
    changed = subprocess.run(status, capture_output=True, text=True).stdout.strip()
    return {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": commit + (" with changes" if changed else ""),
        "load_average_1m": round(os.getloadavg()[0], 1),
        "num_cpus": os.cpu_count(),
        "versions": versions(),
    }


def _strip_folders(file: Path) -> None:
    """Keep the names of data and split, without the folders of this machine."""
    document = json.loads(file.read_text())
    for name in ("data", "split"):
        if document["config"].get(name):
            document["config"][name] = Path(document["config"][name]).name
    file.write_text(json.dumps(document, indent=2) + "\n")
