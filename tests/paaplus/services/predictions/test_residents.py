"""Users who are kept in memory: every answer is of one moment, and of what was committed before it was asked for."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db import triggers
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, ImageRow, MatchRow, ServingChangeRow, UserRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.models import AdapterState
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.ids import new_id
from paaplus.services.predictions import serving_changes
from paaplus.services.predictions.answers import Answer, Prediction
from paaplus.services.predictions.predict import Predictor
from paaplus.services.registry import base_models
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from tests.paaplus.services.predictions.test_predict import (
    ASPECTS,
    NUM_IMAGES,
    NUM_USERS,
    World,
    bits,
    random_adapter,
)
from tests.support.factories import APPLICATION, make_adapter, make_user
from tests.support.tiny import tiny_base

APP = Principal("app", KeyScope.APPLICATION, application=APPLICATION)
NAMES = [f"u{i}" for i in range(NUM_USERS)]


@pytest.fixture
def world(database: Database, settings: Settings, tmp_path: Path) -> World:
    return World(database, settings, tmp_path / "blobs")


def ask(world: World, predictor: Predictor, names: list[str], image: int = 0) -> Answer:
    wanted = [(name, world.images[image]) for name in names]
    return predictor.answer_references(APP, wanted, with_receipts=False)


def warm(world: World) -> Predictor:
    """A process that knows all users."""
    predictor = world.predictor()
    for _ in range(2):
        ask(world, predictor, NAMES)
    assert len(predictor.store._residents) == NUM_USERS
    return predictor


def told(answer: Answer) -> list[Prediction]:
    return [replace(item, receipt=None) for item in answer.items]


# --- the same answers


def test_known_users_are_answered_as_those_who_are_read(world: World) -> None:
    """Taste vectors, bottlenecks, a match, versions for another base model, no version; in any order and number."""
    with world.database.session() as session:
        other = base_models.register(session, world.blobs, tiny_base(ASPECTS, seed=9), {}, {})
        other.created_at = other.created_at.replace(year=2020)
        other.id = UUID(int=1)  # older than the world's, so not the default
        session.flush()
        world.set_adapter(session, 2, seed=50, base_row=other)
        match = _match(session, world)
        session.execute(
            sa.update(AdapterRow).where(AdapterRow.user_id == world.users[3]).values(match_id=match, strategy="match")
        )
    predictor = warm(world)
    cases = [[(i, 0) for i in range(NUM_USERS)], [(6, 3), (0, 1), (2, 2), (0, 3), (3, 3), (3, 0), (6, 1), (1, 1)],
             [(5, 5)], [(i, image) for image in range(4) for i in range(NUM_USERS)]]  # fmt: skip
    for pairs in cases:
        wanted = [(NAMES[i], world.images[image]) for i, image in pairs]
        expected = told(world.predictor().answer(world.targets(pairs)))
        for _ in range(2):  # images may have to be projected first
            found = predictor.answer_references(APP, wanted)
            assert told(found) == expected
        assert found.columns is not None, "by numbers alone"
        assert found.num_by_source() == {
            source: sum(item.source == source for item in expected) for source in {item.source for item in expected}
        }
        for item in found.items:
            receipt = predictor.signer.read(item.user_id, item.receipt or "")
            assert receipt.image_id == item.image_id
            assert receipt.adapter_id == (item.adapter.id if item.adapter is not None else None)
            assert list(receipt.scores) == list((item.scores or {}).values())


def _match(session: Session, world: World) -> UUID:
    row = MatchRow(
        id=new_id(), user_id=world.users[3], base_model_id=world.base_row.id, kind=MatchKind.GENERIC,
        **{column.name: _some(column) for column in MatchRow.__table__.columns
           if not column.nullable and column.name not in ("id", "user_id", "base_model_id", "kind")},
    )  # fmt: skip
    session.add(row)
    session.flush()
    return row.id


def _some(column: sa.Column[Any]) -> Any:
    kinds: dict[type[Any], Any] = {str: "x", int: 1, float: 0.5, bool: True, dict: {}}
    kind = dict if isinstance(column.type, sa.JSON) else getattr(column.type, "python_type", None)
    return utcnow() if kind not in kinds else kinds[kind]


def test_user_who_is_named_twice_or_does_not_exist_is_answered_as_before(world: World) -> None:
    predictor = warm(world)
    twice = [("u0", world.images[0]), (str(world.users[0]), world.images[1]), ("u0", world.images[2])]
    for _ in range(3):
        items = predictor.answer_references(APP, twice).items
        assert [bits(item) for item in items] == [world.oracle(0, image) for image in range(3)]
    with pytest.raises(NotFound, match="user 'ghost'"):
        predictor.answer_references(APP, [("u0", world.images[0]), ("ghost", world.images[0])])
    with pytest.raises(NotFound, match="does not exist"):
        predictor.answer_references(APP, [("u0", new_id())])
    stranger = Principal("other", KeyScope.APPLICATION, application="other")
    with pytest.raises(NotFound, match="user 'u0'"):
        predictor.answer_references(stranger, [("u0", world.images[0])])


def test_name_that_looks_like_an_id_names_the_user_with_that_id_once_there_is_one(world: World) -> None:
    name = new_id()
    with world.database.session() as session:
        by_name = make_user(session, external_id=str(name)).id
    predictor = warm(world)
    for _ in range(2):
        assert ask(world, predictor, [str(name)]).items[0].user_id == by_name
    with world.database.session() as session:
        make_user(session, id=name, external_id="another")
    assert ask(world, predictor, [str(name)]).items[0].user_id == name


def test_image_that_is_deleted_is_missed_by_the_next_call(world: World) -> None:
    predictor = warm(world)
    with world.database.session() as session:
        session.execute(sa.delete(ImageRow).where(ImageRow.id == world.images[0]))
    with pytest.raises(NotFound, match="image"):
        ask(world, predictor, NAMES)


def test_adapter_that_is_damaged_while_it_is_not_known_fails_alone(world: World) -> None:
    predictor = warm(world)
    with world.database.session() as session:
        world.set_adapter(session, 1, seed=3)
        of_user = AdapterRow.user_id == world.users[1]
        session.execute(sa.update(AdapterRow).where(of_user, AdapterRow.number == 2).values(data=b"x"))
    for _ in range(2):
        items = ask(world, predictor, NAMES).items
        assert [item.status for item in items] == ["scored", "failed", *["scored"] * (NUM_USERS - 2)]
        assert bits(items[0]) == world.oracle(0, 0)


# --- promise: what is committed is seen by the next call, in every process


def _new_version(world: World, session: Session) -> None:
    world.set_adapter(session, 0, seed=77)


def _no_version(world: World, session: Session) -> None:
    session.execute(
        sa.update(AdapterRow).where(AdapterRow.user_id == world.users[0]).values(state=AdapterState.RETIRED)
    )
    world.adapters[0] = None


def _version_deleted(world: World, session: Session) -> None:
    session.execute(sa.delete(AdapterRow).where(AdapterRow.user_id == world.users[0]))
    world.adapters[0] = None


@pytest.mark.parametrize("act", [_new_version, _no_version, _version_deleted])
def test_next_call_has_what_was_committed(world: World, act: Callable[[World, Session], None]) -> None:
    processes = [warm(world), warm(world)]
    before = world.oracle(0, 0)
    with world.database.session() as session:
        act(world, session)
    assert world.oracle(0, 0) != before
    for predictor in processes:
        items = ask(world, predictor, NAMES).items
        assert [bits(item) for item in items] == [world.oracle(i, 0) for i in range(NUM_USERS)]


@pytest.mark.parametrize("change", ["delete", "rename", "move"])
def test_user_who_is_gone_is_not_found_by_the_next_call(world: World, change: str) -> None:
    predictor = warm(world)
    with world.database.session() as session:
        if change == "delete":
            session.execute(sa.delete(UserRow).where(UserRow.id == world.users[0]))
        else:
            values = {"external_id": "new name"} if change == "rename" else {"application": "other"}
            session.execute(sa.update(UserRow).where(UserRow.id == world.users[0]).values(**values))
    with pytest.raises(NotFound, match="user 'u0'"):
        ask(world, predictor, NAMES)
    if change == "rename":
        assert bits(ask(world, predictor, ["new name"]).items[0]) == world.oracle(0, 0)
    if change == "delete":
        with world.database.session() as session:
            again = make_user(session, external_id="u0").id
        assert ask(world, predictor, NAMES).items[0].user_id == again


def test_match_that_is_deleted_is_not_named_any_more(world: World) -> None:
    with world.database.session() as session:
        match = _match(session, world)
        session.execute(sa.update(AdapterRow).where(AdapterRow.user_id == world.users[3]).values(match_id=match))
    predictor = warm(world)
    served = ask(world, predictor, NAMES).items[3].adapter
    assert served is not None
    assert served.match_id == match
    with world.database.session() as session:
        session.execute(sa.delete(MatchRow))
    served = ask(world, predictor, NAMES).items[3].adapter
    assert served is not None
    assert served.match_id is None


ROLL_BACK = """
import sys, sqlalchemy as sa
from paaplus.db.engine import Database
database = Database(sys.argv[1])
with database.session() as session:
    session.execute(sa.text("update adapters set state = 'retired' where number = 2"))
    session.execute(sa.text("update adapters set state = 'active' where number = 1"))
