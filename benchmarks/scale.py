"""How what the platform does costs more as it grows: processor milliseconds against users, history and images.

    python benchmarks/scale.py [--users 1000,10000,100000,1000000] [--history 10,100,1000,10000]
        [--images 1000,10000,50000] [--record]

SQLite, one process, a base model of the shape of `lite2` (simulated people, random features). One axis grows at a time:
the others stay at their smallest. A row is the median of five, after one that warms up. The exponent is the slope of
cost against size on logarithmic axes: 0 is flat, 1 grows with the size. Also printed: bytes of a version, the served
part and the learner state, by the length of the history. --record keeps it, with a plot, in benchmarks/results.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import sqlalchemy as sa
import structlog
import torch
from recording import record_rows
from starlette.testclient import TestClient
from training import APPLICATION, Bench

from paaplus.api.app import create_app
from paaplus.db.tables import AdapterRow
from paaplus.db.tables.governance import KeyScope
from paaplus.services import scheduling
from paaplus.services.operations.seed import SeedPlan, seed
from paaplus.services.users import keys

REPEATS = 5
_numbers = itertools.count()


class Scale:
    """A deployment that grows, with an API in this process."""

    def __init__(self, home: Path) -> None:
        self.bench = Bench(home, claim=1)
        self.bench.settings.requests_per_minute = 0
        self.bench.settings.log_level = "WARNING"
        self.bench.settings.feedback_per_user_per_day = self.bench.settings.feedback_per_key_per_day = 0
        with self.bench.database.session() as session:
            created = keys.create(
                session, name="scale", scope=KeyScope.APPLICATION, application=APPLICATION, actor="scale"
            )
        self.client = TestClient(create_app(self.bench.settings))
        self.client.headers["Authorization"] = f"Bearer {created.token}"
        self.num_users = 0

    def grow_users(self, count: int) -> None:
        seed(self.bench.database, SeedPlan(APPLICATION, count - self.num_users))
        self.num_users = max(count, self.num_users)

    def person(self, num_ratings: int) -> UUID:
        """Somebody with a trained version and this many ratings."""
        [user] = self.bench.add_users(1)
        self.bench.rate(user, num_ratings)
        self.bench.drain()
        return user

    def measure(self, axis: str, size: int, user: UUID) -> list[dict[str, object]]:
        image = str(self.bench.images[0])
        body = {"users": [str(user)], "images": [str(each) for each in self.bench.images[:10]], "receipts": False}

        def post_one() -> None:
            event = {"event_id": f"s{next(_numbers)}", "user": str(user), "kind": "rating", "image": image,
                     "ratings": {"beauty": 5}, "scale": {"min": 0, "max": 10}}  # fmt: skip
            self.client.post("/v1/feedback", json=event).raise_for_status()

        def train() -> None:
            self.bench.rate(user, 10)
            self.bench.drain()

        acts: dict[str, Callable[[], object]] = {
            "post one event": post_one,
            "score 10 images": lambda: self.client.post("/v1/predictions", json=body).raise_for_status(),
            "page of users": lambda: self.client.get("/v1/users?limit=50").raise_for_status(),
            "scan, nothing due": lambda: scheduling.scan(self.bench.database, self.bench.settings),
            "train on 10 more": train,
        }
        return [{"axis": axis, "size": size, "what": name, "cpu_ms": processor_ms(act)} for name, act in acts.items()]

    def version_bytes(self, num_ratings: int, user: UUID) -> dict[str, object]:
        """Bytes of the latest version of somebody with so many ratings."""
        sizes = [sa.func.length(column) for column in (AdapterRow.data, AdapterRow.learner_state)]
        query = sa.select(*sizes).where(AdapterRow.user_id == user).order_by(AdapterRow.number.desc()).limit(1)
        with self.bench.database.read_session() as session:
            served, state = session.execute(query).one()
        return {"ratings": num_ratings, "served_bytes": served, "learner_state_bytes": state}


def processor_ms(act: Callable[[], object]) -> float:
    costs = []
    for _ in range(REPEATS + 1):
        clock = time.process_time()
        act()
        costs.append(1e3 * (time.process_time() - clock))
    return statistics.median(costs[1:])


def exponents(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Slope of cost against size by axis and act."""
    rows = []
    for axis, what in dict.fromkeys((row["axis"], row["what"]) for row in found):
        own = [row for row in found if (row["axis"], row["what"]) == (axis, what)]
        sizes, costs = (np.array([float(str(row[name])) for row in own]) for name in ("size", "cpu_ms"))
        slope = float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]) if len(own) > 1 else float("nan")
        rows.append({"axis": axis, "what": what, "exponent": slope, "first_ms": costs[0], "last_ms": costs[-1]})
    return rows


def plot(found: list[dict[str, object]], file: Path) -> None:
    """Cost against size on logarithmic axes: a panel for each axis, a line for each act."""
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(str(row["axis"]) for row in found))
    figure = Figure(figsize=(4.2 * len(axes), 4.0), layout="constrained")
    panels = figure.subplots(1, len(axes), sharey=True, squeeze=False)[0]
    for panel, axis in zip(panels, axes, strict=True):
        for what in dict.fromkeys(str(row["what"]) for row in found if row["axis"] == axis):
            own = [row for row in found if (row["axis"], row["what"]) == (axis, what)]
            sizes, costs = ([float(str(row[name])) for row in own] for name in ("size", "cpu_ms"))
            panel.loglog(sizes, costs, marker="o", label=what)
        panel.set_xlabel({"history": "ratings of the user"}.get(axis, axis))
        panel.grid(visible=True, which="both", alpha=0.2)
    panels[0].set_ylabel("processor ms")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", default="1000,10000,100000,1000000")
    parser.add_argument("--history", default="10,100,1000,10000")
    parser.add_argument("--images", default="1000,10000,50000")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    axes = {name: [int(size) for size in getattr(options, name).split(",")] for name in ("users", "history", "images")}
    found: list[dict[str, object]] = []
    versions: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as home:
        scale = Scale(Path(home))
        with scale.client:
            scale.bench.add_images(axes["images"][0])
            for size in axes["users"]:
                scale.grow_users(size)
                found += scale.measure("users", size, scale.person(40))
            for size in axes["history"]:
                user = scale.person(size)
                found += scale.measure("history", size, user)
                versions.append(scale.version_bytes(size, user))
            for size in axes["images"]:
                scale.bench.add_images(size)
                found += scale.measure("images", size, scale.person(40))
        scale.bench.database.dispose()
    rows = exponents(found)
    print("| against | what | exponent | ms at the smallest | ms at the largest |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['axis']} | {row['what']} | {row['exponent']:.2f} | {row['first_ms']:.1f} | {row['last_ms']:.1f} |"
        )
    for row in versions:
        print(row)
    if options.record:
        command = f"python benchmarks/scale.py --users {options.users} --history {options.history}"
        folder = record_rows("scale", f"{command} --images {options.images}", found + rows + versions)
        plot(found, folder / "scale.png")


if __name__ == "__main__":
    main()
