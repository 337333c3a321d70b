"""Ratings in arrays with room at their end, so that newer ones are added without a copy of all others."""

from __future__ import annotations

import threading
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from paaplus.records import RatedSet

ROOM: Final = 1.25  # rows of an array, for each row that is in it when it is made


class _Room:
    """The arrays, of which so many rows are in use. Rows in use never change."""

    def __init__(self, rated: RatedSet, num_rows: int) -> None:
        columns = {field.name: getattr(rated, field.name) for field in fields(rated)}
        self.columns = {name: np.empty((num_rows, *c.shape[1:]), c.dtype) for name, c in columns.items()}
        self.num_rows, self.num_used, self.lock = num_rows, 0, threading.Lock()
        self.add(rated)

    def add(self, rated: RatedSet) -> RatedSet:
        """All rows in use, after these were added."""
        first, self.num_used = self.num_used, self.num_used + len(rated)
        for name, column in self.columns.items():
            column[first : self.num_used] = getattr(rated, name)
        return RatedSet(**{name: column[: self.num_used] for name, column in self.columns.items()})


@dataclass(frozen=True, eq=False, slots=True)
class GrowingRatings:
    """Ratings, in arrays that may have room for newer ones."""

    rated: RatedSet
    _room: _Room | None = None

    def followed_by(self, newer: RatedSet) -> GrowingRatings:
        """With newer ratings. They share their arrays with these, which stay as they are."""
        num_rows, room = len(self.rated) + len(newer), self._room
        if room is not None:
            with room.lock:
                if room.num_used == len(self.rated) and num_rows <= room.num_rows:
                    return GrowingRatings(room.add(newer), room)
        room = _Room(self.rated, int(ROOM * num_rows) + 1)
        return GrowingRatings(room.add(newer), room)

    def select(self, index: np.ndarray) -> GrowingRatings:
        """Some of them, as `RatedSet.select`, in arrays of their own."""
        return GrowingRatings(self.rated.select(index))
