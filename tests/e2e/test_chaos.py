"""`paaplus chaos` as an operator runs it, shorter: every promise is kept under load while processes are killed.

On PostgreSQL a process is killed at every fault point. On SQLite at one for each kind of process: for every point,
tests/e2e/test_fault_points.py shows on both databases what holds after it, and each here takes ten seconds or more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from paaplus.faults import POINTS
from paaplus.settings import Settings
from tests.support.servers import GivenServer, RedisServer

ROOT = Path(__file__).parents[2]
MINUTES = "0.15"  # of storm, behind the drill of every fault point, which is one too; `make chaos` runs 20
DRILLED = {"postgresql": POINTS, "sqlite": ("feedback_committed", "jobs_enqueued", "trained")}
MIN_FAULTS = 2  # beside the drill: with this seed API and workers are killed first, which needs no luck


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_every_promise_is_kept_in_a_storm(
    database_kind: str, empty_database_url: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    where: list[str] = []
    if database_kind == "postgresql":
        broker: RedisServer | GivenServer = request.getfixturevalue("redis_server")
        redis.Redis.from_url(broker.url).flushdb()
        where = ["--database-url", empty_database_url, "--broker-url", broker.url]
    storm = [sys.executable, "-m", "tests.support.storm", ",".join(DRILLED[database_kind])]
    command = [*storm, "chaos", "--seed", "6", "--json",
               "--minutes", MINUTES, "--folder", tmp_path / "chaos", *where]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=2380)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["ok"]
    assert {check["promise"]: check["problems"] for check in report["checks"] if not check["ok"]} == {}
    assert set(report["fault_points"]) == set(POINTS)
    assert [point for point, reached in report["fault_points"].items() if reached] == sorted(DRILLED[database_kind])
    assert report["num_faults"] >= MIN_FAULTS, report["faults"]
    assert report["load"]["trainings"] >= 5, report["load"]
    print(json.dumps({key: report[key] for key in ("load", "faults")}))
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], capture_output=True, text=True).stdout
    assert left == "", "chaos left processes behind"


@pytest.mark.parametrize("database_kind", ["sqlite"])
def test_chaos_refuses_a_folder_and_a_database_that_are_in_use(settings: Settings, tmp_path: Path) -> None:
    from paaplus.chaos.run import Options, run_chaos
    from paaplus.errors import Conflict

    with pytest.raises(Conflict, match="not empty"):
        run_chaos(Options(0, 0.1, tmp_path), print)
    with pytest.raises(Conflict, match="table"):
        run_chaos(Options(0, 0.1, tmp_path / "new", database_url=settings.database_url), print)
