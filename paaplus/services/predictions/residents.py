"""Users whom a process knows: what serves each of them at one moment of the database, as records of fixed size.

The moment moves on with the log of changes (`serving_changes`): what changed is dropped and read again when it is asked
for. A caller whose transaction is older than the moment finds nothing here and leaves nothing here.

Bounded in bytes of memory: what finds no room there lies in a file (`record_stores`), and of its users memory holds
only who they are. Who was not asked for lately goes first (a clock with one bit). While there is no room at all, one in
a few of those who are read is let in: whoever is asked for again and again comes in soon, and the others cost less.

For each user there is one place in two dictionaries and one record, and nothing else: to look up many among many costs
hardly more than to look up many among few.

Shape letters: U = users that are asked for, P = of them who are known, M = users that are kept, S = slots.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from itertools import repeat
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np

from paaplus.scoring.taste_rows import RowForm
from paaplus.services.predictions.record_stores import FileStore, MemoryStore
from paaplus.services.predictions.record_tiers import Tier
from paaplus.services.predictions.served_records import Extra, ServedUsers, forms_of
from paaplus.services.predictions.serving_changes import Changes, Position

OVERHEAD_BYTES: Final = 350  # of a user beside the record: two places in dictionaries, keys, a slot; measured
REF_BYTES: Final = 250  # of one more reference to the same user; measured
LET_IN: Final = 4  # one in so many, while there is no room
FILE_SHARE: Final = 0.75  # of the memory, at most, is for who is in the file

_EVERYWHERE: Final[weakref.WeakSet[Residents]] = weakref.WeakSet()  # in this process


class Base(NamedTuple):
    """The base model that adapters are for, and the form of their rows."""

    digest: str
    form: RowForm


class Found(NamedTuple):
    """Users who were asked for.

    Args:
        users: of all references; of those who are unknown, nothing is written.
        missing: places of those who are unknown.
        may_repeat: one user may be there by two references.
    """

    users: ServedUsers
    missing: list[int]
    may_repeat: bool


class _AllOrNothing:
    """Who works alone, and is stopped in the middle by a time limit or a lack of memory, leaves nothing half done.

    Args:
        clear: leaves nothing at all.
    """

    def __init__(self, clear: Callable[[], None]) -> None:
        self._clear = clear
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None:
                self._clear()
        finally:
            self._lock.release()


class Residents:
    """The users whom one process knows, for one base model at a time.

    Args:
        max_bytes: of memory that they may ever take.
        room: how many they may take now.
        folder: for a file of more users; None: there is none.
        file_bytes: of that file, at most.
    """

    def __init__(
        self, max_bytes: int, room: Callable[[], int], folder: Path | None = None, file_bytes: int = 0
    ) -> None:
        self._max_bytes = max_bytes
        self._room = room
        self._folder, self._file_bytes = folder, file_bytes
        self.num_hits = 0
        self.num_file_hits = 0
        self.num_misses = 0
        self._all_or_nothing = _AllOrNothing(self._clear)
        self._clear()
        _EVERYWHERE.add(self)

    def _clear(self) -> None:
        """Know nothing, as a process that begins."""
        self._position: Position | None = None
        self._base: Base | None = None
        self._by_ref: dict[str, dict[str, int]] = {}  # slots by application and reference
        self._by_user: dict[bytes, int] = {}  # slots by id
        self._more_refs: dict[int, list[tuple[str, str]]] = {}  # by slot: application and reference
        self._extras: dict[int, Extra] = {}  # by slot
        self._has_extra_S = np.empty(0, bool)
        self._is_used_S = np.empty(0, bool)
        self._tiers: list[Tier] = []  # the memory's, and the file's if there is one
        self._unwritten: dict[int, int] = {}  # places of users who have a slot and no record yet, by slot
        self._num_waiting = 0  # of those who were read while there was no room

    def __len__(self) -> int:
        return len(self._by_user)

    @property
    def size_bytes(self) -> int:
        """Of memory."""
        return sum([tier.size_bytes for tier in self._tiers])

    @property
    def num_in_file(self) -> int:
        return sum([tier.num_users for tier in self._tiers[1:]])

    @property
    def file_size_bytes(self) -> int:
        """Of records in the file that are in use."""
        return self.num_in_file * forms_of(self._base.form).record.itemsize if self._base is not None else 0

    @property
    def position(self) -> Position | None:
        """The moment of what is known; None: nothing is."""
        return self._position

    def find(self, changes: Changes, base: Base, application: str, refs: Sequence[str]) -> Found:
        """Look users up, all of the moment of `changes`.

        Args:
            changes: since `position`, as it was before the caller's transaction began.
            base: the base model that is served at that moment.
            refs: different references.
        """
        forms = forms_of(base.form)
        with self._all_or_nothing:
            by_ref = self._by_ref.get(application, {}) if self._catch_up(changes, base) else {}
            slots = list(map(by_ref.get, refs, repeat(-1)))
            if slots and -1 not in slots:
                missing: list[int] = []
                record_U, extras = self._read(np.array(slots))
            else:
                missing = [place for place, slot in enumerate(slots) if slot == -1]
                record_U, extras = np.empty(len(refs), forms.raw), {}
                places = [place for place, slot in enumerate(slots) if slot != -1]
                if places:
                    record_U[places], of_known = self._read(np.array([slots[place] for place in places]))
                    extras = {places[place]: extra for place, extra in of_known.items()}
            self.num_hits += len(refs) - len(missing)
            self.num_misses += len(missing)
            may_repeat = bool(missing or self._more_refs)
        return Found(ServedUsers(base.digest, record_U.view(forms.record), extras), missing, may_repeat)

    def _read(self, slot_P: np.ndarray) -> tuple[np.ndarray, dict[int, Extra]]:
        """Copies of records, and by place what they do not hold."""
        self._is_used_S[slot_P] = True
        record_P = self._tiers[0].store.read(slot_P)
        for tier in self._tiers[1:]:
            if tier.num_users and len(places := np.flatnonzero(slot_P >= tier.first)):
                record_P[places] = tier.store.read(slot_P[places] - tier.first)
                self.num_file_hits += len(places)
        if not self._extras:
            return record_P, {}
        places = np.flatnonzero(self._has_extra_S[slot_P])
        return record_P, {place: self._extras[slot_P[place]] for place in places.tolist()}

    def keep(
        self,
        position: Position | None,
        base: Base,
        application: str,
        refs_M: Sequence[str],
        users: ServedUsers,
    ) -> None:
        """Keep users that were read, if the moment is still the same.

        Args:
            position: of the transaction that read them.
            refs_M: their references in this application.
            users: the users of these references.
        """
        with self._all_or_nothing:
            if position is None or self._position is None or position[:2] != self._position[:2] or base != self._base:
                return
            by_ref, room = self._by_ref.setdefault(application, {}), self._room()
            most = sum(tier.store.num_records for tier in self._tiers) // 2
            num_kept, is_full = 0, False
            for place, (ref, user) in enumerate(zip(refs_M, users.user_bytes(), strict=True)):
                if num_kept == most:
                    break
                if ref in by_ref:
                    continue
                if (known := self._by_user.get(user)) is not None:  # by another reference, at the same moment
                    self._more_refs.setdefault(known, []).append((application, ref))
                    self._tier_of(known).size_bytes += REF_BYTES
                    by_ref[ref] = known
                    continue
                extra = users.extras.get(place)
                extra_bytes = extra.size_bytes if extra is not None else 0
                slot = self._free_slot(extra_bytes, room) if not is_full else None
                if slot is None:
                    is_full = True
                    self._num_waiting += 1
                    if self._num_waiting % LET_IN or (slot := self._slot_of_another(extra_bytes, room)) is None:
                        continue
                tier = self._tier_of(slot)
                tier.num_users += 1
                tier.size_bytes += tier.user_bytes + extra_bytes
                tier.owners[slot - tier.first] = user, application, ref
                by_ref[ref] = self._by_user[user] = slot
                self._is_used_S[slot], self._has_extra_S[slot] = True, extra is not None
                if extra is not None:
                    self._extras[slot] = extra
                self._unwritten[slot] = place
                num_kept += 1
            self._write(users.record_U.view(forms_of(base.form).raw))
            self._shrink()

    def _free_slot(self, extra_bytes: int, room: int) -> int | None:
        """A slot for one more user, in memory or in the file; None: there is no room.

        Args:
            extra_bytes: of memory beside the record.
            room: bytes of memory for all.
        """
        memory, used = self._tiers[0], self.size_bytes
        if used + memory.user_bytes + extra_bytes <= room and (slot := memory.take()) is not None:
            return slot
        needed = OVERHEAD_BYTES + extra_bytes
        while len(self._tiers) > 1 and self._tiers[1].size_bytes + needed <= FILE_SHARE * room:
            if self.size_bytes + needed <= room:
                return self._tiers[1].take()
            if not self._move_one(room):
                return None
        return None

    def _slot_of_another(self, extra_bytes: int, room: int) -> int | None:
        """The slot of a user who was not asked for lately, who is dropped; None: it is not enough."""
        if not self._by_user:
            return None
        tier = self._oldest()
        self._drop_slot(tier.chosen(self._is_used_S))
        return tier.take() if self.size_bytes + tier.user_bytes + extra_bytes <= room else None

    def _move_one(self, room: int) -> bool:
        """Move the record of a user who was not asked for lately from memory into the file; whether there was one.

        Args:
            room: bytes of memory for all.
        """
        memory, file = self._tiers[0], self._tiers[-1]
        if file is memory or not memory.num_users or file.size_bytes + OVERHEAD_BYTES > FILE_SHARE * room:
            return False
        new = file.take()
        if new is None:
            return False
        old = memory.chosen(self._is_used_S)
        if old in self._unwritten:
            self._unwritten[new] = self._unwritten.pop(old)
        elif not file.store.write([new - file.first], memory.store.read(np.array([old]))):
            self._lose_file()
            return False
        owner = memory.owners[old]
        assert owner is not None, "somebody has it"
        user, *first_ref = owner
        more_refs = self._more_refs.pop(old, [])
        for application, ref in (first_ref, *more_refs):
            self._by_ref[application][ref] = new
        self._by_user[user] = new
        if more_refs:
            self._more_refs[new] = more_refs
        extra = self._extras.pop(old, None)
        if extra is not None:
            self._extras[new] = extra
        self._has_extra_S[old], self._has_extra_S[new] = False, extra is not None
        self._is_used_S[new] = False
        size_bytes = REF_BYTES * len(more_refs) + (extra.size_bytes if extra is not None else 0)
        for tier, slot, owned, sign in ((memory, old, None, -1), (file, new, owner, 1)):
            tier.owners[slot - tier.first] = owned
            tier.num_users += sign
            tier.size_bytes += sign * (tier.user_bytes + size_bytes)
        memory.free.append(old)
        return True

    def _write(self, record_M: np.ndarray) -> None:
        """Write the records of users who have none yet.

        Args:
            record_M: by place, as bytes.
        """
        for tier in list(self._tiers):
            # In their order, because those that lie together are written together.
            slots = sorted([slot for slot in self._unwritten if self._tier_of(slot) is tier])
            places = [self._unwritten.pop(slot) for slot in slots]
            if slots and not tier.store.write([slot - tier.first for slot in slots], record_M[places]):
                self._lose_file()

    def _lose_file(self) -> None:
        """Go on with memory alone: the file cannot be written."""
        for owner in [owner for owner in self._tiers[1].owners if owner is not None]:
            self._drop_slot(self._by_user[owner[0]])
        del self._tiers[1]

    def forget(self) -> None:
        """Drop everything: nothing tells of changes."""
        with self._all_or_nothing:
            if self._position is not None and self._base is not None:
                self._forget(self._base, None)

    def shrink(self) -> None:
        """Drop users until the others have room."""
        with self._all_or_nothing:
            self._shrink()

    def _catch_up(self, changes: Changes, base: Base) -> bool:
        """Whether what is known is, now, of the moment of `changes`."""
        now, mine = changes.position, self._position
        if now is None:  # nothing tells of changes
            return False
        if mine is not None and mine.database == now.database and now.order < mine.order:
            if changes.since is None or changes.since.order <= now.order:
                return False  # another caller has a newer transaction
            self._forget(base, now)  # the log went back: it is another one
            return True
        is_known = mine is not None and mine.database == now.database and base == self._base
        if not is_known:
            self._forget(base, now)
        elif now.order != mine.order:  # type: ignore[union-attr]  # it is known
            since = changes.since
            if changes.users is None or since is None or since.order > mine.order:  # type: ignore[union-attr]  # as above
                self._forget(base, now)
            for user in changes.users or ():
                self._drop(user)
            self._position = now
        return True

    def _forget(self, base: Base, position: Position | None) -> None:
        """Begin anew at a moment."""
        self._position = position
        if self._base != base:
            self._base = base
            record_bytes = forms_of(base.form).record.itemsize
            memory = MemoryStore(max(1, self._max_bytes // (OVERHEAD_BYTES + record_bytes)), record_bytes)
            self._tiers = [Tier(0, memory, OVERHEAD_BYTES + record_bytes)]
            most = min(self._file_bytes // record_bytes, int(FILE_SHARE * self._max_bytes) // OVERHEAD_BYTES)
            if self._folder is not None and most:
                file = FileStore(self._folder, most, record_bytes)
                self._tiers.append(Tier(memory.num_records, file, OVERHEAD_BYTES))
        else:
            self._tiers = [Tier(tier.first, tier.store.empty(), tier.user_bytes) for tier in self._tiers]
        num_slots = sum([tier.store.num_records for tier in self._tiers])
        # Memory is taken where something is written.
        self._is_used_S, self._has_extra_S = np.zeros(num_slots, bool), np.zeros(num_slots, bool)
        self._by_ref, self._by_user, self._more_refs, self._extras = {}, {}, {}, {}

    def _tier_of(self, slot: int) -> Tier:
        return self._tiers[0] if slot < self._tiers[0].store.num_records else self._tiers[1]

    def _drop(self, user_id: Any) -> None:
        """Drop a user.

        Args:
            user_id: as the driver gives it.
        """
        slot = self._by_user.get(user_id.bytes if isinstance(user_id, UUID) else bytes.fromhex(user_id))
        if slot is not None:
            self._drop_slot(slot)

    def _drop_slot(self, slot: int) -> None:
        tier = self._tier_of(slot)
        owner = tier.owners[slot - tier.first]
        assert owner is not None, "somebody has it"
        user, *first_ref = owner
        more_refs = self._more_refs.pop(slot, [])
        for application, ref in (first_ref, *more_refs):
            del self._by_ref[application][ref]
        del self._by_user[user]
        self._unwritten.pop(slot, None)
        extra = self._extras.pop(slot, None)
        self._has_extra_S[slot] = False
        tier.owners[slot - tier.first] = None
        tier.store.erase(slot - tier.first)
        tier.free.append(slot)
        tier.num_users -= 1
        tier.size_bytes -= tier.user_bytes + REF_BYTES * len(more_refs)
        tier.size_bytes -= extra.size_bytes if extra is not None else 0

    def _shrink(self) -> None:
        room = self._room()
        while self.size_bytes > room and self._by_user:
            if not self._move_one(room):
                self._drop_slot(self._oldest().chosen(self._is_used_S))

    def _oldest(self) -> Tier:
        """Where the next user is dropped, so that all clocks go round together; there is one at least."""
        return min([tier for tier in self._tiers if tier.num_users], key=lambda tier: tier.turns)


def _begin_in_child() -> None:
    """A forked process has its parent's file, which the parent goes on to write: it knows nobody."""
    for residents in list(_EVERYWHERE):
        residents._all_or_nothing = _AllOrNothing(residents._clear)  # another thread of the parent may be in it
        residents._clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
