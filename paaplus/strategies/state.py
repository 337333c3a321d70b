"""Learner states: what a strategy keeps beside an adapter to go on from it, as safetensors.

No features, no ratings and no optimiser moments, see docs/strategies.md: what is no longer in the log cannot come back.
"""

import hashlib
from collections.abc import Mapping
from typing import Self

import numpy as np

from paaplus.errors import InvalidInput
from paaplus.scoring.adapters import Adapter
from paaplus.scoring.tensors import pack, unpack

STATE_FORMAT = "learner-2"
_FIRST_FORMAT = "learner-1"  # named every event that importances had seen, and the increment it came in
_MAX_INCREMENTS = 128  # that are told apart: at the default decay, what came before weighs a millionth


class LearnerState(dict[str, np.ndarray]):
    """Arrays that plugins kept, by name. One that should be there and is not is an error that says so."""

    def __missing__(self, name: str) -> np.ndarray:
        raise InvalidInput(f"a learner state without {name!r}; it has {sorted(self)[:16]}")


def packed_state(arrays: Mapping[str, np.ndarray], strategy: str, adapter: Adapter) -> bytes:
    return pack(arrays, {"format": STATE_FORMAT, "strategy": strategy, "adapter": adapter.digest})


def load_state(state: bytes | None, parent: Adapter | None) -> LearnerState:
    """What the parent's plugins kept; empty without a state. `InvalidInput` if it is none, or another adapter's."""
    if state is None:
        return LearnerState()
    arrays, metadata = unpack(state)
    if metadata.get("format") not in (STATE_FORMAT, _FIRST_FORMAT):
        raise InvalidInput(f"not a learner state: format {metadata.get('format')!r}")
    owner = metadata.get("adapter")
    if owner is not None and (parent is None or owner != parent.digest):
        actual = "no adapter" if parent is None else f"adapter {parent.digest[:12]}"
        raise InvalidInput(f"the learner state belongs to adapter {str(owner)[:12]}, the parent is {actual}")
    _check_shapes(arrays)
    found = LearnerState(arrays)
    return found if metadata["format"] == STATE_FORMAT else _converted(found)


def _check_shapes(arrays: Mapping[str, np.ndarray]) -> None:
    """Lists end in a shape letter, and those of one plugin are of one length; other names hold a single number."""
    sizes: dict[tuple[str, str], int] = {}
    for name, array in arrays.items():
        plugin, letters = name.partition("_")[0], name.rpartition("_")[2]
        if "." in name:  # importances: the module knows their shapes
            continue
        if not letters.isupper():
            if array.shape != (1,):
                raise InvalidInput(f"learner state array {name!r:.64}: shape {array.shape}, not one number")
        elif array.ndim != len(letters) or sizes.setdefault((plugin, letters[0]), len(array)) != len(array):
            raise InvalidInput(f"learner state array {name!r:.64}: shape {array.shape} beside {sizes}")


def _converted(state: LearnerState) -> LearnerState:
    """A state of the first format in the present one."""
    for name in [name for name in state if name.endswith("_num_increments")]:
        prefix = name.removesuffix("_num_increments")
        sequence_M, increment_M = state.pop(f"{prefix}_sequence_M"), state.pop(f"{prefix}_increment_M")
        seen = SeenFeedback()
        seen.num_increments, seen.digest = int(state[name][0]), digest_of(sequence_M)
        seen.floor = int(sequence_M.min()) - 1 if len(sequence_M) else 0
        for increment in np.unique(increment_M):
            seen.end_increment(int(sequence_M[increment_M == increment].max()), int(increment))
        state.update(seen.arrays(prefix))
    return state


def digest_of(sequence_N: np.ndarray) -> int:
    """64 bits that name a set of events."""
    data = np.sort(sequence_N.astype(np.int64)).tobytes()
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "little", signed=True)


class SeenFeedback:
    """Which feedback importances saw, and in which increment: what tells them to let go of what was taken back.

    They saw all training feedback after `floor`, cut into increments at the sequence numbers `end_M`. `digest` names
    it: another one among the past means that some is gone. The size is bounded: the oldest increments are one.
    """

    def __init__(self) -> None:
        self.floor, self.num_increments = 0, 0
        self.end_M, self.increment_M = np.empty(0, np.int64), np.empty(0, np.int32)
        self.digest = digest_of(self.end_M)

    def add(self, past_sequence_N: np.ndarray, new_sequence_N: np.ndarray) -> None:
        """One more increment, after this past."""
        if not self.num_increments:
            self.floor = int(past_sequence_N.max(initial=0))
        self.end_increment(int(new_sequence_N.max(initial=self.floor)), self.num_increments)
        self.num_increments += 1
        seen_N = np.concatenate([past_sequence_N, new_sequence_N])
        self.digest = digest_of(seen_N[seen_N > self.floor])

    def end_increment(self, end: int, increment: int) -> None:
        """Say that an increment came up to `end`; feedback that came late counts to the increment of its number."""
        if end > self.end_M[-1:].max(initial=self.floor):
            self.end_M = np.append(self.end_M, end)[-_MAX_INCREMENTS:]
            self.increment_M = np.append(self.increment_M, np.int32(increment))[-_MAX_INCREMENTS:].astype(np.int32)

    def digest_among(self, past_sequence_N: np.ndarray) -> int:
        """The digest if what was seen is what is in this past."""
        return digest_of(past_sequence_N[past_sequence_N > self.floor])

    def ages(self, sequence_N: np.ndarray) -> np.ndarray:
        """How many increments ago these events were seen: 0 in the last one, -1 never; shape (N,)."""
        if not len(self.end_M):
            return np.full(len(sequence_N), -1)
        at_N = np.minimum(np.searchsorted(self.end_M, sequence_N), len(self.end_M) - 1)
        return np.where(sequence_N > self.floor, self.num_increments - 1 - self.increment_M[at_N], -1)

    @classmethod
    def restored(cls, state: Mapping[str, np.ndarray], prefix: str) -> Self:
        """What a learner state says; nothing seen where it says nothing."""
        seen = cls()
        if f"{prefix}_num_increments" in state:
            for name in ("num_increments", "floor", "digest"):
                setattr(seen, name, int(state[f"{prefix}_{name}"][0]))
            seen.end_M, seen.increment_M = state[f"{prefix}_end_M"], state[f"{prefix}_increment_M"]
        return seen

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        return {
            f"{prefix}_end_M": self.end_M,
            f"{prefix}_increment_M": self.increment_M,
            f"{prefix}_num_increments": np.array([self.num_increments], np.int32),
            f"{prefix}_floor": np.array([self.floor], np.int64),
            f"{prefix}_digest": np.array([self.digest], np.int64),
        }
