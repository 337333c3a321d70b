"""Trainings and requests a second of the production layout: PostgreSQL, Redis, and 1, 2 or 4 workers or APIs.

    python benchmarks/layout.py [--workers 1,2,4] [--apis 1,2] [--users 192] [--seconds 4] [--record]

Servers, workers and APIs are processes of their own on this machine, which all share its processors; the PostgreSQL is
that of the tests, which does not wait for the disk. A base model of the shape of `lite2` (simulated people, random
features). `trainings`: workers are stopped while users get 40 ratings each, and go on together; from then to the last
training. `requests`: four clients in a process of their own ask for 64 images of one user, or post one event; processor
seconds of all APIs and of PostgreSQL tell what bounds them. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from processes import free_port, processor_s, running, signalled, until_ready
from recording import ROOT, record_rows
from training import APPLICATION, Bench

from paaplus.db.tables import JobRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.jobs import JobState
from paaplus.processes import QUIET, api_command, scheduler_command, worker_command
from paaplus.services import scheduling
from paaplus.services.users import keys

WAIT_S, NUM_IMAGES, NUM_CLIENTS = 300.0, 1_000, 4
OPEN = (JobState.QUEUED, JobState.RUNNING)


@contextmanager
def servers() -> Iterator[tuple[str, str, int]]:
    """URLs of a PostgreSQL database and of a Redis, and the process that started the first."""
    sys.path.insert(0, str(ROOT))
    from tests.support import servers

    with ExitStack() as stack:
        postgres, redis = servers.postgres(), servers.redis()
        for server in (postgres, redis):
            server.start()
            stack.callback(server.close)
        url = stack.enter_context(servers.new_postgres_database(postgres.url))
        assert postgres._guardian is not None
        yield url, redis.url, postgres._guardian.pid


def until_trained(bench: Bench) -> None:
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until:
        with bench.database.read_session() as session:
            if not session.execute(sa.select(sa.func.count()).where(JobRow.state.in_(OPEN))).scalar_one():
                return
        time.sleep(0.02)
    raise TimeoutError("jobs are left")


def trainings(bench: Bench, environment: dict[str, str], num_workers: int, num_users: int, database: int) -> Any:
    """A row: how many users a second so many workers train."""
    workers = [worker_command(["cpu"], pool="solo", name=f"w{n}@layout", more=QUIET) for n in range(num_workers)]
    with running([*workers, scheduler_command(QUIET)], environment) as pids:
        for user in bench.add_users(2 * num_workers):  # warms up
            bench.rate(user, 40)
        scheduling.scan(bench.database, bench.settings)
        until_trained(bench)
        time.sleep(5)  # every worker is there
        signalled(pids, signal.SIGSTOP)
        for user in bench.add_users(num_users):
            bench.rate(user, 40)
        scheduling.scan(bench.database, bench.settings)
        before, before_database, clock = [processor_s(pid) for pid in pids], processor_s(database), time.perf_counter()
        signalled(pids, signal.SIGCONT)
        until_trained(bench)
        wall_s = time.perf_counter() - clock
        cpu_s = sum(processor_s(pid) for pid in pids) - sum(before)
        return {
            "what": f"trainings, {num_workers} worker(s)",
            "per_s": num_users / wall_s,
            "cpu_ms_of_workers": 1e3 * cpu_s / num_users,
            "cpu_ms_of_database": 1e3 * (processor_s(database) - before_database) / num_users,
        }


def ask(ports: list[int], token: str, path: str, bodies: list[str], seconds: float, counted: Any) -> None:
    """Clients that ask one API each, over kept connections, for so many seconds."""

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", ports[number % len(ports)], timeout=60)
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        until, count = time.perf_counter() + seconds, 0
        while time.perf_counter() < until:
            body = bodies[(number + NUM_CLIENTS * count) % len(bodies)]
            connection.request("POST", path, body.replace("EVENT", f"{os.getpid()}-{number}-{count}"), headers)
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 201), answer.status
            count += 1
        with counted.get_lock():
            counted.value += count

    threads = [threading.Thread(target=client, args=(number,)) for number in range(NUM_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def requests(
    bench: Bench, environment: dict[str, str], num_apis: int, token: str, seconds: float, database: int
) -> list[dict[str, Any]]:
    """Rows: how many requests a second so many APIs answer."""
    ports = [free_port() for _ in range(num_apis)]
    with ExitStack() as stack:
        pids = [
            stack.enter_context(running([api_command()], environment | {"PAAPLUS_API_PORT": str(port)}))[0]
            for port in ports
        ]
        for port in ports:
            until_ready(port)
        users, images = [str(user) for user in bench.add_users(16)], [str(image) for image in bench.images]
        event = {"event_id": "EVENT", "kind": "rating", "ratings": {"beauty": 5}, "scale": {"min": 0, "max": 10}}
        kinds = {
            "predictions of 64 images": (
                "/v1/predictions",
                [json.dumps({"users": [user], "images": images[:64], "receipts": False}) for user in users],
            ),
            "single events": (
                "/v1/feedback",
                [json.dumps({**event, "user": user, "image": images[n]}) for n, user in enumerate(users)],
            ),
        }
        rows = []
        for what, (path, bodies) in kinds.items():
            for measured_s in (1.0, seconds):  # the first warms up
                counted = multiprocessing.Value("i", 0)
                before = sum(processor_s(pid) for pid in pids), processor_s(database)
                asking = multiprocessing.Process(target=ask, args=(ports, token, path, bodies, measured_s, counted))
                asking.start()
                asking.join()
            after = sum(processor_s(pid) for pid in pids), processor_s(database)
            num = max(counted.value, 1)
            rows.append(
                {
                    "what": f"{what}, {num_apis} API(s)",
                    "per_s": num / seconds,
                    "cpu_ms_of_apis": 1e3 * (after[0] - before[0]) / num,
                    "cpu_ms_of_database": 1e3 * (after[1] - before[1]) / num,
                }
            )
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--apis", default="1,2")
    parser.add_argument("--users", type=int, default=192)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    multiprocessing.set_start_method("spawn")
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder, servers() as (url, broker, database):
        bench = Bench(Path(folder), 16, database_url=url, broker_url=broker)
        bench.settings.feedback_per_user_per_day = 0
        bench.add_images(NUM_IMAGES)
        environment = {
            **os.environ, "PAAPLUS_HOME": folder, "PAAPLUS_DATABASE_URL": url, "PAAPLUS_BROKER_URL": broker,
            "PAAPLUS_LOG_LEVEL": "WARNING", "PAAPLUS_REQUESTS_PER_MINUTE": "0",
            "PAAPLUS_FEEDBACK_PER_USER_PER_DAY": "0", "PAAPLUS_FEEDBACK_PER_KEY_PER_DAY": "0",
            "PAAPLUS_PREDICTIONS_PER_KEY_PER_DAY": "0", "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        with bench.database.session() as session:
            token = keys.create(
                session, name="layout", scope=KeyScope.APPLICATION, application=APPLICATION, actor="layout"
            ).token
        for num in [int(num) for num in options.workers.split(",")]:
            found.append(trainings(bench, environment, num, options.users, database))
            show(found[-1])
        for num in [int(num) for num in options.apis.split(",")]:
            for row in requests(bench, environment, num, token, options.seconds, database):
                found.append(row)
                show(row)
        bench.database.dispose()
    if options.record:
        given = f"--workers {options.workers} --apis {options.apis} --users {options.users}"
        record_rows("layout", f"python benchmarks/layout.py {given} --seconds {options.seconds:g}", found)


def show(row: dict[str, object]) -> None:
    print(" | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()), flush=True)


if __name__ == "__main__":
    main()
