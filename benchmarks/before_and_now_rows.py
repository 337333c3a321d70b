"""Not a script: what `before_and_now.py` measures. Each row is measured in one turn of one platform.

A row answers with numbers by what they are. A number is the better the smaller it is, unless it is one `a second`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import sqlite3
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from signal import SIGCONT, SIGSTOP

import freshness
import numpy as np
import serving
import sqlalchemy as sa
from platforms import NEVER, NotThereError, Platform, answer, until_at_rest, until_each
from processes import PAAPLUS, clock_s, family, memory_mb, processor_s, signalled, started

Found = dict[str, float]
RATES = (50, 100, 200)


@dataclass(frozen=True)
class Sizes:
    """How much each turn measures.

    Attributes:
        seconds: of each kind of request.
        images: that users rate.
        fresh: users whose freshness is measured.
        histories: ratings of the users who are trained alone.
        repeats: trainings of each of these.
        extracted: photographs.
        due: users whom a scan finds.
        rolled_back: users who are rolled back.
        rest_s, idle_s: before and while an idle platform is measured.
        rows: events in the database, before bytes are counted.
    """

    seconds: float = 2.0
    images: int = 400
    fresh: int = 8
    histories: tuple[int, ...] = (10, 1_000, 10_000)
    repeats: int = 3
    extracted: int = 16
    due: int = 1_000
    rolled_back: int = 16
    rest_s: float = 5.0
    idle_s: float = 15.0
    rows: int = 10_000


QUICK = Sizes(0.5, 60, 2, (10, 100), 1, 4, 50, 4, 1.0, 2.0, 1_000)


def help_of_commands(platform: Platform, _turn: int, _sizes: Sizes) -> Found:
    return _start_of(platform, "`paaplus --help`", [PAAPLUS, "--help"])


def import_of_api(platform: Platform, _turn: int, _sizes: Sizes) -> Found:
    return _start_of(platform, "import of the API", [sys.executable, "-c", f"import {platform.module('api')}.app"])


def _start_of(platform: Platform, what: str, command: list[str]) -> Found:
    """Bytecode is kept, as that of installed packages is; a first run in each turn makes it."""
    platform.home.mkdir(parents=True, exist_ok=True)
    started(command, platform.environment, platform.home)
    cpu_s, wall_s = started(command, platform.environment, platform.home)
    return {f"{what}, processor s": cpu_s, f"{what}, s on the wall": wall_s}


def first_start(platform: Platform, turn: int, _sizes: Sizes) -> Found:
    """Once: a home is new only once."""
    platform.ensure_running()
    if turn:
        return {}
    assert platform.first_start is not None
    wall_s, cpu_s = platform.first_start
    return {"`paaplus up` in an empty home, s until ready": wall_s, "`paaplus up` in an empty home, processor s": cpu_s}


def start(platform: Platform, _turn: int, _sizes: Sizes) -> Found:
    platform.stop()
    wall_s, cpu_s = platform.start()
    return {"`paaplus up` again, s until ready": wall_s, "`paaplus up` again, processor s": cpu_s}


def idle(platform: Platform, _turn: int, sizes: Sizes) -> Found:
    """All processes of `paaplus up`, which have done what comes after a start."""
    until_at_rest(family(platform.pid))
    time.sleep(sizes.rest_s)
    before_s, clock = processor_s(platform.pid), time.perf_counter()
    time.sleep(sizes.idle_s)
    share = (processor_s(platform.pid) - before_s) / (time.perf_counter() - clock)
    return {"idle, per cent of a core": 100 * share, "idle, MB": memory_mb(platform.pid)}


def predictions(platform: Platform, _turn: int, sizes: Sizes) -> Found:
    """With receipts, of users who have a version."""
    users, images = platform.trained, platform.images
    shapes = {"64 images of one user": (users[:1], images[:64]), "64 users x 1 image": (users, images[:1])}
    if len(images) < 64:
        shapes["64 images of one user"] = (users[:1], list(itertools.islice(itertools.cycle(images), 64)))
    found = {}
    with platform.server() as server:
        for what, (asked, of) in shapes.items():
            body = {"users": asked, "images": of}
            server.ask(body)
            cpu_ms, walls, _ = serving.turn(server, lambda body=body: body, sizes.seconds)
            found[f"predictions, {what}, requests a second"] = 1e3 * len(walls) / sum(walls)
            found[f"predictions, {what}, processor ms of the API"] = cpu_ms
    return found


def ingest(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """Nobody becomes due, so the API has the machine. The one user is a new one in each turn."""
    platform.add_users([f"one{turn}"], NEVER)
    shapes = {
        "100 of 100 users": (platform.never_due[:100], 1),
        "1,000 of 1,000 users": (platform.never_due, 1),
        "1,000 of one user": ([f"one{turn}"], 1_000),
    }
    found = {}
    with platform.server() as server:
        for what, (users, num_each) in shapes.items():

            def body(users: list[str] = users, num_each: int = num_each) -> dict[str, object]:
                return {"events": platform.events(users, num_each)}

            path, num_events = "/v1/feedback", num_each * len(users)
            server.ask(body(), path)
            cpu_ms, walls, _ = serving.turn(server, body, sizes.seconds, path=path, least=2)
            found[f"feedback, {what}, events a second"] = 1e3 * num_events * len(walls) / sum(walls)
            found[f"feedback, {what}, events a second of the API's processor"] = 1e3 * num_events / cpu_ms
    return found


def single_events(platform: Platform, _turn: int, sizes: Sizes) -> Found:
    """At fixed rates, from 16 connections, as in `freshness.py`."""
    images = _two_hundred(platform)
    found = {}
    assert platform.never_due
    for rate in RATES:
        url, before_s = f"http://127.0.0.1:{platform.port}", platform.api_s()
        walls = asyncio.run(freshness.single_events_ms(url, platform.token, images, rate, 2 * sizes.seconds))
        told = f"single events, {rate}/s"
        found[f"{told}, p50, ms"] = statistics.median(walls)
        found[f"{told}, p99, ms"] = float(np.quantile(walls, 0.99))
        found[f"{told}, processor ms of the API"] = 1e3 * (platform.api_s() - before_s) / len(walls)
    return found


def freshness_of_scores(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """From the answer to the tenth rating to a prediction that uses it, asked for every 20 ms."""
    images = _two_hundred(platform)
    numbers = [2_000 + 100 * turn + number for number in range(sizes.fresh)]
    platform.add_users([f"u{number}" for number in numbers])
    with platform.client() as client:
        waits = [freshness.freshness_s(client, number, images) for number in numbers]
    return {
        "from the deciding rating to a prediction that uses it, p50, s": statistics.median(waits),
        "from the deciding rating to a prediction that uses it, p95, s": float(np.quantile(waits, 0.95)),
    }


def _two_hundred(platform: Platform) -> list[str]:
    """Images as `freshness.py` rates them: the first 200, of which it has opinions."""
    number = freshness.NUM_IMAGES
    freshness.opinions[:] = itertools.islice(itertools.cycle(platform.opinions), number)
    return list(itertools.islice(itertools.cycle(platform.images), number))


def training(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """Ten more ratings of one user, from the answer to them until they are trained.

    What the worker takes while nothing is to be done, measured just before, is no part of its processor time.
    """
    users = {num: f"h{num}" for num in sizes.histories}
    if not turn:
        platform.add_users(list(users.values()))
        for num, user in users.items():
            platform.train([user], num)
    platform.until_trained(list(users.values()))
    found = {}
    at_rest = _share_at_rest(platform, 3.0)
    for num, user in users.items():
        walls, before_s, clock = [], platform.worker_s(), time.perf_counter()
        for _ in range(sizes.repeats):
            platform.post(platform.events([user], 10))
            posted = time.perf_counter()
            platform.until_trained([user])
            walls.append(time.perf_counter() - posted)
        idle_s = at_rest * (time.perf_counter() - clock)
        cpu_s = (platform.worker_s() - before_s - idle_s) / sizes.repeats
        found[f"a training after {num:,} ratings, processor ms of the worker"] = 1e3 * cpu_s
        found[f"a training after {num:,} ratings, s from the answer"] = statistics.median(walls)
    return found


def trainings_together(platform: Platform, _turn: int, _sizes: Sizes) -> Found:
    """The worker is suspended while 64 users get ten more ratings each."""
    users = platform.trained
    with platform.without_worker():
        platform.post(platform.events(users, 10))
        before_s, clock = platform.worker_s(), time.perf_counter()
    platform.until_trained(users)
    wall_s = time.perf_counter() - clock
    return {
        "64 trainings at once, s until all are done": wall_s,
        "64 trainings at once, processor ms of the worker for each": 1e3
        * (platform.worker_s() - before_s)
        / len(users),
    }


def _share_at_rest(platform: Platform, seconds: float) -> float:
    """Processor seconds a second of the worker that has nothing to do."""
    before_s, clock = platform.worker_s(), time.perf_counter()
    time.sleep(seconds)
    return (platform.worker_s() - before_s) / (time.perf_counter() - clock)


def extraction(platform: Platform, _turn: int, sizes: Sizes) -> Found:
    """Photographs of the built-in set; the worker is suspended while they are uploaded."""
    assert platform.images  # the worker has its network in memory
    with platform.without_worker():
        images = platform.upload(sizes.extracted)
        before_s, clock = platform.worker_s(), time.perf_counter()
    platform.until_extracted(images)
    wall_s, cpu_s = time.perf_counter() - clock, platform.worker_s() - before_s
    return {
        "features of an image, ms on the wall": 1e3 * wall_s / len(images),
        "features of an image, processor ms of the worker": 1e3 * cpu_s / len(images),
    }


def rollback(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """To the base model, until the same API answers with it. Every user is rolled back once."""
    users = [f"r{turn}-{number}" for number in range(sizes.rolled_back)]
    platform.add_users(users)
    platform.train(users, 10)
    walls = []
    with platform.client() as client, platform.client(admin=True) as admin:
        for user in users:
            target = answer(client.get(f"/v1/users/{user}"))
            if target["active_adapter"] is None:
                continue  # the gate had its doubts
            body = {"items": [{"user": user, "image": platform.images[0]}]}
            answer(client.post("/v1/predictions", json=body))
            clock = time.perf_counter()
            answer(admin.post(f"/v1/users/{target['id']}/rollback", json={"to": "base", "reason": "measured"}))
            while answer(client.post("/v1/predictions", json=body))["items"][0]["adapter"] is not None:
                pass
            walls.append(1e3 * (time.perf_counter() - clock))
    if not walls:
        raise RuntimeError("no user has a version")
    return {
        "rollback of one user, p50, ms until it is served": statistics.median(walls),
        "rollback of one user, longest, ms until it is served": max(walls),
    }


def size(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """Tables whose names begin with `feedback`, and their indexes."""
    if turn:
        return {}
    for _ in range(sizes.rows // len(platform.never_due)):
        platform.post(platform.events(platform.never_due, 1))
    engine = sa.create_engine(platform.database_url or f"sqlite:///{platform.home / 'paaplus.db'}")
    try:
        with engine.connect() as connection:
            num_rows = connection.execute(sa.text("SELECT count(*) FROM feedback")).scalar_one()
            names = [name for name in sa.inspect(engine).get_table_names() if name.startswith("feedback")]
            num_bytes = sum(connection.execute(_bytes_of(engine), {"name": name}).scalar_one() for name in names)
    except (sqlite3.Error, sa.exc.DBAPIError) as error:
        raise NotThereError(str(error).splitlines()[0]) from error
    finally:
        engine.dispose()
    return {"bytes of a feedback row, indexes included": float(num_bytes) / num_rows}


def _bytes_of(engine: sa.Engine) -> sa.TextClause:
    if engine.dialect.name == "postgresql":
        return sa.text("SELECT pg_total_relation_size(CAST(:name AS regclass))")
    return sa.text(
        "SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM sqlite_master WHERE tbl_name = :name)"
    )


def scan(platform: Platform, turn: int, sizes: Sizes) -> Found:
    """Users become due by time while worker and scheduler are suspended; from then on until all have a job.

    Jobs go to a queue that no worker has, so none is trained. Every twentieth user, in no order, is asked for; in the
    end all are looked for.
    """
    with platform.apart(PAAPLUS_ADAPTATION_QUEUE="gpu") as (pids, _):
        scanning = pids[1:]
        signalled(scanning, SIGSTOP)
        users = [f"s{turn}-{number}" for number in range(sizes.due)]
        platform.add_users(users, {"max_interval_s": 1.0})
        platform.post(platform.events(users, 1))
        time.sleep(1.5)
        before_s, clock = sum(clock_s(pid) for pid in scanning), time.perf_counter()
        signalled(scanning, SIGCONT)
        with platform.client() as client:

            def has_job(user: str) -> bool:
                return bool(answer(client.get("/v1/jobs", params={"user": user, "limit": 1}))["items"])

            until_each(random.Random(turn).sample(users, max(1, len(users) // 20)), has_job)
            wall_s, cpu_s = time.perf_counter() - clock, sum(clock_s(pid) for pid in scanning) - before_s
            until_each(users, has_job)
    return {
        f"a scan with {sizes.due:,} due users, s until all have a job": wall_s,
        f"a scan with {sizes.due:,} due users, processor ms of worker and scheduler": 1e3 * cpu_s,
    }


@dataclass(frozen=True)
class Row:
    """What is measured; whether it needs a running platform; whether the database matters."""

    measure: Callable[[Platform, int, Sizes], Found]
    runs: bool = True
    on_postgres: bool = True


ROWS = {
    "help": Row(help_of_commands, runs=False, on_postgres=False),
    "import": Row(import_of_api, runs=False, on_postgres=False),
    "first_start": Row(first_start, on_postgres=False),
    "start": Row(start, on_postgres=False),
    "idle": Row(idle, on_postgres=False),
    "predictions": Row(predictions),
    "ingest": Row(ingest),
    "single": Row(single_events),
    "freshness": Row(freshness_of_scores),
    "training": Row(training),
    "together": Row(trainings_together),
    "extraction": Row(extraction, on_postgres=False),
    "rollback": Row(rollback),
    "size": Row(size),
    "scan": Row(scan),  # the last: it leaves jobs that a worker would train
}
