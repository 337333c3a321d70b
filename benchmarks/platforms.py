"""Not a script: a running platform of any commit, asked only through what every commit has. Linux only.

That is the command line, HTTP, and the names of the processes. Users are named as the other benchmarks name them:
`u0` to `u999` never become due, so that what is posted for them starts no training.
"""

from __future__ import annotations

import functools
import http.client
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from processes import PAAPLUS, clock_s, family, free_port, is_ready, processor_s, running, signalled, until_ready, up
from recording import builtin_set
from serving import Server

APPLICATION = "bench"
NUM_NEVER_DUE, NEVER = 1_000, {"min_new_feedback": 1_000_000}
FIRST_START_S, WAIT_S, POLL_S = 1_800.0, 900.0, 0.02
BATCH = 1_000  # events of one request
ENVIRONMENT = {
    "PAAPLUS_LOG_LEVEL": "WARNING", "PAAPLUS_REQUESTS_PER_MINUTE": "0", "PAAPLUS_USER_REQUESTS_PER_MINUTE": "0",
    "PAAPLUS_FEEDBACK_PER_KEY_PER_DAY": "0", "PAAPLUS_FEEDBACK_PER_USER_PER_DAY": "0",
    "PAAPLUS_PREDICTIONS_PER_KEY_PER_DAY": "0", "PAAPLUS_UPLOADS_PER_KEY_PER_DAY": "0",
}  # fmt: skip


class NotThereError(Exception):
    """This code cannot do it."""


