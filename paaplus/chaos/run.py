"""The whole run: prepare a platform, inject faults under traffic, wait until all work is done, check every promise."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from paaplus.chaos import world
from paaplus.chaos.client import Client
from paaplus.chaos.invariants import Check, check_all, is_quiet
from paaplus.chaos.ledger import Ledger, Scored
from paaplus.chaos.oracle import Oracle
from paaplus.chaos.platform import Platform
from paaplus.chaos.proxy import Proxy
from paaplus.chaos.report import load_of, make_report
from paaplus.chaos.traffic import Album, Thread, Traffic, erase, read_scored
from paaplus.chaos.trouble import Broker, FolderBroker, RedisBroker, Troublemaker
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, RunRow, UserRow
from paaplus.errors import Conflict, InvalidInput, Unavailable
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

NUM_THREADS: Final = 3
NUM_PEOPLE: Final = 5  # per thread
NUM_WORKERS: Final = 2
NUM_FIRST_PICTURES: Final = 8  # per thread
WARM_UP_TIMEOUT_S: Final = 300.0
TRAFFIC_PAUSE_S: Final = 0.05
DRILL_TRAFFIC_PAUSE_S: Final = 0.5  # the drill waits for single events: beside much traffic each takes minutes
TROUBLE_PAUSE_S: Final = 0.8
REST_TIMEOUT_S: Final = 300.0
DOUBT_TRIES: Final = 100
_PORTS: Final = {"postgresql": 5432, "redis": 6379}


@dataclass(frozen=True)
class Options:
    """The options of `paaplus chaos`. Empty URLs mean the embedded database and broker."""

    seed: int
    minutes: float
    home: Path
    database_url: str = ""
    broker_url: str = ""


def run_chaos(options: Options, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run a platform of its own under traffic and faults; returns the report.

    Raises:
        Conflict: the database or the broker is not empty, so it may be in use.
        InvalidInput: a URL without host and port, or of an unknown kind.
        Unavailable: the platform could not be started at all.
    """
    _refuse_what_is_in_use(options)
    wires: dict[str, Proxy] = {}
    database_url = _through_a_wire(options.database_url, "database", wires)
    broker_url = _through_a_wire(options.broker_url, "broker", wires)
    platform = Platform(options.home, database_url=database_url, broker_url=broker_url, num_workers=NUM_WORKERS)
    direct_url = Settings(home=options.home, database_url=options.database_url).resolved_database_url
    broker: Broker
    if options.broker_url:
        broker = RedisBroker(options.broker_url, wires["broker"])
    else:
        broker = FolderBroker(options.home / "queue")
    try:
        with platform:
            return _run(options, platform, broker, wires, direct_url, tell)
    finally:
        for wire in wires.values():
            wire.close()


