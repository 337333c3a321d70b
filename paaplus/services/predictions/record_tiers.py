"""Slots for the records of users in one store: who has which, which are free, and who goes first.

Shape letters: S = slots of all tiers.
"""

from __future__ import annotations

import numpy as np

from paaplus.services.predictions.record_stores import RecordStore


class Tier:
    """The slots of one store, and the clock (with one bit) that goes round them.

    Args:
        first: number of its first slot.
        store: of the records.
        user_bytes: of memory for a user.
    """

    def __init__(self, first: int, store: RecordStore, user_bytes: int) -> None:
        self.first, self.store, self.user_bytes = first, store, user_bytes
        self.owners: list[tuple[bytes, str, str] | None] = []  # user, application, reference
        self.free: list[int] = []
        self.num_users = 0
        self.size_bytes = 0  # of memory
        self.hand = 0  # the next that the clock looks at
        self.num_steps = 0

    def take(self) -> int | None:
        """A free slot, if there is one."""
        if self.free:
            return self.free.pop()
        if not self.store.is_ready(len(self.owners)):
            return None
        self.owners.append(None)
        return self.first + len(self.owners) - 1

    @property
    def turns(self) -> float:
        """How often the clock went round."""
        return self.num_steps / len(self.owners)

    def chosen(self, is_used_S: np.ndarray) -> int:
        """The slot of a user who was not asked for since the clock came by; there is one at least.

        Args:
            is_used_S: of each slot, whether it was asked for since; the clock sets it back.
        """
        while True:
            number = self.hand
            self.hand = (number + 1) % len(self.owners)
            self.num_steps += 1
            slot = self.first + number
            if self.owners[number] is None:
                continue
            if not is_used_S[slot]:
                return slot
            is_used_S[slot] = False
