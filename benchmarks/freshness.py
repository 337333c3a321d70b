"""How long it takes from the rating that makes a user due to a prediction that uses it; and how fast one event is.

    python benchmarks/freshness.py [--users 20] [--rates 50,200] [--seconds 5] [--postgres] [--record]

API, worker and scheduler as processes of their own, feedback and scores over HTTP; on SQLite, or on a PostgreSQL that
the script starts, with a folder as broker. Users come one after the other: what is measured is the way, not the queue.
Then single events are posted at fixed rates from 16 connections, each at its own time, whether the former was answered
or not: the wait in front of a slow server counts. --record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from ingest import NUM_IMAGES, database_url, populate
from recording import record_rows

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow
from paaplus.db.types import utcnow
from paaplus.processes import QUIET, api_command, scheduler_command, worker_command
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

TASTE_DIM, NUM_RATINGS = 64, 10  # the tenth rating of a user decides
NUM_CONNECTIONS = 16
opinions: list[float] = []  # by image


@contextmanager
def platform(home: Path, database_url: str) -> Iterator[tuple[str, str, list[str], int]]:
    """A running platform with users and images that have features: URL, token, image ids, process id of the API."""
    from cohort import simulated_base

    settings = Settings(home=home, database_url=database_url)
    database, blobs = Database(database_url), BlobStore(settings.resolved_storage_url)
    _, images, token = populate(database)
    base = simulated_base(TASTE_DIM, features_are_taste=True)
    rng = np.random.default_rng(0)
    opinions.clear()
    with database.session() as session:
        base_models.register(session, blobs, base, {"extractor": "none"}, {})
        for image_id in images:
            features_D = 0.05 * rng.normal(size=TASTE_DIM)
            features_D[0] = rng.normal()
            opinions.append(float(np.clip(5 + 2 * features_D[0], 0, 10)))
            data = features_D.astype(np.float16).tobytes()
            columns: dict[str, Any] = {"extractor_digest": base.extractor_digest, "data": data}
            if hasattr(FeaturesRow, "sha256"):
                from paaplus.services.images.features import features_digest

                columns["sha256"] = features_digest(base.extractor_digest, image_id, data)
            session.add(FeaturesRow(image_id=image_id, created_at=utcnow(), **columns))
    database.dispose()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PAAPLUS_HOME": str(home),
        "PAAPLUS_DATABASE_URL": database_url,
        "PAAPLUS_API_PORT": str(port),
        "PAAPLUS_LOG_LEVEL": "WARNING",
        "PAAPLUS_REQUESTS_PER_MINUTE": "0",
    }
    commands = [api_command(), worker_command(["cpu"], pool="solo", more=QUIET), scheduler_command(QUIET)]
    started = [subprocess.Popen(command, env=environment, stdout=sys.stderr) for command in commands]
    try:
        url = f"http://127.0.0.1:{port}"
        for _ in range(600):
            try:
                if httpx.get(f"{url}/healthz").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.1)
        yield url, token, [str(image) for image in images], started[0].pid
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


_numbers = itertools.count()


def rating(user: int, images: list[str]) -> dict[str, Any]:
    """What everybody here thinks of the next image: ten ratings show it clearly, so that the gate promotes."""
    number = next(_numbers)
    payload = {"ratings": {"beauty": opinions[number % NUM_IMAGES]}, "scale": {"min": 0, "max": 10}}
    image = images[number % NUM_IMAGES]
    return {"event_id": f"e{number}", "user": f"u{user}", "kind": "rating", "image": image, **payload}


def freshness_s(client: httpx.Client, user: int, images: list[str]) -> float:
    """Seconds from the answer to the deciding rating to a prediction of another adapter version."""
    first = [rating(user, images) for _ in range(NUM_RATINGS - 1)]
    client.post("/v1/feedback", json={"events": first}).raise_for_status()
    body = {"items": [{"user": f"u{user}", "image": images[0]}]}
    client.post("/v1/feedback", json=rating(user, images)).raise_for_status()
    clock = time.perf_counter()
    while time.perf_counter() - clock < 180:
        answer = client.post("/v1/predictions", json=body).json()
        if answer["items"][0]["adapter"] is not None:
            return time.perf_counter() - clock
        time.sleep(0.02)
    raise TimeoutError(f"no version of user {user} in 180 s; the last answer was {answer}")


async def single_events_ms(url: str, token: str, images: list[str], rate: int, seconds: float) -> list[float]:
    """Milliseconds of each request, counted from the time at which it was to be sent, over 16 connections.

    Requests are written by hand: at 200 a second, a client library takes as much of the processor as the API. No
    garbage is collected meanwhile, which stops this process for a fifth of a second.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    head = f"POST /v1/feedback HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: "
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(NUM_CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(host, int(port)))

    async def post(at: float) -> float:
        body = json.dumps(rating(next(_numbers) % 400 + 500, images))
        await asyncio.sleep(at - time.perf_counter())
        reader, writer = connection = await free.get()
        writer.write(f"{head}{len(body)}\r\n\r\n{body}".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        size = re.search(rb"content-length: (\d+)", answer, re.IGNORECASE)
        assert size is not None, answer
        told = await reader.readexactly(int(size.group(1)))
        free.put_nowait(connection)
        assert answer.startswith(b"HTTP/1.1 201"), told
        return 1e3 * (time.perf_counter() - at)

    gc.collect()
    gc.freeze()
    gc.disable()
    start = time.perf_counter() + 0.5
    try:
        return list(await asyncio.gather(*(post(start + n / rate) for n in range(int(rate * seconds)))))
    finally:
        gc.enable()
        while not free.empty():
            free.get_nowait()[1].close()


def processor_s(pid: int) -> float:
    """Processor seconds that a process has used (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentiles(values: list[float]) -> dict[str, float]:
    return {"p50": statistics.median(values), "p95": float(np.quantile(values, 0.95)),
            "p99": float(np.quantile(values, 0.99))}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20)
    parser.add_argument("--rates", default="50,200", help="single events a second")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each rate")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    kind = "postgresql" if options.postgres else "sqlite"
    with (
        tempfile.TemporaryDirectory() as home,
        database_url(kind, Path(home)) as database,
        platform(Path(home), database) as (url, token, images, pid),
    ):
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            waits = [freshness_s(client, user, images) for user in range(options.users + 1)][1:]  # the first warms up
        if waits:
            found.append({"what": "freshness, s", **percentiles(waits)})
            print(found[-1], flush=True)
        for rate in [int(rate) for rate in options.rates.split(",")]:
            cpu = processor_s(pid)
            walls = asyncio.run(single_events_ms(url, token, images, rate, options.seconds))
            cpu_ms = 1e3 * (processor_s(pid) - cpu) / len(walls)
            found.append({"what": f"{rate} single events a second, ms", **percentiles(walls), "api_cpu": cpu_ms})
            print(found[-1], flush=True)
    if options.record:
        given = f"--users {options.users} --rates {options.rates} --seconds {options.seconds:g}"
        given += " --postgres" if options.postgres else ""
        record_rows(f"freshness-{kind}", f"python benchmarks/freshness.py {given}", found)


if __name__ == "__main__":
    main()
