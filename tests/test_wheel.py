"""What a built package holds: one top-level name, every file of it, and commands that work from an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from paaplus import __version__
from paaplus.db.engine import Database
from paaplus.db.tables.governance import KeyScope
from paaplus.extras import EXTRAS
from paaplus.services.users import keys
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION

ROOT = Path(__file__).parents[1]
SHIPPED = (".py", ".json", ".safetensors", "card.md", ".html", ".css", ".js", ".svg")
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
        if name.endswith(SHIPPED) and top in ("paaplus", *FOLDERS):
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


NOT_INSTALLED = """
import sys
from importlib.machinery import PathFinder

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        heavy = ("torch", "torchvision", "timm", "avalanche", "celery", "kombu", "skimage", "sklearn", "matplotlib")
        return None if name.partition(".")[0] in heavy else super().find_spec(name, path, target)

sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""

SERVE = """
import threading, time, uvicorn
from paaplus.api.app import create_app
from paaplus.client import Client
from paaplus.settings import Settings

url, key, image, home = sys.argv[1:]
server = uvicorn.Server(uvicorn.Config(create_app(Settings(home=home, database_url=url)), port=0, log_config=None))
thread = threading.Thread(target=server.run)
thread.start()
while not server.started:
    assert thread.is_alive(), "the API has ended"
    time.sleep(0.02)
[port] = [socket.getsockname()[1] for each in server.servers for socket in each.sockets]
with Client(f"http://127.0.0.1:{port}", key) as client:
    client.make_user("zoe")
    client.like("zoe", image)
    [item] = client.predict("zoe", [image])
server.should_exit = True
thread.join()
print(item.status, item.scores["beauty"])
"""


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_api_and_client_of_the_wheel_serve_a_prediction_without_the_extras(
    installed: Path, database: Database, settings: Settings, tmp_path: Path
) -> None:
    deployment = Deployment(database, settings, num_images=2)
    with database.session() as session:
        key = keys.create(session, name="a", scope=KeyScope.APPLICATION, application=APPLICATION, actor="test").token
    image, home = str(deployment.images[0]), str(settings.home)
    told = run_installed(installed, tmp_path, NOT_INSTALLED + SERVE, settings.database_url, key, image, home)
    assert told.splitlines()[-1] == f"scored {float(deployment.generic_IA[0, 0])}"


LACKING = """
import sys
from contextlib import suppress
from paaplus.cli.main import main
for command in sys.argv[1:]:
    sys.argv = ["paaplus", *command.split()]
    print(f"{command}:", file=sys.stderr)
    with suppress(SystemExit):
        main()
sys.exit(1)
"""


def test_command_that_needs_an_extra_names_it(installed: Path, tmp_path: Path) -> None:
    commands = ("worker", "scheduler", "up", "demo")
    with pytest.raises(AssertionError) as caught:
        run_installed(installed, tmp_path, NOT_INSTALLED + LACKING, *commands)
    lines = r"^\s*(\w+):\n(?:(?!\n\s*\w+:\n).)*?pip install 'paaplus\[(\w+)\]'"
    told = re.findall(lines, str(caught.value), re.MULTILINE | re.DOTALL)
    assert told == [("worker", "worker"), ("scheduler", "worker"), ("up", "worker"), ("demo", "demo")]
    assert list(tmp_path.iterdir()) == [], "nothing is made before it is known that it can be used"


def test_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {
        extra: {re.split(r"[^\w.-]", one)[0].replace("_", "-").lower() for one in requirements}
        for extra, requirements in project["optional-dependencies"].items()
    }
    of_module = packages_distributions()
    for module, extra in EXTRAS.items():
        if module in of_module:  # `body` is not installed for tests
            assert {name.replace("_", "-").lower() for name in of_module[module]} & wanted[extra], module
    brought = {name.replace("_", "-").lower() for module in EXTRAS for name in of_module.get(module, [])}
    assert wanted["worker"] <= brought, "what the extra brings is named when it is missing"
    base = {re.split(r"[^\w.-]", one)[0] for one in project["dependencies"]}
    assert not base & {"torch", "torchvision", "timm", "avalanche-lib", "celery", *wanted["demo"]}


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
