"""The adapters of one base model as one matrix in memory: a slot for each version.

Versions never change, so what has a slot needs no look at the database. The matrix is bounded in bytes; what finds no
room is scored as it is read, and forgotten. A slot is given to another version when nobody has asked for its version
for a while, so a caller who asks for more users than there is room for, again and again, still finds most of what
there is room for.

Shape letters: N = users, S = slots of a chunk, R = taste space dim, A = aspects.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from paaplus.scoring.adapters import Adapter, TasteVector
from paaplus.scoring.stacked import score_stack
from paaplus.services.predictions.user_pages import NO_VERSION

CHUNK: Final = 4_096  # slots that are made at once
IDLE_S: Final = 600.0  # a version that nobody has asked for so long gives its slot away
OVERHEAD_BYTES: Final = 300  # of a slot: its entry by version, and numbers
READ_AT_ONCE: Final = 1_000  # versions that are read from the database together: bounds the memory
NO_SLOT: Final = -1
SPARSE: Final = 4  # a chunk of which fewer than one in so many slots is needed is not scored as a whole


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """A version as it was read. `adapter`: None if it is for another base model, or damaged (then `error` says how)."""

    version: bytes
    number: int
    adapter: Adapter | None
    error: str | None = None


@dataclass
class Scored:
    """Scores of one image by user.

    Args:
        score_NA: 0-10, float32; the generic scores where no adapter applies.
        number_N: of the version that gave the scores; 0: the base model.
        damaged: by place, what is wrong with a version; its user has no scores.
        gone: places of versions that do not exist any more.
    """

    score_NA: np.ndarray
    number_N: np.ndarray
    damaged: dict[int, str] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)


Chunks = list[tuple[int, np.ndarray, np.ndarray]]  # number of the chunk, places of users, their slots in it
Read = Callable[[Sequence[bytes]], Iterable[ReadVersion]]


class _Chunk:
    """Some slots. `others` are adapters that are no taste vectors; `is_generic_S`: of another base model."""

    def __init__(self, num_slots: int, num_aspects: int, taste_dim: int) -> None:
        self.weight_SAR = np.zeros((num_slots, num_aspects, taste_dim), np.float32)
        self.alpha_SA = np.ones((num_slots, num_aspects), np.float32)
        self.beta_SA = np.zeros((num_slots, num_aspects), np.float32)
        self.number_S = np.zeros(num_slots, np.int64)
        self.is_generic_S = np.zeros(num_slots, bool)
        self.used_at_S = np.zeros(num_slots)
        self.versions: list[bytes | None] = [None] * num_slots

    def put(self, slot: int, read: ReadVersion, now: float) -> None:
        self.versions[slot], self.used_at_S[slot] = read.version, now
        self.is_generic_S[slot] = read.adapter is None
        self.number_S[slot] = read.number if read.adapter is not None else 0
        if isinstance(read.adapter, TasteVector):
            self.weight_SAR[slot] = read.adapter.weight_RA.T
            self.alpha_SA[slot], self.beta_SA[slot] = read.adapter.alpha_A, read.adapter.beta_A

    def scores(self, slot_N: np.ndarray, taste_R: np.ndarray, generic_A: np.ndarray) -> np.ndarray:
        """Scores by these slots, shape (N, A)."""
        if SPARSE * len(slot_N) < len(self.versions):
            score_NA = score_stack(
                self.weight_SAR[slot_N], self.alpha_SA[slot_N], self.beta_SA[slot_N], taste_R, generic_A
            )
        else:
            score_NA = score_stack(self.weight_SAR, self.alpha_SA, self.beta_SA, taste_R, generic_A)[slot_N]
        score_NA[self.is_generic_S[slot_N]] = generic_A
        return score_NA


@dataclass(frozen=True, slots=True)
class _Plan:
    """Where the versions of a call are: in which slots of which chunks, and places of those that have none."""

    version_N: np.ndarray
    slot_N: np.ndarray
    num_changes: int
    num_freed: int
    num_known: int
    chunks: Chunks
    number_N: np.ndarray
    missing: dict[bytes, list[int]]


class AdapterMatrix:
    """The matrix of one base model. One call works at a time.

    Args:
        num_aspects, taste_dim: of the base model.
        max_bytes: for everything that is kept.
        clock: seconds.
    """

    def __init__(
        self, num_aspects: int, taste_dim: int, max_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shape = num_aspects, taste_dim
        self._slot_bytes = 4 * num_aspects * (taste_dim + 2) + OVERHEAD_BYTES
        self._max_slots = max_bytes // self._slot_bytes
        self._clock = clock
        self._chunks: list[_Chunk] = []
        self._slots: dict[bytes, int] = {}
        self._free: list[int] = []
        self._num_made = 0
        self._num_changes = 0  # of slots
        self._num_freed = 0  # slots whose versions lost them
        self._plan: _Plan | None = None  # of the call before
        self._lock = threading.Lock()
        self.num_hits = 0
        self.num_misses = 0

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def size_bytes(self) -> int:
        return self._num_made * self._slot_bytes

    def score(self, version_N: np.ndarray, taste_R: np.ndarray, generic_A: np.ndarray, read: Read) -> Scored:
        """Score one image by many versions.

        Args:
            version_N: of each user, dtype `ID`; `NO_VERSION`: the user has none.
            taste_R: the image in taste space.
            generic_A: its generic scores.
            read: reads versions that have no slot, some at once. Those that do not exist any more are left out.
        """
        with self._lock:
            plan = self._planned(version_N)
            found = Scored(np.tile(generic_A, (len(version_N), 1)), plan.number_N)
            self.num_hits += plan.num_known
            self.num_misses += len(plan.missing)
            self._score_slots(found, plan.chunks, taste_R, generic_A)
            if plan.missing:
                found.number_N = plan.number_N.copy()
                self._score_read(found, dict(plan.missing), taste_R, generic_A, read)
        return found

    def _planned(self, version_N: np.ndarray) -> _Plan:
        """Where these versions are; the same as before if the same array is asked for and no slot has changed."""
        plan = self._plan
        if plan is not None and plan.version_N is version_N and plan.num_changes == self._num_changes:
            return plan
        slot_N = self._slots_of(version_N, plan)
        missing: dict[bytes, list[int]] = {}
        unknown = np.flatnonzero((slot_N == NO_SLOT) & (version_N != NO_VERSION))
        for place, version in zip(unknown.tolist(), version_N[unknown].tolist(), strict=True):
            missing.setdefault(version, []).append(place)
        places = np.flatnonzero(slot_N != NO_SLOT)
        chunks = _by_chunk(places, slot_N[places])
        number_N = np.zeros(len(version_N), np.int64)
        for number, wanted, slot_P in chunks:
            number_N[wanted] = self._chunks[number].number_S[slot_P]
        number_N.flags.writeable = False  # answers share it
        self._plan = _Plan(
            version_N, slot_N, self._num_changes, self._num_freed, len(places), chunks, number_N, missing
        )
        return self._plan

    def _slots_of(self, version_N: np.ndarray, plan: _Plan | None) -> np.ndarray:
        """The slot of each version. Where the call before had the same version with a slot, it is the same."""
        slot_N = np.full(len(version_N), NO_SLOT, np.int64)
        if plan is not None and plan.num_freed == self._num_freed:
            num = min(len(version_N), len(plan.version_N))
            slot_N[:num] = np.where(version_N[:num] == plan.version_N[:num], plan.slot_N[:num], NO_SLOT)
        places = np.flatnonzero(slot_N == NO_SLOT)
        slot_N[places] = [self._slots.get(version, NO_SLOT) for version in version_N[places].tolist()]
        return slot_N

    def _score_slots(self, found: Scored, chunks: Chunks, taste_R: np.ndarray, generic_A: np.ndarray) -> None:
        """Score the users whose versions have slots."""
        now = self._clock()
        for number, places, slot_P in chunks:
            chunk = self._chunks[number]
            chunk.used_at_S[slot_P] = now
            found.score_NA[places] = chunk.scores(slot_P, taste_R, generic_A)

    def _score_read(
        self, found: Scored, missing: dict[bytes, list[int]], taste_R: np.ndarray, generic_A: np.ndarray, read: Read
    ) -> None:
        """Score by versions that have no slot, with the places of each; give them one while there are any."""
        self._make_room(len(missing))
        wanted = sorted(missing)
        kept: dict[int, int] = {}  # slot by place
        for start in range(0, len(wanted), READ_AT_ONCE):
            for one in read(wanted[start : start + READ_AT_ONCE]):
                places = missing.pop(one.version)
                if one.error is not None:
                    found.damaged |= dict.fromkeys(places, one.error)
                    continue
                if (slot := self._keep(one)) != NO_SLOT:
                    kept |= dict.fromkeys(places, slot)
                elif one.adapter is not None:
                    found.score_NA[places] = one.adapter.score(taste_R[None], generic_A[None])[0]
                    found.number_N[places] = one.number
        if kept:
            chunks = _by_chunk(np.array(list(kept)), np.array(list(kept.values())))
            for number, places_P, slot_P in chunks:
                found.number_N[places_P] = self._chunks[number].number_S[slot_P]
            self._score_slots(found, chunks, taste_R, generic_A)
        found.gone += sorted(place for places in missing.values() for place in places)

    def _make_room(self, num_wanted: int) -> None:
        """Free slots that nobody has asked for, if there would be too few."""
        if self._max_slots - len(self._slots) >= num_wanted:
            return
        idle_since = self._clock() - IDLE_S
        for number, chunk in enumerate(self._chunks):
            for slot in np.flatnonzero(chunk.used_at_S <= idle_since).tolist():
                version = chunk.versions[slot]
                if version is not None:
                    del self._slots[version]
                    self._num_changes += 1
                    self._num_freed += 1
                    chunk.versions[slot] = None
                    self._free.append(number * CHUNK + slot)

    def _keep(self, one: ReadVersion) -> int:
        """Give a version a slot; `NO_SLOT`: there is none. Adapters of many numbers get none: few users have one."""
        if one.adapter is not None and not isinstance(one.adapter, TasteVector):
            return NO_SLOT
        if not self._free:
            num_more = min(CHUNK, self._max_slots - self._num_made)
            if num_more <= 0:
                return NO_SLOT
            self._free += range(self._num_made + num_more - 1, self._num_made - 1, -1)
            self._chunks.append(_Chunk(num_more, *self._shape))
            self._num_made += num_more
        slot = self._free.pop()
        self._slots[one.version] = slot
        self._num_changes += 1
        self._chunks[slot // CHUNK].put(slot % CHUNK, one, self._clock())
        return slot


def _by_chunk(places: np.ndarray, slot_P: np.ndarray) -> Chunks:
    """Places and their slots, by the chunk of the slots."""
    chunk_P, slot_P = np.divmod(slot_P, CHUNK)
    return [(int(number), places[chunk_P == number], slot_P[chunk_P == number]) for number in np.unique(chunk_P)]
