"""What a key may do in a while: buckets of tokens in the database, from which every process takes by the handful.

A handful is a hundredth of the limit. A process spends it without asking, so that at full speed one request in
hundreds writes to the database; and it gives every key that comes seldom its first handful for nothing. With N
processes a limit may so be passed by N hundredths. The bucket of a key that was quiet for a window is full.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

from sqlalchemy.exc import IntegrityError

from paaplus.db.clock import db_now
from paaplus.db.engine import Database
from paaplus.db.tables import AllowanceRow
from paaplus.db.tables.governance import KeyScope
from paaplus.db.upsert import insert_ignoring_conflicts
from paaplus.errors import TooMany, Unauthenticated
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings

HANDFULS: Final = 100
MAX_CLOSED_S: Final = 60.0
CACHE_SIZE: Final = 10_000
_DAY_S: Final = 86_400.0


class RateLimitKind(StrEnum):
    REQUESTS = "requests"
    FEEDBACK = "feedback"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` per `window_s` in the long run, and `amount` at once; 0: no limit."""

    amount: int
    window_s: float

    @property
    def handful(self) -> int:
        return max(1, self.amount // HANDFULS)

    @property
    def per_s(self) -> float:
        return self.amount / self.window_s


@dataclass(slots=True)
class _Reservation:
    tokens: int
    ends_at: float
    closed_until: float = 0.0


class RateLimiter:
    """One process's share of what keys may do."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._handfuls: dict[tuple[UUID, RateLimitKind], _Reservation] = {}
        self._lock = threading.Lock()

    def limit_of(self, principal: Principal, kind: RateLimitKind) -> Limit:
        if kind == RateLimitKind.FEEDBACK:
            return Limit(self._settings.feedback_per_key_per_day, _DAY_S)
        is_person = principal.scope in (KeyScope.USER, KeyScope.EXPERT)
        settings = self._settings
        return Limit(settings.user_requests_per_minute if is_person else settings.requests_per_minute, 60.0)

    def spend_at_hand(self, principal: Principal, kind: RateLimitKind, amount: int = 1) -> bool:
        """Spend from what this process has; False: ask `spend`. Waits for nothing.

        Raises:
            TooMany: the key has had its share, as of a moment ago.
        """
        limit = self.limit_of(principal, kind)
        if principal.key_id is None or limit.amount == 0:
            return True
        with self._lock:
            mine = self._handful(principal.key_id, kind, limit)
            now = time.monotonic()
            if mine.closed_until > now:
                raise _too_many(kind, limit, mine.closed_until - now)
            if mine.tokens < amount:
                return False
            mine.tokens -= amount
            return True

    def spend(self, principal: Principal, kind: RateLimitKind, amount: int = 1) -> None:
        """Spend, with a new handful from the database where that is needed.

        Raises:
            TooMany: the key has had its share.
            Unauthenticated: the key is gone.
        """
        if self.spend_at_hand(principal, kind, amount):
            return
        assert principal.key_id is not None, "who has no key has no limit"
        limit = self.limit_of(principal, kind)
        if amount > limit.amount:
            raise TooMany(f"{amount} at once, of {limit.amount} {kind.value} in {limit.window_s:.0f} s", limit.window_s)
        granted, wait_s = self._take(principal.key_id, kind, limit, amount)
        with self._lock:
            mine = self._handful(principal.key_id, kind, limit)
            if granted:
                mine.tokens += granted - amount
                return
            # Closed for as long as a handful takes: a flood of refusals must not become a flood of queries.
            closed_s = min(max(wait_s, limit.window_s / HANDFULS), MAX_CLOSED_S)
            mine.closed_until = time.monotonic() + closed_s
        raise _too_many(kind, limit, closed_s)

    def _handful(self, key_id: UUID, kind: RateLimitKind, limit: Limit) -> _Reservation:
        mine, now = self._handfuls.get((key_id, kind)), time.monotonic()
        if mine is None or mine.ends_at < now:
            if len(self._handfuls) >= CACHE_SIZE:
                self._handfuls.clear()
            mine = self._handfuls[key_id, kind] = _Reservation(limit.amount // HANDFULS, now + limit.window_s)
        return mine

    def _take(self, key_id: UUID, kind: RateLimitKind, limit: Limit, amount: int) -> tuple[int, float]:
        """(tokens taken from the key's bucket, 0.0); or (0, seconds until there are as many as needed)."""
        try:
            with self._database.session() as session:
                now = db_now(session)
                full = {"key_id": key_id, "kind": kind.value, "tokens": float(limit.amount), "updated_at": now}
                insert_ignoring_conflicts(session, AllowanceRow, [full])
                row = session.get_one(AllowanceRow, (key_id, kind.value), with_for_update=True, populate_existing=True)
                now = db_now(session)  # after the wait for the lock
                passed_s = max(0.0, (now - row.updated_at).total_seconds())
                row.tokens, row.updated_at = min(float(limit.amount), row.tokens + passed_s * limit.per_s), now
                if row.tokens < amount:
                    return 0, (amount - row.tokens) / limit.per_s
                granted = min(int(row.tokens), max(amount, limit.handful))
                row.tokens -= granted
                return granted, 0.0
        except IntegrityError as error:
            raise Unauthenticated("this API key is unknown or revoked") from error


def _too_many(kind: RateLimitKind, limit: Limit, wait_s: float) -> TooMany:
    return TooMany(
        f"this key has had its {limit.amount} {kind.value} in {limit.window_s:.0f} s: again in {math.ceil(wait_s)} s",
        wait_s,
    )
