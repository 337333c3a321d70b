"""What scores cost over HTTP: processor milliseconds of the API's process for a request, and latencies.

    python benchmarks/serving.py [--before DIR] [--seconds 2] [--rounds 5] [--record]

One API process on SQLite as `paaplus up` starts it, asked over one kept connection by this process, which is not
counted. A simulated base model with 256 taste dimensions; 1,600 users with a taste vector each. `small cache` is a
second process with 1 MB for adapters, asked for 256 users at random: what a cache that is too small by far costs.
--before DIR: a checkout of an earlier commit, asked in turns with this one; `ratio`: how many times as much it took.
--record keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from processes import clock_s

SCRIPT = Path(__file__).resolve()
TASTE_DIM = 256
NUM_USERS = 1_600
READY_S = 120.0


def prepare(home: Path) -> None:
    """Write a database with users, images, features and versions, and what a client needs to know of it."""
    import sqlalchemy as sa
    from cohort import simulated_base
    from ingest import APPLICATION, populate

    from paaplus.db import migrate
    from paaplus.db.engine import Database
    from paaplus.db.tables import AdapterRow, FeaturesRow, UserRow
    from paaplus.db.tables.models import AdapterState
    from paaplus.db.types import utcnow
    from paaplus.ids import new_id, sha256_hex
    from paaplus.scoring.adapters import TasteVector
    from paaplus.services.images.features import features_digest
    from paaplus.services.registry import base_models
    from paaplus.settings import Settings
    from paaplus.storage.blobs import BlobStore

    settings = Settings(home=home)
    migrate.upgrade(settings.resolved_database_url)
    database, blobs = Database(settings.resolved_database_url), BlobStore(settings.resolved_storage_url)
    users, images, token = populate(database)
    base = simulated_base(TASTE_DIM, features_are_taste=True)
    rng, now = np.random.default_rng(0), utcnow()
    one = np.ones(1, np.float32)
    with database.session() as session:
        base_model_id = base_models.register(session, blobs, base, {"extractor": "none"}, {}).id
        more = [
            {"id": new_id(), "application": APPLICATION, "external_id": f"u{n}", "policy": {}, "created_at": now}
            for n in range(len(users), NUM_USERS)
        ]
        session.execute(sa.insert(UserRow), more)
        for image_id in images:
            data = rng.normal(size=TASTE_DIM).astype(np.float16).tobytes()
            session.add(
                FeaturesRow(
                    image_id=image_id, extractor_digest=base.extractor_digest, data=data,
                    sha256=features_digest(base.extractor_digest, image_id, data), created_at=now,
                )
            )  # fmt: skip
        for user_id in [*users, *(row["id"] for row in more)]:
            weight_RA = (0.1 * rng.normal(size=(TASTE_DIM, 1))).astype(np.float32)
            data = TasteVector(base.digest, alpha_A=one, beta_A=0 * one, weight_RA=weight_RA).to_bytes()
            row = {
                "id": new_id(), "user_id": user_id, "number": 1, "base_model_id": base_model_id,
                "kind": "taste_vector", "strategy": "bayes", "data": data, "digest": sha256_hex(data),
                "state": AdapterState.ACTIVE, "created_at": now, "high_water_sequence": 0, "epoch": 0,
                "num_ratings": 0, "metrics": {}, "gate_report": {}, "size_bytes": len(data), "learner_state": b"",
            }  # fmt: skip
            session.execute(sa.insert(AdapterRow), [row])
    database.dispose()
    (home / "bench.json").write_text(json.dumps({"token": token, "images": [str(image) for image in images]}))


@dataclass
class Server:
    """A running API process and a kept connection to it."""

    pid: int
    connection: http.client.HTTPConnection
    token: str
    images: list[str]

    def cpu_s(self) -> float:
        """Processor seconds that all its threads have used."""
        return clock_s(self.pid)

    def ask(self, body: dict[str, Any] | None, path: str = "/v1/predictions") -> bytes | None:
        """The answer to a request, for predictions unless `path` says otherwise; None: refused. No body: `/healthz`."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        wanted = ("GET", "/healthz") if body is None else ("POST", path, json.dumps(body), headers)
        try:
            self.connection.request(*wanted)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):  # it was idle while another server was asked
            self.connection.close()
            self.connection.request(*wanted)
            response = self.connection.getresponse()
        data = response.read()
        return data if response.status == 200 else None