@dataclass
class Platform:
    """One code with a home of its own. What a row needs is prepared when it is first asked for.

    Attributes:
        name: `before` or `now`.
        tree: the folder of the code.
        home: its PAAPLUS_HOME.
        num_images: photographs that users rate.
        database_url: empty: SQLite in the home.
        first_start: seconds on the wall, and of the processor, of `paaplus up` in an empty home; None: not started yet.
    """

    name: str
    tree: Path
    home: Path
    num_images: int
    database_url: str = ""
    first_start: tuple[float, float] | None = None
    pid: int = 0
    port: int = 0
    aspect: str = ""
    _stack: ExitStack = field(default_factory=ExitStack)
    _events: Iterator[int] = field(default_factory=itertools.count)
    _opinions: dict[str, float] = field(default_factory=dict)

    # Processes

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of a deployment that the shell may know comes in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PAAPLUS_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        database = {"PAAPLUS_DATABASE_URL": self.database_url} if self.database_url else {}
        return {**kept, **ENVIRONMENT, **database, "PYTHONPATH": str(self.tree), "PAAPLUS_HOME": str(self.home)}

    def module(self, name: str) -> str:
        """`api` and `workers` were packages beside `paaplus` once."""
        return f"paaplus.{name}" if (self.tree / "paaplus" / name).is_dir() else name

    def command(self, *arguments: str) -> Any:
        """What a command prints with --json."""
        done = subprocess.run(
            [PAAPLUS, *arguments, "--json"],
            env=self.environment, cwd=self.home, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"paaplus {' '.join(arguments)}: {done.stderr[-300:]}")
        return json.loads(done.stdout)

    def start(self) -> tuple[float, float]:
        """Start `paaplus up`; seconds on the wall, and of the processor, until it was ready."""
        is_first, self.port = self.first_start is None, free_port()
        ready_s = FIRST_START_S if is_first else WAIT_S
        started = up(self.home, port=self.port, environment=self.environment, ready_s=ready_s)
        self.pid, wall_s = self._stack.enter_context(started)
        self._stack.callback(self.go_on)  # what is suspended does not end
        took = wall_s, processor_s(self.pid)
        if is_first:
            self.first_start = took
        return took

    def stop(self) -> None:
        self._stack.close()
        self.pid = 0

    def ensure_running(self) -> None:
        """Running and at work, whatever was done to it before."""
        if self.pid and not is_ready(self.port):
            self.stop()
        if not self.pid:
            self.start()

    def suspend(self) -> None:
        """No process of it takes any time until `go_on`."""
        if self.pid:
            signalled([self.pid], signal.SIGSTOP)

    def go_on(self) -> None:
        if self.pid:
            signalled([self.pid], signal.SIGCONT)

    def process(self, word: str) -> int:
        """The process whose command has this word: `worker`, `beat` or `api`."""
        for pid in family(self.pid)[1:]:
            told = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            if word in told or self.module(word) in told:
                return pid
        raise RuntimeError(f"{self.name}: no process {word}")

    def api_s(self) -> float:
        return clock_s(self.process("api"))

    def worker_s(self) -> float:
        return clock_s(self.process("worker"))

    @contextmanager
    def without_worker(self) -> Iterator[None]:
        """The worker is suspended meanwhile."""
        worker = [self.process("worker")]
        signalled(worker, signal.SIGSTOP)
        try:
            yield
        finally:
            signalled(worker, signal.SIGCONT)

    @contextmanager
    def apart(self, **settings: str) -> Iterator[tuple[list[int], int]]:
        """API, worker of queue `cpu` and scheduler, started alone with these settings: process ids, and the port."""
        self.ensure_running()  # the database is there
        self.stop()
        app, port = self.module("workers") + ".app", free_port()
        python = [sys.executable, "-m"]
        commands = [
            [*python, self.module("api")],
            [*python, "celery", "-A", app, "worker", "-Q", "cpu", "-P", "solo", "--loglevel", "WARNING"],
            [*python, "celery", "-A", app, "beat", "--pidfile", "", "--loglevel", "WARNING"],
        ]
        environment = self.environment | {"PAAPLUS_API_PORT": str(port)} | settings
        with (self.home / "apart.log").open("ab") as log, running(commands, environment, self.home, log) as pids:
            until_ready(port)
            until_at_rest(pids)
            self.port, before = port, self.port
            try:
                yield pids, port
            finally:
                self.port = before

    # HTTP

    @functools.cached_property
    def token(self) -> str:
        self.ensure_running()
        record = self.command("keys", "create", "--scope", "application", "--application", APPLICATION, "--name", "b")
        return str(record["key"])

    @functools.cached_property
    def admin_token(self) -> str:
        return str(self.command("keys", "create", "--scope", "admin", "--name", "bench")["key"])

    @contextmanager
    def client(self, *, admin: bool = False) -> Iterator[httpx.Client]:
        headers = {"Authorization": f"Bearer {self.admin_token if admin else self.token}"}
        # A server closes what was idle for 5 s, which a request may not meet.
        limits = httpx.Limits(keepalive_expiry=2.0)
        url = f"http://127.0.0.1:{self.port}"
        with httpx.Client(base_url=url, headers=headers, timeout=WAIT_S, limits=limits, trust_env=False) as client:
            yield client

    @contextmanager
    def server(self) -> Iterator[Server]:
        """A kept connection to the API, as the benchmark of predictions has it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            yield Server(self.process("api"), connection, self.token, self.images)
        finally:
            connection.close()

    # Contents

    @functools.cached_property
    def _photographs(self) -> Iterator[Path]:
        files = sorted((builtin_set() / "images").iterdir())
        random.Random(0).shuffle(files)
        return iter(files)

    def upload(self, num: int) -> list[str]:
        """So many photographs that it does not have yet; not their features."""
        with self.client() as client:
            answers = [
                answer(client.post("/v1/images", files={"file": (file.name, file.read_bytes(), "image/jpeg")}))
                for file in itertools.islice(self._photographs, num)
            ]
        if len(answers) < num:
            raise RuntimeError("there are no more photographs in the built-in set: fewer turns")
        return [str(each["id"]) for each in answers]

    def until_extracted(self, images: Sequence[str]) -> None:
        with self.client() as client:
            until_each(images, lambda image: answer(client.get(f"/v1/images/{image}"))["features"] == "ready")

    @functools.cached_property
    def images(self) -> list[str]:
        """Images that have features, and an opinion on each: the base model's scores turned round.

        A person of that opinion is another one than everybody after ten ratings, and the gate promotes.
        """
        images = self.upload(self.num_images)
        self.until_extracted(images)
        self.add_users(["everybody"], NEVER)
        with self.client() as client:
            body = {"users": ["everybody"], "images": images}
            items = answer(client.post("/v1/predictions", json=body))["items"]
        scores = [float(next(iter(item["generic"].values()))) for item in items]
        self.aspect = str(next(iter(items[0]["generic"])))
        mean = float(np.mean(scores))
        self._opinions = {
            image: float(np.clip(mean - 2 * (score - mean), 0, 10)) for image, score in zip(images, scores, strict=True)
        }
        return images

    @property
    def opinions(self) -> list[float]:
        return [self._opinions[image] for image in self.images]

    def add_users(self, names: Sequence[str], policy: dict[str, Any] | None = None) -> None:
        with self.client() as client:
            for name in names:
                answer(client.post("/v1/users", json={"external_id": name, "policy": policy or {}}))

    @functools.cached_property
    def never_due(self) -> list[str]:
        names = [f"u{number}" for number in range(NUM_NEVER_DUE)]
        self.add_users(names, NEVER)
        return names

    @functools.cached_property
    def trained(self) -> list[str]:
        """64 users who have a version."""
        names = [f"c{number}" for number in range(64)]
        self.add_users(names)
        self.train(names, 10)
        return names

    def events(self, users: Sequence[str], num_each: int) -> list[dict[str, Any]]:
        """Ratings by each user, of one image after the other, with some noise."""
        found = []
        images = self.images
        for user, _ in itertools.product(users, range(num_each)):
            number = next(self._events)
            image = images[number % len(images)]
            stars = self._opinions[image] + random.Random(number).gauss(0, 0.5)
            found.append(
                {"event_id": f"b{number}", "user": user, "kind": "rating", "image": image,
                 "ratings": {self.aspect: round(min(10.0, max(0.0, stars)), 2)}, "scale": {"min": 0, "max": 10}}
            )  # fmt: skip
        return found

    def post(self, events: Sequence[dict[str, Any]]) -> None:
        with self.client() as client:
            for start in range(0, len(events), BATCH):
                part = events[start : start + BATCH]
                told = answer(client.post("/v1/feedback", json={"events": part}))
                assert told["accepted"] == len(part), told

    def until_trained(self, users: Sequence[str]) -> None:
        """Until a training has seen the last event of each."""
        with self.client() as client:

            def is_trained(user: str) -> bool:
                told = answer(client.get(f"/v1/users/{user}"))
                return bool(told["trained_sequence"] == told["feedback_sequence"])

            until_each(users, is_trained)

    def train(self, users: Sequence[str], num_each: int) -> None:
        self.post(self.events(users, num_each))
        self.until_trained(users)


def answer(response: httpx.Response) -> Any:
    """The JSON of an answer.

    Raises:
        NotThereError: there is no such endpoint.
        RuntimeError: any other refusal, with its text.
    """
    if response.status_code in (404, 405):
        raise NotThereError(str(response.request.url.path))
    if response.is_error:
        raise RuntimeError(f"{response.request.url.path}: {response.status_code} {response.text[:300]}")
    return response.json()


def until_each(things: Sequence[str], is_done: Callable[[str], bool]) -> None:
    """Until all are done; each is asked again only while it is not.

    Raises:
        TimeoutError: one is not done after 15 minutes.
    """
    until = time.monotonic() + WAIT_S
    for thing in things:
        while not is_done(thing):
            if time.monotonic() > until:
                raise TimeoutError(f"{thing} is not done after {WAIT_S:.0f} s")
            time.sleep(POLL_S)


def until_at_rest(pids: Sequence[int]) -> None:
    """Until processes that were started have loaded what they need: all together take less than 5 % of a processor."""
    until = time.monotonic() + WAIT_S
    while True:
        before = sum(clock_s(pid) for pid in pids)
        time.sleep(1.0)
        if sum(clock_s(pid) for pid in pids) - before < 0.05 or time.monotonic() > until:
            return
