"""The faults that are injected, in a seeded order, each once before any is repeated."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from paaplus.chaos.platform import LEASE_S, Platform, Process
from paaplus.chaos.proxy import Proxy
from paaplus.faults import STOP

REACH_TIMEOUT_S: Final = 15.0  # longest time until a process reaches its fault point
RECOVER_TIMEOUT_S: Final = 120.0  # a worker that starts beside others on a busy machine takes half a minute
DRILL_TIMEOUT_S: Final = 240.0  # longest time that the drill drives a process to one fault point
DRILL_PAUSE_S: Final = 0.2
PAST_LEASE_S: Final = LEASE_S + 1.5
AWAY_S: Final = 2.5
API_FACTOR: Final = 4.0  # most of the time the API must be running
AROUND_FACTOR: Final = (
    5.0  # without the broker little happens, and the other threads would not reach their fault points
)

WORKER_POINTS: Final = (
    "features_stored",  # these two first: later their jobs wait behind trainings
    "labels_stored",
    "job_claimed",
    "trained",
    "old_version_retired",
    "version_written",
    "training_uncommitted",
    "training_committed",
)
SCHEDULER_POINTS: Final = ("jobs_enqueued",)
API_POINTS: Final = ("feedback_uncommitted", "feedback_committed", "pointer_moved", "user_files_deleted")


class Broker(Protocol):
    """Faults of a broker."""

    def empty(self) -> None: ...
    def leave(self) -> None: ...
    def come_back(self) -> None: ...


class FolderBroker:
    """The embedded broker: a folder of messages."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._away = folder / "messages", folder / "messages-away"

    def empty(self) -> None:
        for message in self._folder.glob("*.msg"):
            message.unlink(missing_ok=True)

    def leave(self) -> None:
        self._folder.rename(self._away)

    def come_back(self) -> None:
        if self._away.exists():
            if self._folder.exists():  # created again meanwhile
                for message in self._folder.iterdir():
                    message.rename(self._away / message.name)
                self._folder.rmdir()
            self._away.rename(self._folder)


class RedisBroker:
    """Redis behind the proxy. Only keys of the deployment's own Redis database are deleted."""

    def __init__(self, url: str, wire: Proxy) -> None:
        import redis

        self._redis, self._wire = redis.Redis.from_url(url), wire

    def empty(self) -> None:
        self._redis.flushdb()

    def leave(self) -> None:
        self._wire.cut()

    def come_back(self) -> None:
        self._wire.restore()


@dataclass
class Tally:
    """Counts of one kind of fault. `reached`: it happened (a process reached its fault point)."""

    tried: int = 0
    reached: int = 0
    survived: int = 0


class Act(Protocol):
    """Injects one fault; returns True if it happened."""

    def __call__(self, rng: random.Random) -> bool: ...


