"""What every API key may do in a day or a minute, and how much of it is left: for an operator who watches."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.clock import db_now
from paaplus.db.tables import AllowanceRow, ApiKeyRow
from paaplus.db.tables.governance import KeyScope
from paaplus.services.users.keys import Principal
from paaplus.services.users.rate_limits import Limit, RateLimiter, RateLimitKind


@dataclass(frozen=True, slots=True)
class Quota:
    """One rate limit of a key. `left`: tokens that the database has now; processes hold up to 1 % each beside them."""

    kind: RateLimitKind
    limit: Limit
    left: float

    @property
    def share_used(self) -> float:
        """0 to 1; 0 if there is no limit."""
        return 0.0 if self.limit.amount == 0 else min(1.0, max(0.0, 1.0 - self.left / self.limit.amount))


@dataclass(frozen=True, slots=True)
class KeyQuotas:
    """A key that is not revoked, and its rate limits."""

    key_id: UUID
    name: str
    scope: KeyScope
    application: str | None
    user_id: UUID | None
    quotas: list[Quota]


def read(
    session: Session, limiter: RateLimiter, *, people: bool = False, limit: int = 200, before: UUID | None = None
) -> list[KeyQuotas]:
    """The rate limits of keys of applications and admins, newest key first; `people`: of users and experts instead."""
    scopes = (KeyScope.USER, KeyScope.EXPERT) if people else (KeyScope.APPLICATION, KeyScope.ADMIN)
    query = sa.select(ApiKeyRow).where(ApiKeyRow.revoked_at.is_(None), ApiKeyRow.scope.in_(scopes))
    if before is not None:
        query = query.where(ApiKeyRow.id < before)
    rows = session.execute(query.order_by(ApiKeyRow.id.desc()).limit(limit)).scalars().all()
    now = db_now(session)
    stored = session.execute(sa.select(AllowanceRow).where(AllowanceRow.key_id.in_([row.id for row in rows])))
    buckets = {(row.key_id, row.kind): row for row in stored.scalars()}
    found = []
    for row in rows:
        principal = Principal(row.name, row.scope, row.id, row.application, row.user_id)
        quotas = []
        for kind in RateLimitKind:
            limit_of = limiter.limit_of(principal, kind)
            bucket = buckets.get((row.id, kind.value))
            left = float(limit_of.amount)
            if bucket is not None:  # it refills with time
                refilled = max(0.0, (now - bucket.updated_at).total_seconds()) * limit_of.per_s
                left = min(left, bucket.tokens + refilled)
            quotas.append(Quota(kind, limit_of, left))
        found.append(KeyQuotas(row.id, row.name, row.scope, row.application, row.user_id, quotas))
    return found