@contextmanager
def served(tree: Path, home: Path, **settings: str) -> Iterator[Server]:
    """The API of a checkout, on a database of its own; several share one that is there already."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PAAPLUS_HOME": str(home)}
    if not (home / "bench.json").exists():
        subprocess.run([sys.executable, str(SCRIPT), "--prepare", str(home)], check=True, env=environment, cwd=tree)
    about = json.loads((home / "bench.json").read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment |= {
        "PAAPLUS_API_PORT": str(port), "PAAPLUS_REQUESTS_PER_MINUTE": "0", "PAAPLUS_PREDICTIONS_PER_KEY_PER_DAY": "0",
        "PAAPLUS_LOG_LEVEL": "WARNING", **settings,
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "paaplus.api"], env=environment, cwd=tree)
    try:
        server = Server(process.pid, http.client.HTTPConnection("127.0.0.1", port, timeout=600), **about)
        until = time.monotonic() + READY_S
        while True:
            try:
                if server.ask(None) is not None:
                    break
            except OSError:
                server.connection.close()
            if time.monotonic() > until or process.poll() is not None:
                raise SystemExit(f"the API of {tree} does not answer")
            time.sleep(0.2)
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def turn(
    server: Server,
    body: Callable[[], dict[str, Any] | None],
    seconds: float,
    *,
    path: str = "/v1/predictions",
    least: int = 5,
) -> tuple[float, list[float], int]:
    """Processor milliseconds of a request, all latencies in milliseconds, and bytes of an answer.

    Args:
        server: what is asked.
        body: makes the body of each request; this takes no part of a latency.
        seconds: as long as this.
        path: what is asked.
        least: so many requests, if they take longer.
    """
    walls: list[float] = []
    size = 0
    started, until = server.cpu_s(), time.perf_counter() + seconds
    while time.perf_counter() < until or len(walls) < least:
        asked = body()
        begun = time.perf_counter()
        answer = server.ask(asked, path)
        walls.append(1e3 * (time.perf_counter() - begun))
        assert answer is not None, "the request was refused"
        size = len(answer)
    return 1e3 * (server.cpu_s() - started) / len(walls), walls, size


def measure_row(
    what: str, servers: list[Server], body: Callable[[Server], Any], seconds: float, rounds: int
) -> dict[str, object]:
    """One shape of request, of all servers in turns: the first is this checkout's."""
    able = [server for server in servers if server.ask(body(server)) is not None]
    cpus: list[list[float]] = [[] for _ in able]
    walls: list[float] = []
    size = 0
    for number in range(rounds + 1):
        for place, server in enumerate(able):
            cpu_ms, latencies, num_bytes = turn(server, lambda server=server: body(server), seconds / rounds)
            if number == 0:
                continue  # warms up
            cpus[place].append(cpu_ms)
            if place == 0:
                walls += latencies
                size = num_bytes
    cpu_ms = statistics.median(cpus[0])
    row: dict[str, object] = {
        "what": what,
        "cpu_ms": cpu_ms,
        "per_s_of_processor": 1e3 / cpu_ms,
        "p50_ms": statistics.median(walls),
        "p99_ms": float(np.quantile(walls, 0.99)),
        "bytes": size,
    }
    if len(cpus) > 1:
        row["before_cpu_ms"] = statistics.median(cpus[1])
        row["ratio"] = statistics.median(before / now for now, before in zip(*cpus, strict=True))
    return row


def shapes() -> dict[str, Callable[[Server], Any]]:
    def fixed(num_users: int, num_images: int, **more: bool) -> Callable[[Server], Any]:
        users = [f"u{n}" for n in range(num_users)]
        return lambda server: {"users": users, "images": server.images[:num_images], **more}

    found: dict[str, Callable[[Server], Any]] = {"nothing (GET /healthz)": lambda _: None}
    for num_users, num_images in ((1, 1), (1, 64), (64, 1), (256, 1)):
        name = f"{num_users} user{'s' if num_users > 1 else ''} x {num_images} image{'s' if num_images > 1 else ''}"
        found[f"{name}, with receipts"] = fixed(num_users, num_images)
        found[f"{name}, without receipts"] = fixed(num_users, num_images, receipts=False)
        if num_users * num_images > 1:
            found[f"{name}, compact, without receipts"] = fixed(num_users, num_images, receipts=False, compact=True)
    return found


def ask_of_everybody(server: Server) -> None:
    """Fill the cache of adapters, as far as it goes."""
    for start in range(0, NUM_USERS, 400):
        users = [f"u{n}" for n in range(start, min(start + 400, NUM_USERS))]
        server.ask({"users": users, "images": server.images[:1], "receipts": False})


def at_random() -> Callable[[Server], Any]:
    rng = random.Random(0)
    return lambda server: {
        "users": [f"u{n}" for n in rng.sample(range(NUM_USERS), 256)], "images": server.images[:1], "receipts": False,
    }  # fmt: skip


def measure(trees: list[Path], seconds: float, rounds: int) -> list[dict[str, object]]:
    found = []
    with ExitStack() as stack:
        homes = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in trees]
        servers = [stack.enter_context(served(*pair)) for pair in zip(trees, homes, strict=True)]
        for what, body in shapes().items():
            found.append(measure_row(what, servers, body, seconds, rounds))
            show(found[-1])
        for server in servers:
            ask_of_everybody(server)
        found.append(measure_row(f"256 of {NUM_USERS:,} users x 1 image", servers, at_random(), seconds, rounds))
        show(found[-1])
        small = [
            stack.enter_context(served(*pair, PAAPLUS_ADAPTERS_CACHE_MB="1")) for pair in zip(trees, homes, strict=True)
        ]
        found.append(
            measure_row(f"small cache: 256 of {NUM_USERS:,} users x 1 image", small, at_random(), seconds, rounds)
        )
        show(found[-1])
    return found


def show(row: dict[str, object]) -> None:
    print(" | ".join(f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--prepare", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prepare is not None:
        prepare(options.prepare)
        return
    trees = [SCRIPT.parents[1], *([options.before.resolve()] if options.before is not None else [])]
    found = measure(trees, options.seconds, options.rounds)
    if options.record:
        from recording import record_rows

        before = " --before DIR" if options.before is not None else ""
        record_rows("serving", f"python benchmarks/serving.py{before} --seconds {options.seconds:g}", found)


if __name__ == "__main__":
    main()
