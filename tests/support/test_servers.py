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

from tests.support import server_programs, servers
from tests.support.server_programs import (
    program_of_redis_in_wheel,
    programs_of_postgres_here,
    programs_of_postgres_in_wheel,
)
from tests.support.servers import GivenServer, PostgresServer, RedisServer, new_postgres_database


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
def test_no_server_to_be_had_is_an_error_that_names_the_three_ways(monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    variable = {"postgres": servers.POSTGRES_URL, "redis": servers.REDIS_URL}[which]
    monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(server_programs, "DEBIAN_POSTGRES", Path("/nonexistent"))
    monkeypatch.setattr(server_programs, "find_spec", lambda _package: None)
    with pytest.raises(RuntimeError, match=rf"{variable}.*apt-get install.*pip install"):
        getattr(servers, which)()


@pytest.mark.skipif(sys.platform != "linux", reason="the wheels with servers are for Linux")
@pytest.mark.parametrize("which", ["postgres", "redis"])
@pytest.mark.slow
def test_the_servers_in_the_wheels_work(which: str) -> None:
    """What a machine without PostgreSQL and Redis falls back to."""
    if which == "postgres":
        programs = programs_of_postgres_in_wheel()
        assert programs
        server: PostgresServer | RedisServer = PostgresServer(programs)
    else:
        program = program_of_redis_in_wheel()
        assert program
        server = RedisServer(program)
    try:
        server.start()
        server.stop()
        server.start()
    finally:
        server.close()
    assert not server.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs another name")
@pytest.mark.slow
def test_root_runs_postgres_where_no_other_user_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a virtual environment in /root: the programs are for root's eyes only, and refuse root."""

    def nobody_there(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr(server_programs.pwd, "getpwnam", nobody_there)
    programs = programs_of_postgres_here() or programs_of_postgres_in_wheel()
    assert programs
    try:
        server = PostgresServer(programs)
    except RuntimeError as error:
        pytest.skip(str(error))  # a container that forbids user namespaces
    assert server.prefix[:2] == ["unshare", "--user"]
    try:
        server.start()
    finally:
        server.close()


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes in /proc")
def test_servers_end_when_pytest_is_killed(tmp_path: Path) -> None:
    script = """
        import sys, time
        from tests.support import servers
        for server in (servers.postgres(), servers.redis()):
            server.start()
            print(server.folder, flush=True)
        time.sleep(600)
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_TEST_")}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as stand_in_for_pytest:
        assert stand_in_for_pytest.stdout is not None
        folders = [stand_in_for_pytest.stdout.readline().strip() for _ in range(2)]
        assert all(processes_that_name(folder) for folder in folders)
        stand_in_for_pytest.send_signal(signal.SIGKILL)

    deadline = time.monotonic() + 60
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
