"""Make small wrong edits one by one in a copy of the project, and see that the tests named with each find it.

    python -m tests.mutants.run [--only TEXT] [--jobs N]      (make mutants)

An edit is *found* if a test fails in its own body. It is not if all tests pass, if a test cannot even be set up or
collected, if the edited file cannot be imported, or if the tests do not end: then the edit or its tests must change.
The table of results is written to `tests/mutants/results.md`; with --only, the rows of these edits alone.

Each run is a fork of this process, which has imported the libraries already: a run costs what its tests cost.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LIBRARIES = ("numpy", "scipy.stats", "sqlalchemy", "alembic", "torch", "pydantic", "fastapi", "celery",
             "structlog", "PIL.Image", "pytest", "rich.console", "typer")  # fmt: skip
FOUND, SURVIVED, BROKEN = "found", "survived", "broken"


@dataclass(frozen=True)
class Edit:
    """One wrong edit: `old` occurs once in `file`."""

    name: str
    promise: str
    file: str
    old: str
    new: str
    tests: list[str]

    def apply(self, root: Path) -> None:
        path = root / self.file
        text = path.read_text()
        assert text.count(self.old) == 1, f"{self.name}: {self.file} has it {text.count(self.old)} times"
        path.write_text(text.replace(self.old, self.new))


def edits() -> list[Edit]:
    return [Edit(**entry) for entry in tomllib.loads((HERE / "edits.toml").read_text())["edit"]]


class Bodies:
    """A pytest plugin that counts failures in the bodies of tests, and everything else that went wrong."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.broken: list[str] = []
        self.passed = 0

    def pytest_runtest_logreport(self, report: object) -> None:
        if report.when == "call" and report.failed:  # type: ignore[attr-defined]
            self.failed.append(report.nodeid)  # type: ignore[attr-defined]
        elif report.failed:  # type: ignore[attr-defined]
            self.broken.append(report.nodeid)  # type: ignore[attr-defined]
        elif report.when == "call" and report.passed:  # type: ignore[attr-defined]
            self.passed += 1  # type: ignore[attr-defined]

    def pytest_collectreport(self, report: object) -> None:
        if report.failed:  # type: ignore[attr-defined]
            self.broken.append(report.nodeid)  # type: ignore[attr-defined]


def module_of(file: str) -> str:
    name = file.removesuffix(".py").replace("/", ".")
    return name if name.startswith("paaplus.") else f"paaplus.{name}"


def in_fork(root: Path, edit: Edit | None, tests: list[str], answer: Path) -> None:
    """Run tests in this (forked) process and write what became of them."""
    import pytest

    os.chdir(root)
    sys.path[:] = [str(root), *(entry for entry in sys.path if Path(entry or ".").resolve() != ROOT)]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "paaplus")]:
        del sys.modules[name]  # this file's own package: the copy has one too
    os.environ["PYTHONPATH"] = str(root)  # of processes that tests start
    os.environ["PAAPLUS_TEST_NO_TURNS"] = "1"  # all tests are there on SQLite, which is what is run
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 1)
    os.dup2(devnull, 2)
    if edit is not None:
        try:
            importlib.import_module(module_of(edit.file))
        except BaseException as error:
            answer.write_text(f"{BROKEN}\t{type(error).__name__} on import")
            return
    bodies = Bodies()
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "-k",
        "not postgresql",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
        f"--basetemp={root}/.tmp-{os.getpid()}",
    ]
    pytest.main([*options, *tests], plugins=[bodies])
    if bodies.failed:
        answer.write_text(f"{FOUND}\t{bodies.failed[0]}")
    elif bodies.broken:
        answer.write_text(f"{BROKEN}\t{bodies.broken[0]}")
    else:
        answer.write_text(f"{SURVIVED}\t{bodies.passed} tests pass")


def run(root: Path, edit: Edit | None, tests: list[str], limit_s: float) -> tuple[str, str, float]:
    """What became of the tests in a fork of this process, a note, and seconds."""
    answer, started = root / f".answer-{time.monotonic_ns()}", time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            in_fork(root, edit, tests, answer)
        except BaseException as error:
            answer.write_text(f"{BROKEN}\t{type(error).__name__}: {error}")
        finally:
            os._exit(0)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() - started > limit_s:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return BROKEN, f"no end after {limit_s:.0f} s", time.monotonic() - started
        time.sleep(0.05)
    outcome, _, note = (answer.read_text() if answer.exists() else f"{BROKEN}\tthe process died").partition("\t")
    return outcome, note, time.monotonic() - started


def copy_of_project(target: Path) -> Path:
    """All files that git tracks or would, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_symlink() or source.exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name, follow_symlinks=False)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="edits whose name or file contains this")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds for one edit")
    parser.add_argument("--out", type=Path, default=HERE / "results.md")
    options = parser.parse_args()
    chosen = [edit for edit in edits() if options.only in edit.name or options.only in edit.file]
    for name in LIBRARIES:
        importlib.import_module(name)
    rows: list[tuple[Edit, str, str, float]] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = copy_of_project(Path(folder))
        for number, edit in enumerate(chosen, 1):
            original = (root / edit.file).read_text()
            edit.apply(root)
            outcome, note, seconds = run(root, edit, edit.tests, options.limit)
            (root / edit.file).write_text(original)
            rows.append((edit, outcome, note, seconds))
            print(f"{number}/{len(chosen)} {outcome:8} {seconds:5.0f} s  {edit.name}: {note}", flush=True)
            write(options.out, rows, is_part=bool(options.only))
    wrong = [edit.name for edit, outcome, _, _ in rows if outcome != FOUND]
    print(f"{len(rows) - len(wrong)} of {len(rows)} found" + "".join(f"\n  not found: {name}" for name in wrong))
    sys.exit(1 if wrong else 0)


def write(file: Path, rows: list[tuple[Edit, str, str, float]], *, is_part: bool) -> None:
    """Write the results. Those of a part replace the rows of their edits, and new edits come last."""
    new = {edit.name: _line(edit, outcome, note, seconds) for edit, outcome, note, seconds in rows}
    if is_part and file.exists():
        kept = file.read_text().splitlines()
        lines = [new.pop(line.removeprefix("| ").partition(" |")[0], line) for line in kept]
    else:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
        ).stdout.strip()
        found = sum(outcome == FOUND for _, outcome, _, _ in rows)
        lines = [
            "# Mutants",
            "",
            f"`make mutants`, {time.strftime('%Y-%m-%d')}, commit {commit}: {found} of {len(rows)} edits found.",
            "",
            "| edit | breaks | file | outcome | by | s |",
            "|---|---|---|---|---|---|",
        ]
    file.write_text("\n".join([*lines, *new.values()]) + "\n")


def _line(edit: Edit, outcome: str, note: str, seconds: float) -> str:
    by = note.split("::")[-1].replace("|", "/")
    return f"| {edit.name} | {edit.promise} | {edit.file} | {outcome} | {by} | {seconds:.0f} |"


if __name__ == "__main__":
    main()
