"""Locks by name: whoever comes second waits for the first one's commit."""

from __future__ import annotations

import threading
import time

from paaplus.db.engine import Database
from paaplus.db.locks import lock_name


def test_same_name_is_held_by_one_transaction_at_a_time(database: Database) -> None:
    order: list[str] = []
    first_holds = threading.Event()

    def first() -> None:
        with database.session() as session:
            lock_name(session, "blob:x")
            first_holds.set()
            time.sleep(0.2)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    first_holds.wait(10)
    with database.session() as session:
        lock_name(session, "blob:x")
        order.append("second")
    thread.join(10)
    assert order == ["first", "second"]
