"""Users who find no room in memory lie in a file without a name: the same answers, and nothing depends on the file."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.db.tables.models import AdapterState
from paaplus.services.predictions import record_stores
from paaplus.services.predictions.predict import Predictor
from paaplus.services.predictions.record_stores import FileStore
from paaplus.services.predictions.residents import Residents
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from tests.paaplus.services.predictions.test_predict import ASPECTS, NUM_USERS, World, bits
from tests.paaplus.services.predictions.test_residents import APP, NAMES, ask, bounded, told
from tests.support.factories import make_adapter, make_user
from tests.support.tiny import tiny_base

MEMORY_BYTES = 6_500  # some users have room in memory, and the others have none
FILE_BYTES = 2**20


@pytest.fixture
def world(database: Database, settings: Settings, tmp_path: Path) -> World:
    return World(database, settings, tmp_path / "blobs")


def with_file(world: World) -> Predictor:
    """A process that knows all users; some lie in the file."""
    predictor = bounded(world, MEMORY_BYTES, FILE_BYTES)
    for _ in range(4):
        ask(world, predictor, NAMES)
    residents = predictor.store._residents
    assert len(residents) == NUM_USERS
    assert 0 < residents.num_in_file < NUM_USERS
    assert residents.size_bytes <= MEMORY_BYTES
    return predictor


def file_of(residents: Residents) -> FileStore:
    store = residents._tiers[1].store
    assert isinstance(store, FileStore)
    return store


def expected(world: World) -> list[list[bytes]]:
    return [world.oracle(i, 0) for i in range(NUM_USERS)]


def test_users_in_the_file_are_answered_as_those_in_memory(world: World) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    misses = residents.num_misses
    for names in (NAMES, NAMES[::-1], NAMES[2:5]):
        wanted = [(name, world.images[image]) for name in names for image in (0, 3)]
        for _ in range(2):  # images have to be projected first
            found = predictor.answer_references(APP, wanted)
        assert found.columns is not None, "by numbers alone"
        targets = world.targets([(NAMES.index(name), image) for name in names for image in (0, 3)])
        assert told(found) == told(world.predictor().answer(targets))
        for item in found.items:
            receipt = predictor.signer.read(item.user_id, item.receipt or "")
            assert receipt.adapter_id == (item.adapter.id if item.adapter is not None else None)
    assert residents.num_misses == misses
    assert residents.num_file_hits > 0
    caches = predictor.store.caches
    assert caches["adapters_file"].num_hits == residents.num_file_hits
    assert caches["adapters_file"].size_bytes > 0
    assert caches["adapters"].size_bytes <= MEMORY_BYTES


def test_the_file_has_no_name_and_is_in_the_folder_for_what_can_be_made_again(world: World) -> None:
    predictor = with_file(world)
    folder = world.settings.home / "cache"
    assert list(folder.iterdir()) == []
    file = file_of(predictor.store._residents)._file
    assert file is not None
    assert os.readlink(f"/proc/self/fd/{file.fileno()}").startswith(str(folder))
    assert os.fstat(file.fileno()).st_nlink == 0
    del predictor
    gc.collect()
    assert file.closed


@pytest.mark.parametrize("number", range(NUM_USERS - 1))
def test_version_of_a_user_in_the_file_changes_at_once_and_leaves_nothing_there(world: World, number: int) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    slot = residents._by_user[world.users[number].bytes]
    tier = residents._tier_of(slot)
    before = tier.store.read(np.array([slot - tier.first])).tobytes()
    assert world.users[number].bytes in before
    with world.database.session() as session:
        session.execute(
            sa.update(AdapterRow).where(AdapterRow.user_id == world.users[number]).values(state=AdapterState.RETIRED)
        )
    world.adapters[number] = None
    other = NAMES[(number + 1) % NUM_USERS]
    ask(world, predictor, [other])
    if tier is not residents._tiers[0]:
        left = tier.store.read(np.arange(len(tier.owners)))
        assert world.users[number].bytes not in left.tobytes()
    assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)


def test_user_with_two_references_moves_with_both(world: World) -> None:
    predictor = bounded(world, MEMORY_BYTES, FILE_BYTES)
    ids = [str(user) for user in world.users]
    ask(world, predictor, NAMES[:1])
    for _ in range(4):
        for refs in (ids[:1], NAMES):
            ask(world, predictor, refs)
    residents = predictor.store._residents
    assert residents.num_in_file > 0
    assert bits(ask(world, predictor, ids[:1]).items[0]) == world.oracle(0, 0)
    assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    assert sum(tier.size_bytes for tier in residents._tiers) == residents.size_bytes <= MEMORY_BYTES
    with world.database.session() as session:
        for i in range(NUM_USERS - 1):
            world.set_adapter(session, i, seed=500 + i)
    for refs in (ids, NAMES):
        assert [bits(item) for item in ask(world, predictor, refs).items] == expected(world)


def test_another_base_model_has_another_file(world: World) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    file = file_of(residents)._file
    newer = tiny_base(ASPECTS, seed=1)
    with world.database.session() as session:
        base_models.register(session, world.blobs, newer, {}, {})
    generic_A = newer.generic(newer.project(world.features_ID[:1]))[0]
    for _ in range(4):
        items = ask(world, predictor, NAMES).items
        assert [bits(item) for item in items] == [[value.tobytes() for value in generic_A]] * NUM_USERS
    assert file is not None
    assert file.closed
    assert residents.size_bytes <= MEMORY_BYTES


def test_who_begins_anew_leaves_the_old_file(world: World) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    file = file_of(residents)._file
    residents.forget()
    assert file is not None
    assert file.closed
    for _ in range(4):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    assert residents.num_in_file > 0


# --- without the file everything goes on in memory alone


def _full(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def _cannot_allocate(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "posix_fallocate", _full)


def _is_nearly_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=record_stores.KEPT_FREE_BYTES)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)


def _cannot_be_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.settings.home.mkdir(exist_ok=True)
    (world.settings.home / "cache").write_text("no folder")


def _cannot_allocate_here(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fallocate")


@pytest.mark.parametrize("fail", [_cannot_allocate, _is_nearly_full, _cannot_be_made, _cannot_allocate_here])
def test_folder_that_takes_no_file_costs_only_speed(
    world: World, monkeypatch: pytest.MonkeyPatch, fail: Callable[[World, pytest.MonkeyPatch], None]
) -> None:
    fail(world, monkeypatch)
    predictor = bounded(world, MEMORY_BYTES, FILE_BYTES)
    for _ in range(6):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    residents = predictor.store._residents
    assert 0 < len(residents) < NUM_USERS
    assert residents.num_in_file == 0
    assert 0.5 * MEMORY_BYTES < residents.size_bytes <= MEMORY_BYTES, "memory has what it would have without a file"


@pytest.mark.parametrize("num_good", [2, 3, 5])
def test_file_that_cannot_be_written_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch, num_good: int) -> None:
    write, num_written = os.pwrite, [0]

    def fail(*arguments: Any) -> int:
        num_written[0] += 1
        if num_written[0] > num_good:
            _full()
        return write(*arguments)

    monkeypatch.setattr(os, "pwrite", fail)
    predictor = bounded(world, MEMORY_BYTES, FILE_BYTES)
    for _ in range(6):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    residents = predictor.store._residents
    assert len(residents._tiers) == 1
    assert 0 < len(residents) < NUM_USERS
    assert 0 < residents.size_bytes <= MEMORY_BYTES


def test_file_that_does_not_show_what_is_written_is_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "pwrite", lambda _, data, __: len(data))
    predictor = bounded(world, MEMORY_BYTES, FILE_BYTES)
    for _ in range(6):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    assert predictor.store._residents.num_in_file == 0


@pytest.mark.parametrize("where", ["_write", "_drop_slot", "_move_one", "_read"])
def test_call_that_is_stopped_in_the_middle_leaves_nothing_half_done(
    world: World, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    for seed in (700, 800):
        with world.database.session() as session:
            for i in range(NUM_USERS - 1):
                world.set_adapter(session, i, seed=seed + i)

        def stop(*_: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
            patched.setattr(residents, where, stop)
            for _ in range(5):
                ask(world, predictor, NAMES)
        for _ in range(5):
            assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
        assert residents.num_in_file > 0


def test_setting_of_nothing_means_no_file(world: World) -> None:
    world.settings = world.settings.model_copy(update={"adapters_file_mb": 0})
    predictor = world.predictor()
    store = predictor.store
    store._adapters_bytes = store._residents._max_bytes = MEMORY_BYTES
    for _ in range(4):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    assert len(store._residents._tiers) == 1
    assert not (world.settings.home / "cache").exists()


def test_file_that_stops_growing_keeps_whom_it_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with world.database.session() as session:
        template = session.execute(sa.select(AdapterRow).where(AdapterRow.user_id == world.users[1])).scalar_one()
        for number in range(60):
            user = make_user(session, external_id=f"m{number}")
            make_adapter(session, user, base_model_id=world.base_row.id, digest=template.digest, data=template.data)
    names = [f"m{number}" for number in range(60)]
    monkeypatch.setattr(record_stores, "STEP_BYTES", 5_000)
    allocate, num_steps = os.posix_fallocate, [0]

    def fail(*arguments: Any) -> None:
        num_steps[0] += 1
        if num_steps[0] > 2:
            _full()
        allocate(*arguments)

    monkeypatch.setattr(os, "posix_fallocate", fail)
    predictor = bounded(world, 20_000, FILE_BYTES)
    for _ in range(12):
        items = ask(world, predictor, names).items
        assert [bits(item) for item in items] == [world.oracle(1, 0)] * len(names)
    residents = predictor.store._residents
    assert num_steps[0] == 3
    assert 15 < residents.num_in_file == file_of(residents).num_records < len(residents) < len(names)


# --- other processes


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_forked_process_knows_nobody_and_leaves_the_file_to_its_parent(world: World) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    residents._all_or_nothing._lock.acquire()  # as if another thread were at it
    child = os.fork()
    if child == 0:  # without the database, whose connections are the parent's
        is_new = len(residents) == 0 and residents._tiers == [] and residents.position is None
        os._exit(0 if is_new and residents._all_or_nothing._lock.acquire(timeout=1) else 1)
    residents._all_or_nothing._lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    misses = residents.num_misses
    assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)
    assert residents.num_misses == misses


def test_processes_have_files_of_their_own(world: World) -> None:
    first, second = with_file(world), with_file(world)
    with world.database.session() as session:
        for i in range(NUM_USERS - 1):
            world.set_adapter(session, i, seed=900 + i)
    for predictor in (first, second, first):
        assert [bits(item) for item in ask(world, predictor, NAMES).items] == expected(world)


def test_user_who_is_erased_is_in_no_file_after_the_next_call(world: World) -> None:
    predictor = with_file(world)
    residents = predictor.store._residents
    tier = residents._tiers[1]
    in_file = [owner[0] for owner in tier.owners if owner is not None]
    gone = next(i for i, user in enumerate(world.users) if user.bytes == in_file[0])
    with world.database.session() as session:
        session.execute(sa.delete(UserRow).where(UserRow.id == world.users[gone]))
    ask(world, predictor, [name for i, name in enumerate(NAMES) if i != gone])
    left = tier.store.read(np.arange(len(tier.owners))).tobytes()
    assert in_file[0] not in left
    assert str(world.users[gone]).encode() not in left
