"""What one caller can do to the others: another tenant's latency, quiet and beside each attack.

    python benchmarks/abuse.py [--database sqlite,postgresql] [--seconds 10] [--turns 3] [--attacks no_key,metrics]
                               [--processes 1] [--database-url URL] [--record]

For each database it starts an API of its own on 127.0.0.1, with two applications and a small base model. PostgreSQL is
started by the script, as the tests do it, or an empty database is given by its URL. The second application asks for
scores, posts ratings and reads users, one request after the other, while the attack runs in a process of its own. Every
attack is bounded in count and time. Nothing but this API is asked. Quiet and beside the attack take turns, each as long
as the other: what else the machine does meanwhile meets both. The slowest hundredth of 30 s is eight requests or more.
`p50 x` and `p99 x` are how many times longer the half and the slowest hundredth of the requests take
beside it. The attacks run at a lower priority (nice 10): their own work, on the same processors, is none of the API's.

`API quiet, beside` are p50 and p99 of the processor ms that the API worked from the beginning to the end of one request
of the second application, for whomever. They say the same as latencies, less waiting for disk and database, and do not
depend on what else the machine does; with several processes they are of the first one only. Both databases together
take 25 minutes; `--turns 1` takes 9.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import numpy as np
from cohort import record, simulated_base
from PIL import Image
from recording import ROOT

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.locks import lock_user
from paaplus.db.tables import FeaturesRow, ImageRow, UserRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.types import utcnow
from paaplus.ids import new_id
from paaplus.processes import url_of, usable_port
from paaplus.services.images.features import features_digest
from paaplus.services.registry import base_models
from paaplus.services.users import keys
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

HOST = "127.0.0.1"
NUM_USERS, NUM_IMAGES = 200, 40
TIMEOUT_S = 60.0
NICE = 10
WARM_UP_S = 2.0


@dataclass(frozen=True)
class Target:
    """The API, and what an attack may use: keys and names of the first application."""

    url: str
    database_url: str
    application: str
    user: str
    admin: str
    victim: str  # key of the second application
    user_id: str
    images: list[str]
    victim_images: list[str]
    pending_image: str  # without features
    pid: int  # of the API
    turn: int = 0  # what is sent differs from turn to turn: the same again would be known already


Attack = Callable[[Target, float], int]


def attack_no_key(target: Target, seconds: float) -> int:
    """A JSON document of 6.8 MiB without a key, by four clients."""
    body = json.dumps({"events": [{"event_id": "x" * 20, "user": "u"}] * 130_000})[: 6_800 * 1024].encode()
    return _repeat(4, seconds, lambda client: client.post("/v1/feedback", content=body, headers=JSON))


def attack_large_json(target: Target, seconds: float) -> int:
    """Valid JSON of 8 MiB with an application's key, nothing but numbers or lists, by two clients."""
    bodies = [b'{"events": [' + unit * (8 * 2**20 // len(unit) - 10) + unit[:-1] + b"]}" for unit in (b"1,", b"[],")]
    number = iter(range(10**9))

    def post(client: httpx2.Client) -> Any:
        return client.post("/v1/feedback", content=bodies[next(number) % 2], headers=JSON)

    return _repeat(2, seconds, post, target.application)


def attack_unknown_keys(target: Target, seconds: float) -> int:
    """Random keys, by four clients."""

    def guess(client: httpx2.Client) -> Any:
        token = f"paa_{random.getrandbits(172):043x}"  # of the form of a key: it is looked up
        return client.get("/v1/users", headers={"Authorization": f"Bearer {token}"})

    return _repeat(4, seconds, guess)


def attack_predictions(target: Target, seconds: float) -> int:
    """As many items as one call takes, with a user's key, by two clients."""
    items = [{"user": target.user_id, "image": image} for image in target.images]
    body = {"items": (items * 500)[:2000]}
    return _repeat(2, seconds, lambda client: client.post("/v1/predictions", json=body), target.user)


def attack_export(target: Target, seconds: float) -> int:
    """Exports with a user's key, by sixteen clients."""
    return _repeat(16, seconds, lambda client: client.get(f"/v1/users/{target.user_id}/export"), target.user)


def attack_long_polls(target: Target, seconds: float) -> int:
    """Three hundred predictions of one key that wait for an image without features."""
    body = {"items": [{"user": target.user_id, "image": target.pending_image}], "wait_s": 30}

    async def poll() -> int:
        limits = httpx2.Limits(max_connections=300)
        headers = {"Authorization": f"Bearer {target.application}"}
        options = {"limits": limits, "timeout": TIMEOUT_S, "headers": headers, "verify": NO_CERTIFICATES}
        async with httpx2.AsyncClient(base_url=target.url, **options) as client:

            async def again() -> int:
                ends_at, count = time.monotonic() + seconds, 0
                while time.monotonic() < ends_at:
                    await client.post("/v1/predictions", json=body)
                    count += 1
                    await asyncio.sleep(2)  # as an answer with pending items asks for
                return count

            tasks = [asyncio.create_task(again()) for _ in range(300)]
            done, left = await asyncio.wait(tasks, timeout=seconds + 1)
            for task in left:
                task.cancel()
            return sum(task.result() for task in done) + len(left)

    return asyncio.run(poll())


def attack_uploads(target: Target, seconds: float) -> int:
    """Pictures of 800 x 600 pixels, by four clients, 240 at most."""
    rng = np.random.default_rng(target.turn)
    noise = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
    left = iter(range(240))

    def upload(client: httpx2.Client) -> Any:
        if (number := next(left, None)) is None:
            time.sleep(0.1)
            return None
        file = BytesIO()
        Image.fromarray(noise ^ number).resize((800, 600)).save(file, "JPEG")
        return client.post("/v1/images", files={"file": ("a.jpg", file.getvalue(), "image/jpeg")})

    return _repeat(4, seconds, upload, target.application)


def attack_metrics(target: Target, seconds: float) -> int:
    """Scrapes without a key, by twenty clients."""
    return _repeat(20, seconds, lambda client: client.get("/metrics"))


def attack_locked_user(target: Target, seconds: float) -> int:
    """One user's row is locked, and thirty clients post for this user."""
    database = Database(target.database_url)
    with database.session() as session:
        user = session.get_one(UserRow, UUID(target.user_id))
        lock_user(session, user.id)
        event = {"user": target.user_id, "kind": "rating", "image": target.images[0], "ratings": {"beauty": 5},
                 "scale": {"min": 1, "max": 7}}  # fmt: skip
        number = iter(range(10**9))

        def post(client: httpx2.Client) -> Any:
            return client.post("/v1/feedback", json=event | {"event_id": f"lock-{target.turn}-{next(number)}"})

        return _repeat(30, seconds, post, target.application)


def attack_batches(target: Target, seconds: float) -> int:
    """Batches of 1,000 events over all users of the application, one after the other."""
    number = iter(range(10**9))

    def post(client: httpx2.Client) -> Any:
        batch = next(number)
        events = [
            {"event_id": f"b{target.turn}-{batch}-{i}", "user": f"user{i % NUM_USERS}", "kind": "rating",
             "image": target.images[i % NUM_IMAGES], "ratings": {"beauty": 5}, "scale": {"min": 1, "max": 7}}
            for i in range(1000)
        ]  # fmt: skip
        return client.post("/v1/feedback", json={"events": events})

    return _repeat(1, seconds, post, target.application)


ATTACKS: dict[str, Attack] = {
    "no_key": attack_no_key,
    "large_json": attack_large_json,
    "unknown_keys": attack_unknown_keys,
    "predictions": attack_predictions,
    "export": attack_export,
    "long_polls": attack_long_polls,
    "uploads": attack_uploads,
    "metrics": attack_metrics,
    "locked_user": attack_locked_user,
    "batches": attack_batches,
}
POSTGRESQL_ONLY = {"locked_user"}
JSON = {"Content-Type": "application/json"}
NO_CERTIFICATES = False  # of plain HTTP; a client that reads them takes 15 ms, and thirty clients half of a second


def _repeat(num_clients: int, seconds: float, act: Callable[[httpx2.Client], Any], key: str | None = None) -> int:
    """Let clients act until the time is over; returns how many acts had an answer."""
    ends_at = time.monotonic() + seconds
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = os.environ["ABUSE_URL"]

    def run(_: int) -> int:
        count = 0
        with httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT_S, verify=NO_CERTIFICATES) as client:
            while time.monotonic() < ends_at:
                try:
                    act(client)
                    count += 1
                except httpx2.HTTPError:
                    time.sleep(0.05)
        return count

    with ThreadPoolExecutor(num_clients) as pool:
        return sum(pool.map(run, range(num_clients)))


def _attack_in_a_process(name: str, target: Target, seconds: float, is_ready: Any, counts: Any) -> None:
    os.nice(NICE)
    os.environ["ABUSE_URL"] = target.url
    is_ready.set()
    time.sleep(0.3)  # the other application has begun: the first moment of an attack counts too
    counts.put(ATTACKS[name](target, seconds))


def processor_s(pid: int) -> float:
    """Processor seconds of all threads of a process so far (Linux: `clock_getcpuclockid`)."""
    return time.clock_gettime((~pid << 3) | 2)


def victim_latencies(target: Target, seconds: float, tag: str) -> tuple[list[float], list[float], int]:
    """Requests of the second application, one after the other with a pause of 20 ms.

    Returns:
        Their latencies in ms; the processor ms that the API worked meanwhile, for whomever; how many failed.
    """
    found: list[float] = []
    worked: list[float] = []
    number = num_failed = 0
    headers = {"Authorization": f"Bearer {target.victim}"}
    ends_at = time.monotonic() + seconds
    with httpx2.Client(base_url=target.url, headers=headers, timeout=TIMEOUT_S, verify=NO_CERTIFICATES) as client:
        while time.monotonic() < ends_at:
            number += 1
            image = target.victim_images[number % NUM_IMAGES]
            rating = {"event_id": f"{tag}-{number}", "user": "victim", "kind": "rating", "image": image,
                      "ratings": {"beauty": 5}, "scale": {"min": 1, "max": 7}}  # fmt: skip
            items = [{"user": "victim", "image": image} for image in target.victim_images[:10]]
            method, path, body = [
                ("POST", "/v1/predictions", {"items": items}),
                ("POST", "/v1/feedback", rating),
                ("GET", "/v1/users/victim", None),
            ][number % 3]
            started, worked_before = time.perf_counter(), processor_s(target.pid)
            response = client.request(method, path, json=body)
            found.append(1000 * (time.perf_counter() - started))
            worked.append(1000 * (processor_s(target.pid) - worked_before))
            num_failed += response.status_code not in (200, 201)
            time.sleep(0.02)
    return found, worked, num_failed


def of(turns: list[tuple[list[float], list[float], int]]) -> dict[str, float]:
    """What `victim_latencies` found in all turns, in numbers."""
    ordered = sorted(each for latencies, _, _ in turns for each in latencies)
    work = sorted(each for _, worked, _ in turns for each in worked)
    num_failed = sum(failed for _, _, failed in turns)
    return {
        "num": len(ordered),
        "num_failed": num_failed,
        "work_p50_ms": round(statistics.median(work), 1),
        "work_p99_ms": round(work[min(len(work) - 1, int(0.99 * len(work)))], 1),
        "p50_ms": round(statistics.median(ordered), 1),
        "p99_ms": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "max_ms": round(ordered[-1], 1),
    }


def prepare(settings: Settings) -> dict[str, Any]:
    """Migrate the database, and fill it with a base model, two applications and their keys."""
    migrate.upgrade(settings.resolved_database_url)
    database, blobs = Database(settings.resolved_database_url), BlobStore(settings.resolved_storage_url)
    base = simulated_base(64, features_are_taste=True)
    rng = np.random.default_rng(0)
    made: dict[str, Any] = {}
    with database.session() as session:
        base_models.register(session, blobs, base, {"extractor": "none"}, {})
        for application, names in (("attacker", [f"user{i}" for i in range(NUM_USERS)]), ("other", ["victim"])):
            users = [
                UserRow(id=new_id(), application=application, external_id=name, policy={}, created_at=utcnow())
                for name in names
            ]
            session.add_all(users)
            images = [new_id() for _ in range(NUM_IMAGES + 1)]
            for image_id in images:
                digest = f"{image_id.int:064x}"
                columns = {"sha256": digest, "upload_sha256": digest, "size_bytes": 1, "width_px": 1, "height_px": 1,
                           "media_type": "image/png"}  # fmt: skip
                session.add(ImageRow(id=image_id, application=application, created_at=utcnow(), **columns))
            session.flush()
            for image_id in images[:-1]:
                data = rng.normal(size=64).astype(np.float16).tobytes()
                sha256 = features_digest(base.extractor_digest, image_id, data)
                key = {"extractor_digest": base.extractor_digest, "image_id": image_id}
                session.add(FeaturesRow(**key, data=data, sha256=sha256, created_at=utcnow()))
            session.flush()
            scope = {"scope": KeyScope.APPLICATION, "application": application}
            made[application] = keys.create(session, name=application, actor="bench", **scope).token
            made[f"{application} images"] = [str(image_id) for image_id in images]
            if application == "attacker":
                made["user_id"] = str(users[0].id)
                user_key = {"scope": KeyScope.USER, "user_id": users[0].id}
                made["user"] = keys.create(session, name="u", actor="bench", **user_key).token
        made["admin"] = keys.create(session, name="a", scope=KeyScope.ADMIN, actor="bench").token
    database.dispose()
    return made


@contextmanager
def serving(settings: Settings, num_processes: int) -> Iterator[tuple[str, int]]:
    """The API's URL and its process, while it runs."""
    port = usable_port(HOST, 0)
    url = url_of(HOST, port)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")} | {
        "PAAPLUS_HOME": str(settings.home),
        "PAAPLUS_DATABASE_URL": settings.resolved_database_url,
        "PAAPLUS_API_HOST": HOST,
        "PAAPLUS_API_PORT": str(port),
    }
    command = [sys.executable, "-m", "paaplus.api", "--workers", str(num_processes)]
    with (settings.home / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        ends_at = time.monotonic() + 60
        while time.monotonic() < ends_at:
            try:
                if httpx2.get(f"{url}/readyz", timeout=2).status_code == 200:
                    break
            except httpx2.HTTPError:
                time.sleep(0.2)
        else:
            raise SystemExit(f"the API was not ready: {(settings.home / 'api.log').read_text()[-2000:]}")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(20)


def measure(name: str, target: Target, seconds: float, num_turns: int) -> dict[str, Any]:
    """Another tenant's latencies without one attack and beside it, in turns."""
    quiet, beside, num_acts = [], [], 0
    for turn in range(num_turns):
        target = replace(target, turn=turn)
        quiet.append(victim_latencies(target, seconds, f"{name}-quiet-{turn}"))
        of_turn, acts = attacked(name, target, seconds)
        beside.append(of_turn)
        num_acts += acts
        time.sleep(1)
    return {"quiet": of(quiet), "beside": of(beside), "num_attacks": num_acts, "load_average": os.getloadavg()[0]}


def attacked(name: str, target: Target, seconds: float) -> tuple[tuple[list[float], list[float], int], int]:
    """What the other tenant sees beside the attack, and the number of its acts."""
    context = multiprocessing.get_context("spawn")
    counts, is_ready = context.Queue(), context.Event()
    attacker = context.Process(target=_attack_in_a_process, args=(name, target, seconds, is_ready, counts), daemon=True)
    attacker.start()
    if not is_ready.wait(TIMEOUT_S):  # it imports
        raise SystemExit(f"the process of attack {name} did not begin")
    beside = victim_latencies(target, seconds, f"{name}-beside-{target.turn}")
    attacker.join(TIMEOUT_S)
    num_acts: int = counts.get(timeout=5) if not counts.empty() else 0
    if attacker.is_alive():
        attacker.kill()
    return beside, num_acts


@contextmanager
def databases(kind: str, given_url: str) -> Iterator[str]:
    """The URL of an empty database; of SQLite's: empty, it lies in the home."""
    if kind == "sqlite" or given_url:
        yield given_url
        return
    sys.path.insert(0, str(ROOT))
    from tests.support import servers

    server = servers.postgres()
    server.start()
    try:
        with servers.new_postgres_database(server.url) as url:
            yield url
    finally:
        server.close()


def run(kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """The attacks on an API with one kind of database, printed as they end."""
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory(prefix="paaplus-abuse-") as folder,
        databases(kind, options.database_url) as database_url,
    ):
        settings = Settings(home=Path(folder), database_url=database_url)
        made = prepare(settings)
        with serving(settings, options.processes) as (url, pid):
            target = Target(
                url, settings.resolved_database_url, made["attacker"], made["user"], made["admin"], made["other"],
                made["user_id"], made["attacker images"][:-1], made["other images"][:-1], made["attacker images"][-1],
                pid,
            )  # fmt: skip
            victim_latencies(target, WARM_UP_S, "warm-up")  # the first requests of a process compile their statements
            print(f"{kind}: another application's requests, ms")
            print(f"{'attack':14} {'quiet p50':>10} {'p99':>8} {'beside p50':>11} {'p99':>8} {'max':>8} {'failed':>7} "
                  f"{'p50 x':>6} {'p99 x':>6}  {'API quiet, beside':>27}  attacks  load")  # fmt: skip
            for name in options.attacks.split(","):
                if name in POSTGRESQL_ONLY and kind == "sqlite":
                    continue
                row = {"database": kind, "attack": name} | measure(name, target, options.seconds, options.turns)
                rows.append(row)
                quiet, beside = row["quiet"], row["beside"]
                times = [beside[which] / max(quiet[which], 0.1) for which in ("p50_ms", "p99_ms")]
                print(
                    f"{name:14} {quiet['p50_ms']:10} {quiet['p99_ms']:8} {beside['p50_ms']:11} {beside['p99_ms']:8} "
                    f"{beside['max_ms']:8} {beside['num_failed']:7} {times[0]:6.1f} {times[1]:6.1f}  "
                    f"{quiet['work_p50_ms']:6} {quiet['work_p99_ms']:6} {beside['work_p50_ms']:6} "
                    f"{beside['work_p99_ms']:6}  {row['num_attacks']!s:7}  {row['load_average']:.1f}",
                    flush=True,
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="sqlite,postgresql")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL, instead of one that is started")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    kinds = ["postgresql"] if options.database_url else options.database.split(",")
    if unknown := sorted({*kinds, *options.attacks.split(",")} - {"sqlite", "postgresql", *ATTACKS}):
        raise SystemExit(f"unknown: {', '.join(unknown)}")
    rows = [row for kind in kinds for row in run(kind, options)]
    if options.record:
        record("abuse", " ".join(["python benchmarks/abuse.py", *sys.argv[1:]]), rows)


if __name__ == "__main__":
    main()
