"""Rate limits per API key: token buckets in the database.

Each process reserves 1 % of a key's bucket at a time and spends it without a query. So at full speed one request in
hundreds writes to the database. The first reservation of a key in a process is free. So N processes may exceed a
limit by N %. A bucket is full again after a window without requests.
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

RESERVATIONS_PER_LIMIT: Final = 100
MAX_BLOCKED_S: Final = 60.0
CACHE_SIZE: Final = 10_000
_DAY_S: Final = 86_400.0


class RateLimitKind(StrEnum):
    REQUESTS = "requests"
    FEEDBACK = "feedback"
    PREDICTIONS = "predictions"
    UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` per `window_s` on average, and at once. 0: no limit."""

    amount: int
    window_s: float

    @property
    def reservation(self) -> int:
        """Tokens that a process reserves at a time."""
        return max(1, self.amount // RESERVATIONS_PER_LIMIT)

    @property
    def per_s(self) -> float:
        return self.amount / self.window_s


@dataclass(slots=True)
class _Reservation:
    """Tokens of one key in this process. Times are of `time.monotonic`.

    `left`: tokens that the database had at the last look, without those of this process.
    """

    tokens: int
    ends_at: float
    left: float
    blocked_until: float = 0.0


class RateLimiter:
    """Applies rate limits in one process."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._reservations: dict[tuple[UUID, RateLimitKind], _Reservation] = {}
        self._lock = threading.Lock()

    def limit_of(self, principal: Principal, kind: RateLimitKind) -> Limit:
        settings = self._settings
        is_person = principal.scope in (KeyScope.USER, KeyScope.EXPERT)
        match kind:
            case RateLimitKind.FEEDBACK:
                return Limit(settings.feedback_per_key_per_day, _DAY_S)
            case RateLimitKind.PREDICTIONS:
                amount = settings.user_predictions_per_day if is_person else settings.predictions_per_key_per_day
                return Limit(amount, _DAY_S)
            case RateLimitKind.UPLOADS:
                amount = settings.user_uploads_per_day if is_person else settings.uploads_per_key_per_day
                return Limit(amount, _DAY_S)
            case RateLimitKind.REQUESTS:
                amount = settings.user_requests_per_minute if is_person else settings.requests_per_minute
                return Limit(amount, 60.0)

    def headers(self, principal: Principal) -> dict[str, str]:
        """`RateLimit` headers of an answer: the limit of requests, what is left of it, and seconds until it is full.

        What other processes have spent since this one's last look at the database is not known.
        """
        limit = self.limit_of(principal, RateLimitKind.REQUESTS)
        if principal.key_id is None or limit.amount == 0:
            return {}
        with self._lock:
            reserved = self._reservation(principal.key_id, RateLimitKind.REQUESTS, limit)
            is_blocked = reserved.blocked_until > time.monotonic()
            left = 0 if is_blocked else min(limit.amount, int(reserved.left + reserved.tokens))
        return {
            "RateLimit-Limit": str(limit.amount),
            "RateLimit-Remaining": str(left),
            "RateLimit-Reset": str(math.ceil((limit.amount - left) / limit.per_s)),
            "RateLimit-Policy": f"{limit.amount};w={limit.window_s:.0f}",
        }

    def spend_reserved(self, principal: Principal, kind: RateLimitKind, amount: int = 1) -> bool:
        """Spend reserved tokens without a query; False: there are not enough, call `spend`.

        Raises:
            TooMany: the limit was reached a moment ago.
        """
        limit = self.limit_of(principal, kind)
        if principal.key_id is None or limit.amount == 0:
            return True
        with self._lock:
            reserved = self._reservation(principal.key_id, kind, limit)
            now = time.monotonic()
            if reserved.blocked_until > now:
                raise _too_many(kind, limit, reserved.blocked_until - now)
            if reserved.tokens < amount:
                return False
            reserved.tokens -= amount
            return True

    def spend(self, principal: Principal, kind: RateLimitKind, amount: int = 1) -> None:
        """Spend tokens, and reserve more from the database if needed.

        Raises:
            TooMany: the limit is reached.
            Unauthenticated: the key was deleted.
        """
        if self.spend_reserved(principal, kind, amount):
            return
        assert principal.key_id is not None, "a principal without a key has no limit"
        limit = self.limit_of(principal, kind)
        if amount > limit.amount:
            raise TooMany(f"{amount} at once, of {limit.amount} {kind.value} in {limit.window_s:.0f} s", limit.window_s)
        granted, left, wait_s = self._take(principal.key_id, kind, limit, amount)
        with self._lock:
            reserved = self._reservation(principal.key_id, kind, limit)
            reserved.left = left
            if granted:
                reserved.tokens += granted - amount
                return
            # Blocked for as long as a reservation takes to refill, so that refused requests cost no queries.
            blocked_s = min(max(wait_s, limit.window_s / RESERVATIONS_PER_LIMIT), MAX_BLOCKED_S)
            reserved.blocked_until = time.monotonic() + blocked_s
        raise _too_many(kind, limit, blocked_s)

    def _reservation(self, key_id: UUID, kind: RateLimitKind, limit: Limit) -> _Reservation:
        reserved, now = self._reservations.get((key_id, kind)), time.monotonic()
        if reserved is None or reserved.ends_at < now:
            if len(self._reservations) >= CACHE_SIZE:
                self._reservations.clear()
            free = limit.amount // RESERVATIONS_PER_LIMIT
            reserved = _Reservation(free, now + limit.window_s, left=limit.amount - free)
            self._reservations[key_id, kind] = reserved
        return reserved

    def _take(self, key_id: UUID, kind: RateLimitKind, limit: Limit, amount: int) -> tuple[int, float, float]:
        """Take tokens from the key's bucket: (tokens, those left, 0.0), or (0, those left, seconds until enough)."""
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
                    return 0, row.tokens, (amount - row.tokens) / limit.per_s
                granted = min(int(row.tokens), max(amount, limit.reservation))
                row.tokens -= granted
                return granted, row.tokens, 0.0
        except IntegrityError as error:
            raise Unauthenticated("this API key is unknown or revoked") from error


def _too_many(kind: RateLimitKind, limit: Limit, wait_s: float) -> TooMany:
    return TooMany(
        f"this key has used its {limit.amount} {kind.value} in {limit.window_s:.0f} s: "
        f"try again in {math.ceil(wait_s)} s",
        wait_s,
    )
