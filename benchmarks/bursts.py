"""Processor milliseconds of a single event in the writer of feedback, by how many are posted at the same moment.

    python benchmarks/bursts.py [--bursts 1,4,16,64] [--events 256] [--repeats 5] [--record]

What an API process does for `POST /v1/feedback` after it has read the request, on SQLite, without HTTP: a burst of
postings of one event each, of different users, is handed to the writer, and the next one follows when all are
committed. A row is the fastest of the repeats. --record keeps the result.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from functools import partial
from pathlib import Path
from uuid import UUID

from ingest import populate
from recording import record_rows

from paaplus.db import migrate
from paaplus.db.engine import Database
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.feedback.writer import FeedbackWriter, Posted
from paaplus.services.users.keys import KeyRing
from paaplus.settings import Settings

NUM_USERS = 400


def event(event_id: str, image_id: UUID, user_id: UUID) -> NewEvent:
    payload = {"ratings": {"beauty": 5.0}, "scale": {"min": 0, "max": 10}}
    return NewEvent(0, user_id, event_id, FeedbackKind.RATING, payload, image_id=image_id)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bursts", default="1,4,16,64", help="postings at the same moment")
    parser.add_argument("--events", type=int, default=256, help="of each repeat")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home))
        migrate.upgrade(settings.resolved_database_url)
        database = Database(settings.resolved_database_url)
        _, images, token = populate(database)
        key, writer, numbers = (
            KeyRing(database).authenticate(token),
            FeedbackWriter(database, settings),
            itertools.count(),
        )

        def posted() -> list[Posted]:
            number = next(numbers)
            name = f"e{number}"
            return [Posted(0, name, f"u{number % NUM_USERS}", partial(event, name, images[number % len(images)]))]

        for burst in [int(burst) for burst in options.bursts.split(",")]:
            costs: list[float] = []
            for _ in range(options.repeats + 1):  # the first warms up
                clock, num_events = time.process_time(), 0
                while num_events < options.events:
                    results = [writer.submit(key, posted()) for _ in range(burst)]
                    assert all(result.result(60)[0].status == "accepted" for result in results)
                    num_events += burst
                costs.append(1e3 * (time.process_time() - clock) / num_events)
            found.append({"at_the_same_moment": burst, "cpu_ms_per_event": min(costs[1:])})
            print(found[-1], flush=True)
        writer.close()
        database.dispose()
    if options.record:
        record_rows("bursts", f"python benchmarks/bursts.py --bursts {options.bursts}", found)


if __name__ == "__main__":
    main()