class Troublemaker:
    """Injects faults until told to stop, in three threads: API, workers, and their surroundings."""

    def __init__(self, platform: Platform, broker: Broker, wires: dict[str, Proxy], seed: int, pause_s: float) -> None:
        self._platform, self._broker, self._wires = platform, broker, wires
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.tallies: dict[str, Tally] = {}
        lanes = (
            (self._at_api(), API_FACTOR * pause_s),
            (self._at_workers(), pause_s),
            (self._around(), AROUND_FACTOR * pause_s),
        )
        self._threads = [
            threading.Thread(target=self._run, args=(*lane, random.Random(f"trouble {seed} {i}")), daemon=True)
            for i, lane in enumerate(lanes)
        ]

    def drill(self, drive: Callable[[str], None]) -> dict[str, bool]:
        """Kill a process at each fault point once, one after the other; returns which points were reached.

        Args:
            drive: asks the platform for something that leads to this point.
        """
        reached = {}
        for points, role in ((WORKER_POINTS, "worker"), (SCHEDULER_POINTS, "scheduler"), (API_POINTS, "api")):
            for point in points:
                reached[point] = self._drill_at(point, self._of_role(role), drive)
        return reached

    def _drill_at(self, point: str, among: list[Process], drive: Callable[[str], None]) -> bool:
        lives = [self._platform.arm(process, point) for process in among]
        ends_at = time.monotonic() + DRILL_TIMEOUT_S

        def died() -> bool:
            return any(life is not None and life.poll() is not None for life in lives)

        while not died() and time.monotonic() < ends_at:
            drive(point)
            time.sleep(DRILL_PAUSE_S)
        for process in among:
            self._platform.disarm(process)
        self._platform.wait_until_ready(RECOVER_TIMEOUT_S)
        return died()

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Wait until the current faults are over and repaired."""
        self._done.set()
        for thread in self._threads:
            thread.join()

    def _at_api(self) -> dict[str, Act]:
        api = self._platform.processes["api"]
        acts: dict[str, Act] = {"api killed at a random moment": partial(self._kill, [api])}
        return acts | {f"api killed at {point}": partial(self._kill_at, [api], point) for point in API_POINTS}

    def _at_workers(self) -> dict[str, Act]:
        workers = self._of_role("worker")
        acts: dict[str, Act] = {
            "worker killed at a random moment": partial(self._kill, workers),
            "worker paused past its lease": partial(self._pause, workers),
            "worker paused past its lease before its commit": partial(self._pause_before_commit, workers),
        }
        return acts | {f"worker killed at {point}": partial(self._kill_at, workers, point) for point in WORKER_POINTS}

    def _around(self) -> dict[str, Act]:
        acts: dict[str, Act] = {
            "scheduler killed at a random moment": partial(self._kill, self._of_role("scheduler")),
            "scheduler killed at jobs_enqueued": partial(self._kill_at, self._of_role("scheduler"), "jobs_enqueued"),
            "broker emptied": self._empty_broker,
            "broker away": self._broker_away,
        }
        if "broker" in self._wires:
            acts["broker silent"] = self._silence_broker
        if "database" in self._wires:
            acts["database connections broken"] = self._break_database
            acts["database away"] = self._database_away
        return acts

    def _run(self, acts: dict[str, Act], pause_s: float, rng: random.Random) -> None:
        for name in _deck(list(acts), rng):
            if self._done.wait(pause_s * rng.uniform(0.5, 1.5)):
                return
            reached = acts[name](rng=rng)
            ready = self._platform.wait_until_ready(RECOVER_TIMEOUT_S)
            with self._lock:
                tally = self.tallies.setdefault(name, Tally())
                tally.tried += 1
                tally.reached += reached
                tally.survived += reached and ready  # a fault that did not happen was not survived

    def _of_role(self, role: str) -> list[Process]:
        return [process for process in self._platform.processes.values() if process.role == role]

    def _kill(self, among: list[Process], rng: random.Random) -> bool:
        self._platform.kill(rng.choice(among))
        return True

    def _kill_at(self, among: list[Process], point: str, rng: random.Random) -> bool:
        lives = [self._platform.arm(process, point) for process in rng.sample(among, len(among))]
        reached = self._wait(lambda: any(life is None or life.poll() is not None for life in lives))
        for process in among:
            self._platform.disarm(process)
        return reached

    def _pause(self, among: list[Process], rng: random.Random) -> bool:
        process = rng.choice(among)
        self._platform.pause(process)
        time.sleep(PAST_LEASE_S)
        self._platform.resume(process)
        return True

    def _pause_before_commit(self, among: list[Process], rng: random.Random) -> bool:
        process = rng.choice(among)
        self._platform.arm(process, "trained" + STOP)
        reached = self._wait(lambda: self._platform.has_stopped_itself(process))
        if reached:
            time.sleep(PAST_LEASE_S)
            self._platform.resume(process)
        self._platform.disarm(process)
        return reached

    def _empty_broker(self, rng: random.Random) -> bool:
        self._broker.empty()
        return True

    def _broker_away(self, rng: random.Random) -> bool:
        self._broker.leave()
        try:
            time.sleep(AWAY_S)
        finally:
            self._broker.come_back()
        return True

    def _silence_broker(self, rng: random.Random) -> bool:
        self._wires["broker"].silence()
        time.sleep(AWAY_S)
        self._wires["broker"].restore()
        return True

    def _break_database(self, rng: random.Random) -> bool:
        self._wires["database"].break_connections()
        return True

    def _database_away(self, rng: random.Random) -> bool:
        self._wires["database"].cut()
        time.sleep(AWAY_S)
        self._wires["database"].restore()
        return True

    def _wait(self, happened: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + REACH_TIMEOUT_S
        while time.monotonic() < deadline and not self._done.is_set():
            if happened():
                return True
            time.sleep(0.05)
        return happened()


def _deck(names: list[str], rng: random.Random) -> Iterator[str]:
    """All faults in random order, each once before any is repeated."""
    while True:
        rng.shuffle(names)
        yield from names
