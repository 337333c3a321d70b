"""Users whom a process knows: what serves each of them at one moment of the database, with adapters in one matrix.

The moment moves on with the log of changes (`serving_changes`): what changed is dropped and read again when it is asked
for. A caller whose transaction is older than the moment finds nothing here and leaves nothing here.

Bounded in bytes. Who was not asked for lately goes first (a clock with one bit). While there is no room, one in a few
of those who are read is let in: whoever is asked for again and again comes in soon, and the others cost less.

Shape letters: U = users that are asked for, P = of them who are known, M = users that are kept, K = numbers of a row
(`RowForm`), S = slots.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from paaplus.scoring.adapters import Adapter
from paaplus.scoring.taste_rows import RowForm
from paaplus.services.predictions.served_users import ServedUser
from paaplus.services.predictions.serving_changes import Changes, Position

OVERHEAD_BYTES: Final = 1_700  # of a user: facts and texts, places in three dictionaries; measured
REF_BYTES: Final = 200  # of one more reference to the same user; measured


LET_IN: Final = 4  # one in so many, while there is no room


class Base(NamedTuple):
    """The base model that adapters are for, and the form of their rows."""

    digest: str
    form: RowForm


class Found(NamedTuple):
    """Users who were asked for.

    Args:
        users: of each reference; None: unknown.
        number_UK: their adapters' numbers, float32; rows of others are not set.
        special: places of known users whose scores are not those of their rows.
        missing: places of those who are unknown.
    """

    users: list[ServedUser | None]
    number_UK: np.ndarray
    special: list[int]
    missing: list[int]


class Residents:
    """The users whom one process knows, for one base model at a time.

    Args:
        max_bytes: that they may ever take.
        room: how many they may take now.
    """

    def __init__(self, max_bytes: int, room: Callable[[], int]) -> None:
        self._max_bytes = max_bytes
        self._room = room
        self._lock = threading.Lock()
        self._position: Position | None = None
        self._base: Base | None = None
        self._by_ref: dict[str, dict[str, ServedUser]] = {}  # by application
        self._by_user: dict[Any, ServedUser] = {}  # by id, as the driver gives it
        self._number_SK = np.empty((0, 0), np.float32)
        self._is_used_S = np.empty(0, bool)
        self._is_special_S = np.empty(0, bool)
        self._of_slots: list[ServedUser | None] = []
        self._free: list[int] = []
        self._num_waiting = 0  # of those who were read while there was no room
        self._hand = 0  # the next slot that the clock looks at
        self.size_bytes = 0
        self.num_hits = 0
        self.num_misses = 0

    def __len__(self) -> int:
        return len(self._by_user)

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
        with self._lock:
            by_ref = self._by_ref.get(application, {}) if self._catch_up(changes, base) else {}
            users: list[ServedUser | None] = list(map(by_ref.get, refs))
            if all(users):
                self.num_hits += len(users)
                number_UK, special = self._gathered(users)  # type: ignore[arg-type]  # there is no None
                return Found(users, number_UK, special.tolist(), [])
            places = [place for place, user in enumerate(users) if user is not None]
            self.num_hits += len(places)
            self.num_misses += len(users) - len(places)
            number_UK = np.empty((len(users), base.form.size), np.float32)
            special_P: list[int] = []
            if places:
                number_UK[places], special = self._gathered([users[place] for place in places])  # type: ignore[misc]  # chosen
                special_P = [places[each] for each in special.tolist()]
        return Found(users, number_UK, special_P, [place for place, user in enumerate(users) if user is None])

    def _gathered(self, users_P: list[ServedUser]) -> tuple[np.ndarray, np.ndarray]:
        """Copies of their rows, shape (P, K), and the places of those whose scores are not these."""
        slot_P = np.array([user.slot for user in users_P])
        self._is_used_S[slot_P] = True
        # `clip` needs no buffer.
        return self._number_SK.take(slot_P, 0, mode="clip"), np.flatnonzero(self._is_special_S[slot_P])

    def keep(
        self,
        position: Position | None,
        base: Base,
        application: str,
        users_M: Sequence[tuple[str, ServedUser]],
        number_MK: np.ndarray,
    ) -> None:
        """Keep users that were read, if the moment is still the same.

        Args:
            position: of the transaction that read them.
            users_M: with their references in this application.
            number_MK: their rows.
        """
        with self._lock:
            if position is None or self._position is None or position[:2] != self._position[:2] or base != self._base:
                return
            by_ref, room = self._by_ref.setdefault(application, {}), self._room()
            most = len(self._of_slots) // 2
            size = OVERHEAD_BYTES + 4 * base.form.size
            slots: list[int] = []
            kept: list[int] = []
            for place, (ref, user) in enumerate(users_M):
                if len(slots) == most:
                    break
                if ref in by_ref:
                    continue
                if (known := self._by_user.get(user.user)) is not None:  # by another reference, at the same moment
                    known.refs = (*known.refs, (application, ref))
                    known.size_bytes += REF_BYTES
                    self.size_bytes += REF_BYTES
                    by_ref[ref] = known
                    continue
                user.size_bytes = size if user.adapter is None else size + _numbers_bytes(user.adapter)
                if not self._free or self.size_bytes + user.size_bytes > room:
                    self._num_waiting += 1
                    if self._num_waiting % LET_IN:
                        continue
                    self._drop_one()
                self.size_bytes += user.size_bytes
                user.slot, user.refs = self._free.pop(), ((application, ref),)
                self._of_slots[user.slot] = by_ref[ref] = self._by_user[user.user] = user
                self._is_used_S[user.slot], self._is_special_S[user.slot] = True, user.is_special
                slots.append(user.slot)
                kept.append(place)
            if slots:
                self._number_SK[slots] = number_MK[kept]  # where a slot was given twice, the last one stays
            self._shrink()

    def forget(self) -> None:
        """Drop everything: nothing tells of changes."""
        with self._lock:
            if self._position is not None and self._base is not None:
                self._forget(self._base, None)

    def shrink(self) -> None:
        """Drop users until the others have room."""
        with self._lock:
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
            num_slots = self._max_bytes // (OVERHEAD_BYTES + 4 * base.form.size)
            # Memory is taken when a row is written.
            self._number_SK = np.empty((num_slots, base.form.size), np.float32)
            self._is_used_S, self._is_special_S = np.zeros(num_slots, bool), np.zeros(num_slots, bool)
        num_slots = len(self._is_used_S)
        self._is_used_S[:] = False
        self._by_ref, self._by_user, self.size_bytes, self._hand = {}, {}, 0, 0
        self._of_slots = [None] * num_slots
        self._free = list(range(num_slots - 1, -1, -1))

    def _drop(self, user_id: Any) -> None:
        user = self._by_user.pop(user_id, None)
        if user is None:
            return
        for application, ref in user.refs:
            del self._by_ref[application][ref]
        self._of_slots[user.slot] = None
        self._free.append(user.slot)
        self.size_bytes -= user.size_bytes

    def _shrink(self) -> None:
        room = self._room()
        while self.size_bytes > room and self._by_user:
            self._drop_one()

    def _drop_one(self) -> None:
        """Drop a user who was not asked for since the clock came by; there is one at least."""
        while True:
            slot = self._hand
            self._hand = (slot + 1) % len(self._of_slots)
            user = self._of_slots[slot]
            if user is None:
                continue
            if self._is_used_S[slot]:
                self._is_used_S[slot] = False
                continue
            self._drop(user.user)
            return


def _numbers_bytes(adapter: Adapter) -> int:
    return sum(array.nbytes for array in adapter.arrays().values())