database.dispose()
"""


def test_rollback_by_another_process_is_seen_by_the_next_call(world: World, database_url: str) -> None:
    before = [world.oracle(i, 0) for i in range(NUM_USERS)]
    with world.database.session() as session:
        for i in range(NUM_USERS - 1):
            world.set_adapter(session, i, seed=200 + i)
    predictor = warm(world)
    assert [bits(item) for item in ask(world, predictor, NAMES).items] != before
    subprocess.run([sys.executable, "-c", ROLL_BACK, database_url], check=True)
    assert [bits(item) for item in ask(world, predictor, NAMES).items] == before


def test_new_base_model_is_served_by_the_next_call(world: World) -> None:
    predictor = warm(world)
    newer = tiny_base(ASPECTS, seed=1)
    with world.database.session() as session:
        base_models.register(session, world.blobs, newer, {}, {})
    generic_A = newer.generic(newer.project(world.features_ID[:1]))[0]
    for _ in range(3):
        items = ask(world, predictor, NAMES).items
        assert [bits(item) for item in items] == [[value.tobytes() for value in generic_A]] * NUM_USERS
        assert items[0].source_reason == "adapter_of_another_base_model"
        assert items[-1].source_reason == "no_adapter"


# --- promise: every answer is of one moment


def test_older_transaction_has_its_own_moment_and_leaves_nothing(world: World) -> None:
    predictor = warm(world)
    store, old = predictor.store, world.oracle(0, 0)
    refs, image_ids = ["u0", "u1"], [world.images[0]]
    since = store.position
    with world.database.read_connection() as connection:
        connection.execute(sa.text("select count(*) from users"))  # the moment
        with world.database.session() as session:
            world.set_adapter(session, 0, seed=77)
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
        for _ in range(2):
            known = store.read_known(connection, since, APPLICATION, refs, image_ids)
            assert known is not None
            facts = known.users.facts(0)
            assert facts is not None
            assert facts.number == 1
    assert old != world.oracle(0, 0)
    assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)


def test_what_was_read_before_a_change_is_not_kept_after_it(world: World) -> None:
    predictor = warm(world)
    residents = predictor.store._residents
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=77)
    keep = residents.keep

    def late(*arguments: Any) -> None:
        """Another call goes on before this one keeps what it has read."""
        residents.keep = keep  # type: ignore[method-assign]
        with world.database.session() as session:
            world.set_adapter(session, 0, seed=78)
        ask(world, predictor, ["u1"])
        keep(*arguments)

    residents.keep = late  # type: ignore[method-assign]
    ask(world, predictor, ["u0"])
    assert bits(ask(world, predictor, ["u0"]).items[0]) == world.oracle(0, 0)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_transactions_that_commit_in_another_order_than_they_began(world: World) -> None:
    predictor = warm(world)
    with world.database.session() as first, world.database.session() as second:
        world.set_adapter(first, 0, seed=77)
        first.flush()
        world.set_adapter(second, 1, seed=78)
        old = world.predictor().answer(world.targets([(0, 0), (1, 0)])).items
        second.commit()
        found = ask(world, predictor, NAMES).items
        assert bits(found[0]) == bits(old[0])
        assert bits(found[1]) == world.oracle(1, 0)
        for _ in range(3):
            ask(world, predictor, NAMES)
    found = ask(world, predictor, NAMES).items
    assert [bits(item) for item in found] == [world.oracle(i, 0) for i in range(NUM_USERS)]


@pytest.mark.parametrize(("cache_bytes", "file_bytes"), [(2**20, 0), (5_000, 0), (6_500, 2**20)])
def test_every_answer_of_many_threads_is_of_one_moment_and_not_an_old_one(
    world: World, cache_bytes: int, file_bytes: int, database_kind: str
) -> None:
    """Each transaction gives all users a version of the same number. An answer has one number, and none from before the
    call; there is room for all users, for half of them, or for half in memory and the others in a file. Two processes
    ask, one of them with three threads.
    """
    predictors = [world.predictor(), world.predictor()]
    for predictor in predictors:
        predictor.store._residents._file_bytes = file_bytes
        predictor.store._residents._max_bytes = cache_bytes
        predictor.store._adapters_bytes = cache_bytes
    committed, failures = [1], list[str]()
    done = threading.Event()
    names = NAMES[:-1]

    def hammer(predictor: Predictor, number: int) -> None:
        try:
            while not done.is_set():
                least = committed[0]
                answer = ask(world, predictor, names[number:] + names[:number])
                numbers = {item.adapter.number for item in answer.items if item.adapter is not None}
                if len(numbers) != 1 or min(numbers) < least:
                    failures.append(f"numbers {numbers} after {least}")
        except Exception as error:
            failures.append(repr(error))
            raise

    threads = [threading.Thread(target=hammer, args=(predictors[n > 2], n)) for n in range(4)]
    for thread in threads:
        thread.start()
    started = time.monotonic()
    while (committed[0] < 20 or time.monotonic() < started + 1) and not failures:
        assert time.monotonic() < started + 60
        with world.database.session() as session:
            for i in range(NUM_USERS - 1):
                world.set_adapter(session, i, seed=i)
        committed[0] += 1
        time.sleep(0.002 * (committed[0] % 4))
    done.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert sum(predictor.store._residents.num_hits for predictor in predictors) > 100
    assert (sum(predictor.store._residents.num_file_hits for predictor in predictors) > 10) == bool(file_bytes)


# --- the log


def changes(world: World) -> int:
    with world.database.read_session() as session:
        return session.execute(sa.select(sa.func.count()).select_from(ServingChangeRow)).scalar_one()


@pytest.mark.parametrize("is_behind", [False, True])
def test_shortened_log_drops_who_may_have_changed(
    world: World, monkeypatch: pytest.MonkeyPatch, is_behind: bool
) -> None:
    predictor = warm(world)
    monkeypatch.setattr(serving_changes, "KEPT", 5)
    monkeypatch.setattr(serving_changes, "DELETED_AT_ONCE", 3)
    for seed in range(6):
        for i in range(3):
            with world.database.session() as session:
                world.set_adapter(session, i, seed=10 * seed + i)
        if not is_behind:
            ask(world, predictor, NAMES)
    before = changes(world)
    assert serving_changes.shorten(world.database) == before - changes(world) > 0
    assert 5 <= changes(world) < 10
    assert serving_changes.shorten(world.database) == 0
    found = ask(world, predictor, NAMES).items
    assert [bits(item) for item in found] == [world.oracle(i, 0) for i in range(NUM_USERS)]
    assert len(predictor.store._residents) == NUM_USERS


def test_log_that_nobody_wrote_yet_proves_nothing(world: World) -> None:
    with world.database.session() as session:
        session.execute(sa.delete(ServingChangeRow))
    predictor = world.predictor()
    for _ in range(3):
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(predictor.store._residents) == 0
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=5)
    for _ in range(2):
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(predictor.store._residents) == NUM_USERS


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_log_that_was_replaced_by_another_is_noticed(world: World) -> None:
    """A file that was put in the place of another one has a log of its own."""
    predictor = warm(world)
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=5)
        session.flush()
        rows = session.execute(sa.select(ServingChangeRow.__table__)).mappings().all()
        session.execute(sa.delete(ServingChangeRow))
        later = [{**row, "number": row["number"] + 10**9} for row in rows[:1]]
        session.execute(sa.insert(ServingChangeRow), later)
    assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("change", ["started again", "went back"])
def test_server_that_was_replaced_by_another_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    predictor = warm(world)
    position = predictor.store.position
    assert position is not None
    # As if what is known were of a server that was started at another time, or had had more transactions.
    other = (
        position._replace(database=position.database - 1)
        if change == "started again"
        else position._replace(order=(position.order[0] + 10**6, 0), mark="1000000000:1000000000:")
    )
    monkeypatch.setattr(predictor.store._residents, "_position", other)
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=5)
        # The triggers' rows are of a transaction that the other server has not had.
    for _ in range(2):
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(predictor.store._residents) == NUM_USERS


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_log_that_was_copied_from_another_server_tells_nothing_twice(world: World) -> None:
    """Its transactions may have numbers that this server has not given yet."""
    copied = [{"number": 10**9 + n, "transaction_id": 10**12 + n, "user_id": world.users[0]} for n in range(3_000)]
    with world.database.session() as session:
        session.execute(sa.insert(ServingChangeRow), copied)
    predictor = warm(world)
    with world.database.session() as session:
        world.set_adapter(session, 1, seed=5)
    misses = predictor.store._residents.num_misses
    for _ in range(2):
        items = ask(world, predictor, NAMES).items
        assert [bits(item) for item in items] == [world.oracle(i, 0) for i in range(NUM_USERS)]
    assert predictor.store._residents.num_misses == misses + 1
    assert serving_changes.shorten(world.database) == 3_000
    assert 0 < changes(world) < 30


def test_many_changes_are_not_read_one_by_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = warm(world)
    with world.database.session() as session:
        for i in range(NUM_USERS - 1):
            world.set_adapter(session, i, seed=300 + i)
    dropped: list[Any] = []
    monkeypatch.setattr(predictor.store._residents, "_drop", dropped.append)
    with world.database.session() as session:
        user = world.users[0]
        number = session.execute(sa.select(sa.func.max(ServingChangeRow.number))).scalar_one()
        transaction = session.execute(sa.select(sa.func.max(ServingChangeRow.transaction_id))).scalar_one()
        session.execute(
            sa.insert(ServingChangeRow),
            [{"number": number + 1 + n, "transaction_id": transaction, "user_id": user} for n in range(3_000)],
        )
    items = ask(world, predictor, NAMES).items
    assert [bits(item) for item in items] == [world.oracle(i, 0) for i in range(NUM_USERS)]
    assert dropped == []


def test_database_that_lost_a_trigger_is_read_every_time(world: World) -> None:
    with world.database.session() as session:
        on_table = "" if session.get_bind().dialect.name == "sqlite" else " ON adapters"
        session.execute(sa.text(f"DROP TRIGGER serving_adapters_changed{on_table}"))
        assert triggers.missing(session.connection()) == ["serving_adapters_changed"]
    predictor = world.predictor()
    for seed in (None, 5, 6):
        if seed is not None:
            with world.database.session() as session:
                world.set_adapter(session, 0, seed=seed)
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(predictor.store._residents) == 0


def test_trigger_that_is_lost_while_a_process_runs_is_missed_within_a_minute(world: World) -> None:
    predictor = warm(world)
    store = predictor.store
    with world.database.session() as session:
        on_table = "" if session.get_bind().dialect.name == "sqlite" else " ON adapters"
        session.execute(sa.text(f"DROP TRIGGER serving_adapters_changed{on_table}"))
        session.execute(sa.text(f"DROP TRIGGER serving_adapters_added{on_table}"))
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=5)
    store._looked_at -= 60
    assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(store._residents) == 0
    with world.database.session() as session:
        world.set_adapter(session, 0, seed=6)
        triggers.make_missing(session.connection())
    store._looked_at -= 60
    for _ in range(2):
        assert bits(ask(world, predictor, NAMES).items[0]) == world.oracle(0, 0)
    assert len(store._residents) == NUM_USERS


def test_nobody_is_asked_for_nothing(world: World) -> None:
    predictor = warm(world)
    assert predictor.answer_references(APP, []).items == []
    wanted = [("u0", [], []), ("u1", [world.images[0]], [0])]
    for _ in range(2):
        assert [bits(item) for item in predictor.answer_asked(APP, wanted).items] == [world.oracle(1, 0)]


# --- bounds


@pytest.fixture
def many(world: World) -> list[str]:
    with world.database.session() as session:
        for number in range(300):
            user = make_user(session, external_id=f"m{number}")
            adapter = random_adapter("taste_vector", 1000 + number, world.base_row.digest)
            make_adapter(session, user, base_model_id=world.base_row.id, digest=adapter.digest, data=adapter.to_bytes())
    return [f"m{number}" for number in range(300)]


def bounded(world: World, cache_bytes: int, file_bytes: int = 0) -> Predictor:
    """A process with so much memory for adapters, and so much space in a file."""
    predictor = world.predictor()
    store = predictor.store
    store._adapters_bytes = store._residents._max_bytes = cache_bytes
    store._residents._file_bytes = file_bytes
    return predictor


def test_what_is_kept_stays_within_the_bound_and_scores_are_right(world: World, many: list[str]) -> None:
    predictor, whole = bounded(world, 200_000), world.predictor()
    store = predictor.store
    expected = {item.user_id: bits(item) for item in ask(world, whole, many).items}
    for start in range(0, 300, 40):
        for _ in range(2):
            items = ask(world, predictor, many[start : start + 60]).items
            assert [bits(item) for item in items] == [expected[item.user_id] for item in items]
            together = store.caches["adapters"]
            assert together.size_bytes <= 200_000
    assert 0 < len(store._residents) < 230
    assert together.num_hits > 0
    # Versions by other ways take their share, and not more.
    with world.database.read_session() as session:
        ids = {row.external_id: row.id for row in session.execute(sa.select(UserRow)).scalars()}
    store.load([ids[name] for name in many], [world.images[0]])
    assert together.size_bytes <= 200_000
    items = ask(world, predictor, many[:60]).items
    assert [bits(item) for item in items] == [expected[item.user_id] for item in items]
    assert together.size_bytes <= 200_000


def test_receipts_of_many_known_users_are_those_of_each(world: World, many: list[str]) -> None:
    predictor = warm(world)
    names = [*many[:10], *NAMES, *many[10:20]]
    cases = [[(name, world.images[0]) for name in names],
             [(name, world.images[number % 3]) for number, name in enumerate(names)],
             [(name, image) for name in names[5:15] for image in world.images[:2]]]  # fmt: skip
    for wanted in cases:
        for _ in range(2):
            found = predictor.answer_references(APP, wanted)
        assert found.columns is not None
        for item in found.items:
            receipt = predictor.signer.read(item.user_id, item.receipt or "")
            assert receipt.image_id == item.image_id
            assert receipt.adapter_id == (item.adapter.id if item.adapter is not None else None)
            assert receipt.base_model_id == (None if item.adapter is not None else world.base_row.id)
            assert list(receipt.scores) == list((item.scores or {}).values())


def test_who_was_asked_for_lately_stays(world: World, many: list[str]) -> None:
    predictor = bounded(world, 200_000)
    store = predictor.store
    regulars = many[:20]
    ask(world, predictor, regulars)
    for start in range(20, 300 - 10, 10):
        ask(world, predictor, regulars)
        ask(world, predictor, many[start : start + 10])
    hits = store._residents.num_hits
    ask(world, predictor, regulars)
    assert store._residents.num_hits == hits + len(regulars)
    assert len(store._residents) < 280


def test_number_of_images_is_part_of_no_bound(world: World) -> None:
    predictor = warm(world)
    pairs = [(NAMES[i], world.images[image]) for image in range(NUM_IMAGES) for i in range(NUM_USERS)]
    for _ in range(2):
        items = predictor.answer_references(APP, pairs * 60).items
    assert [bits(item) for item in items[: len(pairs)]] == [
        world.oracle(i, image) for image in range(NUM_IMAGES) for i in range(NUM_USERS)
    ]
