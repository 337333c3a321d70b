"""Quotas: what a key has used is told, and comes back with time."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AllowanceRow
from paaplus.db.tables.governance import KeyScope
from paaplus.services.users import keys, quotas
from paaplus.services.users.quotas import Quota
from paaplus.services.users.rate_limits import RateLimiter, RateLimitKind
from paaplus.settings import Settings
from tests.support.factories import make_user


def of_kind(found: list[Quota], kind: RateLimitKind) -> Quota:
    return next(quota for quota in found if quota.kind == kind)


def test_used_tokens_are_told_by_key_and_come_back(database: Database, settings: Settings) -> None:
    limiter = RateLimiter(
        database, settings.model_copy(update={"uploads_per_key_per_day": 100, "feedback_per_key_per_day": 0})
    )
    with database.session() as session:
        user = make_user(session)
        created = keys.create(
            session, name="shop", scope=KeyScope.APPLICATION, application=user.application, actor="test"
        )
        keys.create(session, name="ann", scope=KeyScope.USER, user_id=user.id, actor="test")
        gone = keys.create(session, name="gone", scope=KeyScope.ADMIN, actor="test")
        session.flush()
        keys.revoke(session, gone.row.id, actor="test")
        principal = keys.authenticate(session, created.token)
    for _ in range(50):
        limiter.spend(principal, RateLimitKind.UPLOADS)
    with database.read_session() as session:
        [shop] = quotas.read(session, limiter)
        [ann] = quotas.read(session, limiter, people=True)
    assert (shop.name, shop.application, ann.name) == ("shop", user.application, "ann")
    used = of_kind(shop.quotas, RateLimitKind.UPLOADS)
    assert used.share_used == pytest.approx(0.5, abs=0.02)  # a process may hold one reservation, 1 %
    assert of_kind(shop.quotas, RateLimitKind.FEEDBACK).share_used == 0.0  # no limit
    assert of_kind(ann.quotas, RateLimitKind.UPLOADS).share_used == 0.0
    with database.session() as session:
        for row in session.execute(sa.select(AllowanceRow)).scalars():
            row.updated_at -= timedelta(hours=6)
    with database.read_session() as session:
        [shop] = quotas.read(session, limiter)
    assert of_kind(shop.quotas, RateLimitKind.UPLOADS).share_used == pytest.approx(0.25, abs=0.02)
