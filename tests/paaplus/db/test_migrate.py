"""`paaplus.db.migrate`: upgrades, checks, and databases of other versions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from paaplus.db import migrate
from paaplus.db.engine import Database, make_engine
from paaplus.errors import Conflict, InvalidInput, Unavailable


def execute(url: str, *statements: str) -> None:
    engine = make_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def test_upgrade_reaches_head_and_twice_changes_nothing(empty_database_url: str) -> None:
    assert migrate.current(empty_database_url) is None
    migrate.upgrade(empty_database_url)
    migrate.upgrade(empty_database_url)
    assert migrate.current(empty_database_url) == migrate.head()


def test_check_passes_on_a_migrated_database(database_url: str) -> None:
    migrate.check(database_url)


def test_check_names_every_difference(database_url: str) -> None:
    execute(
        database_url,
        "alter table users add column nickname varchar(10)",
        "alter table jobs add column weight integer",
        "drop index ix_jobs_turns",
        "create table leftovers (id integer primary key)",
    )
    with pytest.raises(Conflict) as error:
        migrate.check(database_url)
    for message in (
        "remove_column jobs weight",
        "remove_column users nickname",
        "add_index ix_jobs_turns",
        "remove_table leftovers",
    ):
        assert message in str(error.value)


def test_check_reports_missing_tables_before_the_first_upgrade(empty_database_url: str) -> None:
    with pytest.raises(Conflict, match="add_table feedback"):
        migrate.check(empty_database_url)


def test_require_head_accepts_the_head_only(database: Database) -> None:
    migrate.require_head(database.engine)
    for revision, advice in ((None, "run `paaplus db upgrade`"), ("from_the_future", "install a newer paaplus")):
        with database.engine.begin() as connection:
            connection.execute(sa.text("delete from alembic_version"))
            if revision:
                connection.execute(sa.text("insert into alembic_version values (:revision)"), {"revision": revision})
        with pytest.raises(Unavailable, match=advice):
            migrate.require_head(database.engine)


def test_a_database_of_a_newer_version_is_not_touched(database_url: str) -> None:
    execute(database_url, "update alembic_version set version_num = 'from_the_future'")
    with pytest.raises(Conflict, match="from_the_future"):
        migrate.upgrade(database_url)
    assert migrate.current(database_url) == "from_the_future"


def test_an_unknown_revision_is_refused(database_url: str) -> None:
    with pytest.raises(Conflict, match="nonsense"):
        migrate.downgrade(database_url, "nonsense")
    assert migrate.current(database_url) == migrate.head()


def test_an_unsupported_database_is_refused() -> None:
    with pytest.raises(InvalidInput, match="mysql"):
        migrate.upgrade("mysql://nobody@127.0.0.1/none")


UPGRADE_ELSEWHERE = """
import logging, sys
from paaplus.db import migrate
logging.basicConfig(level=logging.INFO)
migrate.upgrade(sys.argv[1])
heavy = sorted({"torch", "torchvision", "timm", "avalanche", "numpy"} & set(sys.modules))
print(migrate.current(sys.argv[1]), heavy, "alembic" in sys.modules)
"""


def start_upgrade(url: str, folder: Path) -> subprocess.Popen[str]:
    # From a folder without alembic.ini, as an installed package would run.
    command = [sys.executable, "-W", "error", "-c", UPGRADE_ELSEWHERE, url]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True)


def test_processes_that_upgrade_at_once_wait_for_each_other(empty_database_url: str, tmp_path: Path) -> None:
    """Each also shows that an upgrade imports no torch, prints nothing, and works from any folder."""
    processes = [start_upgrade(empty_database_url, tmp_path) for _ in range(2)]
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (0, f"{migrate.head()} [] True\n", "")
    migrate.check(empty_database_url)
    again, _ = start_upgrade(empty_database_url, tmp_path).communicate(timeout=60)
    assert again == f"{migrate.head()} [] False\n", "where nothing is to be done, Alembic is not imported"
