"""The exact sums of many ratings (`paaplus.scoring.rating_sums`) that a worker has made, within a bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from paaplus.scoring.rating_sums import RatingSums
from paaplus.services.predictions.cache import SizedCache

SUMS_MB: Final = 64


class KnownSums:
    """Keeps the sums of the users who were trained last, up to so many bytes. Safe for threads."""

    def __init__(self, max_bytes: int = SUMS_MB * 2**20) -> None:
        self._known: SizedCache[UUID, RatingSums] = SizedCache(max_bytes)

    def of(self, user_id: UUID) -> SumsOfUser:
        """What is kept of one user."""
        return SumsOfUser(self._known, user_id)


@dataclass(frozen=True, slots=True)
class SumsOfUser:
    """One user's place, see `SumsMemory`."""

    known: SizedCache[UUID, RatingSums]
    user_id: UUID

    def get(self) -> RatingSums | None:
        return self.known.get_each([self.user_id])[0]

    def put(self, sums: RatingSums) -> None:
        self.known.put(self.user_id, sums, sums.num_bytes)