def _run(
    options: Options,
    platform: Platform,
    broker: Broker,
    wires: dict[str, Proxy],
    direct_url: str,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    tell("a base model, and keys ...")
    world.write_data_folder(options.home / "data", options.seed, num_pictures=30, num_people=6)
    platform.command("db", "upgrade")
    platform.command("base-models", "train", "lite", "--data", str(options.home / "data"), "--json")
    admin = Client(platform.url, _new_key(platform, "admin"))
    application = Client(platform.url, _new_key(platform, "application"))
    platform.start()
    ledger, album = Ledger(), Album()
    *threads, driver = [
        Thread(i, options.seed, application=application, admin=admin, ledger=ledger, album=album, num_people=NUM_PEOPLE)
        for i in range(NUM_THREADS + 1)
    ]
    _warm_up([*threads, driver])
    traffic = Traffic(threads, DRILL_TRAFFIC_PAUSE_S)
    trouble = Troublemaker(platform, broker, wires, options.seed, TROUBLE_PAUSE_S)
    tell("each fault point once ...")
    started = time.monotonic()
    traffic.start()
    points = trouble.drill(driver.drive)
    tell(f"{options.minutes:g} minute(s) of traffic and trouble ...")
    traffic.pause_s = TRAFFIC_PAUSE_S
    trouble.start()
    time.sleep(60 * options.minutes)
    trouble.stop()
    traffic.stop()
    seconds = time.monotonic() - started
    tell("everything is left alone now, until it is quiet ...")
    database = Database(direct_url)
    try:
        rested = _come_to_rest(platform, broker, database, threads[0], ledger)
        tell("checking ...")
        with database.read_session() as session:
            users = [str(user_id) for user_id in session.execute(sa.select(UserRow.id)).scalars()]
            oracle = Oracle(session, BlobStore((options.home / "blobs").absolute().as_uri()))
        final = _ask_for_everything(threads[0], users, [str(i) for i in sorted(oracle.images())])
        with database.read_session() as session:
            checks = [rested, *check_all(session, oracle, ledger, final)]
            rows = {
                "trainings": session.execute(sa.select(sa.func.count()).select_from(RunRow)).scalar_one(),
                "versions": session.execute(sa.select(sa.func.count()).select_from(AdapterRow)).scalar_one(),
                "users_at_the_end": len(users),
            }
    finally:
        database.dispose()
    head = {
        "seed": options.seed,
        "minutes": options.minutes,
        "database": make_url(direct_url).get_backend_name(),
        "broker": "redis" if options.broker_url else "folder",
    }
    load = load_of(ledger, seconds, rows)
    report = make_report(head, load, points, trouble.tallies, dict(platform.unexpected_exits), checks)
    if not report["ok"]:
        report["logs"] = platform.log_tails()
    return report


def _warm_up(threads: list[Thread]) -> None:
    """Wait for the features of the first images, so that there are scores during the faults.

    Raises:
        Unavailable: they were not ready in time.
    """
    for thread in threads:
        thread.begin(NUM_FIRST_PICTURES)
    deadline = time.monotonic() + WARM_UP_TIMEOUT_S
    while not threads[0].sees_scores():
        if time.monotonic() > deadline:
            raise Unavailable(f"the first pictures could not be scored within {WARM_UP_TIMEOUT_S:.0f} s")
        time.sleep(0.3)


def _new_key(platform: Platform, scope: str) -> str:
    which = ["--application", "chaos"] if scope == "application" else []
    return str(platform.command("keys", "create", "--scope", scope, "--name", "chaos", *which, "--json")["key"])


def _come_to_rest(platform: Platform, broker: Broker, database: Database, thread: Thread, ledger: Ledger) -> Check:
    """Stop the faults, repeat the requests in doubt, and wait until no work is left."""
    check = Check("left alone, the platform comes to rest")
    broker.come_back()
    for process in platform.processes.values():
        platform.disarm(process)
        platform.resume(process)
    check.expect(platform.wait_until_ready(180), lambda: "it did not become ready within 180 s")
    for _ in range(DOUBT_TRIES):
        for user_id in ledger.erasing - ledger.erased:
            erase(thread, ledger, user_id)
        by_user = defaultdict(list)
        for user_id, event_id in ledger.in_doubt():
            by_user[user_id].append(ledger.posted[user_id, event_id])
        for user_id, events in by_user.items():
            thread.repost(user_id, events)
        if not by_user and ledger.erasing == ledger.erased:
            break
    check.expect(not ledger.in_doubt(), lambda: f"{len(ledger.in_doubt())} events could not be posted")
    check.expect(ledger.erasing == ledger.erased, lambda: f"not erased: {ledger.erasing - ledger.erased}")
    deadline = time.monotonic() + REST_TIMEOUT_S
    quiet = False
    while not quiet and time.monotonic() < deadline:
        time.sleep(0.5)
        with database.read_session() as session:
            quiet = is_quiet(session)
    check.expect(quiet, lambda: f"jobs or due users were left after {REST_TIMEOUT_S:.0f} s")
    return check


def _ask_for_everything(thread: Thread, users: list[str], images: list[str]) -> list[Scored]:
    found = []
    for user in users:
        answer = thread.ask("predictions", "POST", "/v1/predictions", {"users": [user], "images": images})
        if answer.status == 200:
            found += [read_scored(item) for item in answer.body["items"] if item["status"] == "scored"]
    return found


def _through_a_wire(url: str, name: str, wires: dict[str, Proxy]) -> str:
    """The URL of a proxy, and the proxy that forwards to the URL's server."""
    if not url:
        return ""
    parsed = make_url(url)
    port = parsed.port or _PORTS.get(parsed.get_backend_name())
    if parsed.host is None or port is None:
        raise InvalidInput(f"{name} URL {parsed.render_as_string()!r}: chaos needs a host and a port to stand before")
    wires[name] = Proxy(parsed.host, port)
    return parsed.set(host="127.0.0.1", port=wires[name].port).render_as_string(hide_password=False)


def _refuse_what_is_in_use(options: Options) -> None:
    if options.home.exists() and any(options.home.iterdir()):
        raise Conflict(f"{options.home} is not empty: chaos needs a folder of its own")
    if options.database_url:
        database = Database(options.database_url)
        try:
            if tables := sa.inspect(database.engine).get_table_names():
                raise Conflict(f"the database holds {len(tables)} table(s): chaos needs an empty one of its own")
        finally:
            database.dispose()
    if options.broker_url:
        import redis

        if not options.broker_url.startswith(("redis:", "rediss:")):
            raise InvalidInput("chaos knows Redis and the embedded broker only")
        if size := redis.Redis.from_url(options.broker_url).dbsize():
            raise Conflict(f"the broker holds {size} key(s): chaos needs an empty database of its own")
