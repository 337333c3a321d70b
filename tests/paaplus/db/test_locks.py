"""Locks: by name, the second transaction waits for the first; of a user's row, inserts by others do not wait."""

from __future__ import annotations

import threading
import time

import pytest

from paaplus.db.engine import Database
from paaplus.db.locks import lock_name, lock_user
from paaplus.db.tables import UserRow
from tests.support.factories import make_base_model, make_image, make_receipt, make_user


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
    assert first_holds.wait(60)
    with database.session() as session:
        lock_name(session, "blob:x")
        order.append("second")
    thread.join(60)
    assert order == ["first", "second"]


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_locked_user_does_not_block_receipts(database: Database) -> None:
    with database.session() as session:
        user, image, base = make_user(session), make_image(session), make_base_model(session)
    written = threading.Event()

    def predict() -> None:
        with database.session() as session:
            make_receipt(session, user_id=user.id, image_id=image.id, base_model_id=base.id)
        written.set()

    with database.session() as session:
        assert lock_user(session, user.id) is not None
        thread = threading.Thread(target=predict)
        thread.start()
        assert written.wait(60), "a prediction waits for a transaction that posts feedback"
        thread.join()


@pytest.mark.parametrize("database_kind", ["postgresql"])
def test_locked_user_is_read_again(database: Database) -> None:
    with database.session() as session:
        user_id = make_user(session).id
    with database.session() as first:
        assert first.get(UserRow, user_id).epoch == 0
        with database.session() as second:
            lock_user(second, user_id).epoch = 7
        assert lock_user(first, user_id).epoch == 7
