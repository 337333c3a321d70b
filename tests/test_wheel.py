"""What a built package holds: one top-level name, every file of it, and commands that work from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from paaplus import __version__

ROOT = Path(__file__).parents[1]
FOLDERS = ("api", "workers", "migrations")  # real folders of the repository, parts of `paaplus` when imported
BUILD = "from setuptools import build_meta; import sys; print(getattr(build_meta, f'build_{sys.argv[1]}')(sys.argv[2]))"


def tracked_files() -> set[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return {name for name in listed.stdout.splitlines() if (ROOT / name).exists()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tracked files, copied: building in the checkout would leave files in it."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked_files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_symlink():
            copy.symlink_to((ROOT / name).readlink())
        else:
            copy.write_bytes((ROOT / name).read_bytes())
    return folder


def build(kind: str, source: Path, folder: Path) -> Path:
    """Build a wheel or an sdist with this environment's setuptools, as pip does, without a network."""
    done = subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(folder)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the wheel's content, as site-packages does."""
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_installed(installed: Path, home: Path, program: str, *arguments: str) -> str:
    """Run Python code in the empty folder `home`, with `paaplus` from the wheel and its requirements from here.

    -S and -P: neither the editable install of this environment nor the working folder is on the path.
    """
    requirements = [path for path in sys.path if path.endswith("site-packages")]
    path = f"import sys; sys.path[:0] = {[str(installed), *requirements]!r}\n"
    done = subprocess.run(
        [sys.executable, "-S", "-P", "-c", path + program, *arguments],
        cwd=home,
        env={name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PAAPLUS_HOME")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


COMMAND = """
import sys
import paaplus
assert paaplus.__file__.startswith(sys.path[0]), paaplus.__file__
sys.argv[0] = "paaplus"
from paaplus.cli.main import main
main()
"""


def test_wheel_claims_one_name_and_holds_every_module_as_a_file(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        links = [entry.filename for entry in archive.infolist() if entry.external_attr >> 28 == 0o12]
    assert links == []
    assert {name.split("/")[0] for name in names} == {"paaplus", f"paaplus-{__version__}.dist-info"}
    expected = {"paaplus/py.typed", "paaplus/migrations/script.py.mako"}
    for name in tracked_files():
        top = name.split("/")[0]
        if name.endswith((".py", ".json", ".safetensors", "card.md")) and top in ("paaplus", *FOLDERS):
            expected.add(name if top == "paaplus" else f"paaplus/{name}")
    assert any(name.startswith("paaplus/migrations/versions/") for name in expected)
    assert {name for name in names if not name.startswith("paaplus-")} == expected


def test_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", source, tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [unpacked] = (tmp_path / "unpacked").iterdir()
    again = build("wheel", unpacked, tmp_path)
    with zipfile.ZipFile(wheel) as first, zipfile.ZipFile(again) as second:
        assert set(first.namelist()) == set(second.namelist())


def test_commands_of_the_wheel_work_from_an_empty_folder(installed: Path, tmp_path: Path) -> None:
    assert run_installed(installed, tmp_path, COMMAND, "--version") == f"{__version__}\n"
    assert list(tmp_path.iterdir()) == []
    run_installed(installed, tmp_path, COMMAND, "db", "upgrade")
    assert "what this version expects" in run_installed(installed, tmp_path, COMMAND, "db", "check")
    assert (tmp_path / "var" / "paaplus.db").exists()


def test_api_and_workers_of_the_wheel_can_be_imported(installed: Path, tmp_path: Path) -> None:
    program = "import sys, paaplus.api.app, paaplus.workers.tasks\nprint(paaplus.api.app.__file__)\n"
    assert run_installed(installed, tmp_path, program).startswith(str(installed))


def test_folders_are_links_with_the_real_content_at_the_top() -> None:
    for name in FOLDERS:
        assert (ROOT / name).is_dir()
        assert not (ROOT / name).is_symlink()
        assert (ROOT / "paaplus" / name).readlink() == Path("..") / name


def test_nothing_imports_a_folder_by_its_own_name() -> None:
    names = "|".join(FOLDERS)
    wrong = re.compile(
        rf"^\s*(?:from|import)\s+(?:{names})\b"  # an import
        rf"|-m['\", ]+(?:{names})\b"  # a process
        rf"|['\"\s](?:{names})\.(?:app|tasks|env|__main__)\b",  # a path of modules in a string or in a document
        re.MULTILINE,
    )
    suffixes = (".py", ".md", ".toml", ".ini", ".mako", ".yml", ".yaml", ".sh")
    found = {
        name: match.group(0)
        for name in tracked_files()
        if (name.endswith(suffixes) or name == "Makefile") and name != "tests/test_wheel.py"
        if not name.startswith("benchmarks/results/")
        if (match := wrong.search((ROOT / name).read_text(encoding="utf-8")))
    }
    assert found == {}
