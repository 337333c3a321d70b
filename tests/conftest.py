"""Fixtures that every test may use: real servers, fresh migrated databases, settings."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from sqlalchemy.engine import make_url

from paaplus import garbage
from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.settings import Settings, get_settings
from tests.support import databases, scratch, servers, statement_cache, tiers
from tests.support.clean_databases import CleanDatabases
from tests.support.servers import GivenServer, PostgresServer, RedisServer, new_postgres_database

# A developer's own deployment must not leak into the tests, nor into the processes that they start.
for name in [name for name in os.environ if name.startswith("PAAPLUS_") and not name.startswith("PAAPLUS_TEST_")]:
    del os.environ[name]
# One thread of linear algebra per process: several fight over few cores, and sums could differ between machines.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

# Nor does any process that a test starts compile our modules anew: `PYTHONDONTWRITEBYTECODE`, usual in containers.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

scratch.use_memory_where_there_is_enough()
statement_cache.share()

# Examples have no deadline of their own: a loaded machine is not a failure; pytest-timeout bounds the test.
hypothesis.settings.register_profile("paaplus", deadline=None)
hypothesis.settings.load_profile("paaplus")


# Collection makes a million objects that stay: looking for garbage among them takes seconds and finds nothing.
gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage from now on, of what tests make, and as rarely as a process of the API does."""
    garbage.leave_out_what_is_there()
    gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no file that the quick tier takes no test of."""
    only_quick = config.option.markexpr == "quick"
    return True if only_quick and tiers.holds_no_quick_test(collection_path, config.rootpath) else None


@pytest.hookimpl(tryfirst=True)  # before pytest reads marks
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases.give_turn(metafunc)


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the quick tests; begin with the longest; skip, visibly, what needs a GPU where there is none."""
    tiers.mark_quick(items)
    if hasattr(config, "workerinput"):  # of xdist
        tiers.sort_longest_first(items)
    needs_gpu = [item for item in items if item.get_closest_marker("gpu")]
    if needs_gpu:
        import torch  # here only: most runs of a few tests need no torch, and it takes seconds to import

        if not torch.cuda.is_available():
            for item in needs_gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA GPU"))


@pytest.hookimpl(optionalhook=True)  # there is no such hook without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> tiers.FilesAndLongTests | None:
    return tiers.FilesAndLongTests(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _fresh_settings() -> Iterator[None]:
    """What a test put into the environment must not live on in the cached settings."""
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def features_cache(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features by content, for tests with the same real photographs, and compiled networks: of all test processes.

    Two that need the same photograph at the same moment both extract it: files are written all at once.
    """
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if hasattr(request.config, "workerinput") else own) / "features"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer | GivenServer]:
    """A running PostgreSQL: `url`, and `stop()`, `start()`, `with down():` for tests of its absence."""
    server = servers.postgres()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer | GivenServer]:
    """A running Redis: `url`, and `stop()`, `start()`, `with down():` for tests of its absence."""
    server = servers.redis()
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    path = tmp_path_factory.mktemp("template") / "paaplus.db"
    migrate.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrate_sqlite(sqlite_template: Path) -> Callable[[str], None]:
    """Makes a migrated SQLite database where a URL says. Migrating takes a second; for tests that are not about it."""

    def copy(url: str) -> None:
        file = make_url(url).database
        assert file
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sqlite_template, file)

    return copy


@pytest.fixture(scope="module")
def sqlite_settings(migrate_sqlite: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a place with a migrated SQLite database, for a deployment that the tests of a file copy."""
    home = tmp_path_factory.mktemp("deployment")  # not of the environment, which a test may have changed before
    settings = Settings(home=home, database_url=f"sqlite:///{home / 'paaplus.db'}", stream_s=0.3)
    migrate_sqlite(settings.resolved_database_url)
    return settings


@pytest.fixture(scope="session")
def postgres_template(postgres_server: PostgresServer | GivenServer) -> Iterator[str]:
    """The name of a migrated PostgreSQL database, to be cloned."""
    with new_postgres_database(postgres_server.url) as url:
        migrate.upgrade(url)
        name = make_url(url).database
        assert name
        yield name


@pytest.fixture(scope="session")
def clean_postgres_databases(
    postgres_server: PostgresServer | GivenServer, postgres_template: str
) -> Iterator[CleanDatabases]:
    databases = CleanDatabases(postgres_server.url, postgres_template)
    yield databases
    databases.close()


@pytest.fixture(params=databases.KINDS)
def database_kind(request: pytest.FixtureRequest) -> str:
    """A test that uses a database runs on both, or by turns: tests/support/databases.py."""
    return str(request.param)


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database at the newest revision that holds no rows."""
    if database_kind == "sqlite":
        path = tmp_path / "paaplus.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        yield request.getfixturevalue("clean_postgres_databases").get()


@pytest.fixture
def empty_database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if database_kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with new_postgres_database(request.getfixturevalue("postgres_server").url) as url:
            yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.dispose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """A deployment's settings: its own home folder, the test's database, the embedded broker."""
    return Settings(home=tmp_path / "home", database_url=database_url, stream_s=0.3)
