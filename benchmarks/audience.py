"""What it costs to score one image by all users of an application over HTTP.

    python benchmarks/audience.py [--users 100000] [--rounds 7] [--record]

One API process on SQLite as `paaplus up` starts it, asked over one kept connection by this process, which is not
counted: processor milliseconds of the API's process and latencies. A simulated base model with 256 taste dimensions and
a taste vector for every user. `warm`: nothing was written since the call before; `one write`: an event of a user was;
`one version`: a user has another version; `cold`: the first call of a process, which reads every adapter. The peer is
one NumPy product of the same taste vectors and image in this process, without users, versions and bits. --record
keeps the result in benchmarks/results.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import serving

from paaplus.ids import new_id, sha256_hex
from paaplus.scoring.adapters import TasteVector, adapter_from_bytes

FIRST_USERS = 1_010  # that `serving.prepare` makes; the others are copies of their rows with weights of their own
AT_ONCE = 5_000


def fill(home: Path, num_users: int) -> None:
    """Users and versions beside those that are there, by the driver: a hundred thousand take seconds."""
    database = sqlite3.connect(home / "paaplus.db")
    user, version = (_first(database, table) for table in ("users", "adapters"))
    base_digest = adapter_from_bytes(version["data"]).base_digest
    rng, one = np.random.default_rng(1), np.ones(1, np.float32)
    for start in range(FIRST_USERS, num_users, AT_ONCE):
        users, versions = [], []
        for number in range(start, min(start + AT_ONCE, num_users)):
            user |= {"id": new_id().hex, "external_id": f"u{number}"}
            weight_RA = (0.1 * rng.standard_normal((serving.TASTE_DIM, 1))).astype(np.float32)
            data = TasteVector(base_digest, alpha_A=one, beta_A=0 * one, weight_RA=weight_RA).to_bytes()
            version |= {"id": new_id().hex, "user_id": user["id"], "data": data, "digest": sha256_hex(data)}
            users.append(tuple(user.values()))
            versions.append(tuple(version.values()))
        for table, rows in (("users", users), ("adapters", versions)):
            database.executemany(f"insert into {table} values ({','.join('?' * len(rows[0]))})", rows)
        database.commit()
    database.close()


def _first(database: sqlite3.Connection, table: str) -> dict[str, object]:
    rows = database.execute(f"select * from {table} limit 1")
    return dict(zip([column[0] for column in rows.description], rows.fetchone(), strict=True))


def write_something(home: Path) -> None:
    """Any change of the database that is not about versions."""
    with sqlite3.connect(home / "paaplus.db", timeout=60) as database:
        database.execute("update users set feedback_sequence = feedback_sequence + 1 where external_id = 'u0'")
    database.close()


def change_version(home: Path) -> None:
    """Another version of one user."""
    with sqlite3.connect(home / "paaplus.db", timeout=60) as database:
        version = _first(database, "adapters")
        database.execute("update adapters set state = 'retired' where id = ?", (version["id"],))
        (number,) = database.execute(
            "select max(number) from adapters where user_id = ?", (version["user_id"],)
        ).fetchone()
        version |= {"id": new_id().hex, "number": number + 1, "state": "active"}
        database.execute("update adapters set state = 'retired' where user_id = ?", (version["user_id"],))
        database.execute(f"insert into adapters values ({','.join('?' * len(version))})", tuple(version.values()))
    database.close()


def measured(
    what: str, server: serving.Server, body: dict[str, object], rounds: int, before: Callable[[], None]
) -> dict[str, object]:
    cpus, walls, size = [], [], 0
    for _ in range(rounds):
        before()
        cpu_s, started = server.cpu_s(), time.perf_counter()
        answer = server.ask(body, "/v1/audiences")
        walls.append(1e3 * (time.perf_counter() - started))
        cpus.append(1e3 * (server.cpu_s() - cpu_s))
        assert answer is not None, "the request was refused"
        size = len(answer)
    row: dict[str, object] = {
        "what": what, "cpu_ms": statistics.median(cpus), "least_cpu_ms": min(cpus), "p50_ms": statistics.median(walls),
        "least_ms": min(walls), "bytes": size,
    }  # fmt: skip
    serving.show(row)
    return row


def peer_ms(num_users: int, rounds: int) -> dict[str, object]:
    """One product of all taste vectors and an image."""
    rng = np.random.default_rng(0)
    weight_UR = rng.standard_normal((num_users, serving.TASTE_DIM), np.float32)
    taste_R = rng.standard_normal(serving.TASTE_DIM, np.float32)
    found = []
    for _ in range(rounds):
        started = time.process_time()
        np.clip(weight_UR @ taste_R, 0, 10)
        found.append(1e3 * (time.process_time() - started))
    row: dict[str, object] = {
        "what": "peer: one NumPy product",
        "cpu_ms": statistics.median(found),
        "least_cpu_ms": min(found),
    }
    serving.show(row)
    return row


def measure(num_users: int, rounds: int) -> list[dict[str, object]]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        serving.NUM_USERS = FIRST_USERS
        serving.prepare(home)
        fill(home, num_users)
        with serving.served(Path(serving.SCRIPT).parents[1], home) as server:
            image = {"image": server.images[0]}

            def nothing() -> None:
                pass

            found = [measured("cold", server, image, 1, nothing)]
            measured("warms up", server, image, 3, nothing)
            for what, before in (
                ("warm", nothing),
                ("one write", lambda: write_something(home)),
                ("one version", lambda: change_version(home)),
            ):
                found.append(measured(what, server, image, rounds, before))
            found.append(measured("warm, top 100", server, {**image, "top": 100}, rounds, nothing))
            found.append(
                measured(
                    "1,000 named users", server, {**image, "users": [f"u{n}" for n in range(1_000)]}, rounds, nothing
                )
            )
        found.append(peer_ms(num_users, rounds))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found = measure(options.users, options.rounds)
    if options.record:
        from recording import record_rows

        record_rows(
            "audience", f"python benchmarks/audience.py --users {options.users} --rounds {options.rounds}", found
        )


if __name__ == "__main__":
    main()
