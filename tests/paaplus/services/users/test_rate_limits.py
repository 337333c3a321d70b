"""Rate limits: they hold over several processes, and rarely cost a query."""

from __future__ import annotations

import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AllowanceRow
from paaplus.db.tables.governance import KeyScope
from paaplus.errors import TooMany, Unauthenticated
from paaplus.ids import new_id
from paaplus.services.users import keys
from paaplus.services.users.keys import OPERATOR, Principal
from paaplus.services.users.rate_limits import Limit, RateLimiter, RateLimitKind
from paaplus.settings import Settings
from tests.support.factories import make_user

REQUESTS, FEEDBACK = RateLimitKind.REQUESTS, RateLimitKind.FEEDBACK


def principal(database: Database, scope: KeyScope = KeyScope.ADMIN) -> Principal:
    with database.session() as session:
        user_id = make_user(session).id if scope == KeyScope.USER else None
        created = keys.create(session, name="k", scope=scope, user_id=user_id, actor="test")
        return keys.authenticate(session, created.token)


def allowances(database: Database, settings: Settings, **limits: int) -> RateLimiter:
    return RateLimiter(database, settings.model_copy(update=limits))


def spend_all(of: RateLimiter, key: Principal, kind: RateLimitKind = REQUESTS, *, at_most: int = 10_000) -> int:
    """Spend until refused; returns the number of tokens spent."""
    for spent in range(at_most):
        try:
            of.spend(key, kind)
        except TooMany:
            return spent
    return at_most


def age(database: Database, seconds: float) -> None:
    """Move the buckets' last update so many seconds into the past."""
    with database.session() as session:
        for row in session.execute(sa.select(AllowanceRow)).scalars():
            row.updated_at -= timedelta(seconds=seconds)


def test_small_limit_is_exact(database: Database, settings: Settings) -> None:
    key = principal(database)
    of = allowances(database, settings, requests_per_minute=5)
    assert spend_all(of, key) == 5
    with pytest.raises(TooMany, match=r"its 5 requests in 60 s: try again in 12 s") as refused:
        of.spend(key, REQUESTS)
    assert 11 < refused.value.retry_after_s <= 12  # a fifth of a minute


def test_limit_holds_for_all_processes_together(database: Database, settings: Settings) -> None:
    """Each process may exceed the limit by its first, free reservation."""
    key = principal(database)
    processes = [allowances(database, settings, requests_per_minute=1_000) for _ in range(3)]
    spent = [0] * 3

    def work(i: int) -> None:
        spent[i] = spend_all(processes[i], key)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refilled = 1_000 / 60 * 30  # while they run: half a minute at most
    assert 1_000 <= sum(spent) <= 1_000 + 3 * 10 + refilled


def test_another_process_knows_what_this_one_spent(database: Database, settings: Settings) -> None:
    key = principal(database)
    # of a day: nothing comes back while they spend, however slow the machine is
    assert spend_all(allowances(database, settings, feedback_per_key_per_day=50), key, FEEDBACK) == 50
    assert spend_all(allowances(database, settings, feedback_per_key_per_day=50), key, FEEDBACK) == 0


def test_bucket_fills_up_again_with_time_and_never_over(database: Database, settings: Settings) -> None:
    key = principal(database)

    def spend_after(seconds: float) -> tuple[int, float]:
        """How many tokens there were so much later, and the seconds since then, each of which brings one more."""
        age(database, seconds)
        started = time.monotonic()
        spent = spend_all(allowances(database, settings, requests_per_minute=60), key)
        return spent, time.monotonic() - started

    for seconds, least, most in ((0, 60, 60), (10, 10, 11), (3600, 60, 60)):
        spent, passed_s = spend_after(seconds)
        assert least <= spent <= most + passed_s


def test_key_that_is_within_its_limit_costs_one_query_in_hundreds(database: Database, settings: Settings) -> None:
    key = principal(database)
    of = allowances(database, settings, requests_per_minute=60_000)
    statements: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    num_at_hand = 0
    for _ in range(6_000):
        if of.spend_reserved(key, REQUESTS):
            num_at_hand += 1
        else:
            of.spend(key, REQUESTS)
    assert 6_000 - num_at_hand <= 10
    assert len(statements) <= 10 * 6
    statements.clear()
    of.spend(principal(database), REQUESTS)
    assert not any("allowances" in statement for statement in statements), "a rarely used key costs no query"


def test_flood_of_refusals_is_no_flood_of_queries(database: Database, settings: Settings) -> None:
    key = principal(database)
    of = allowances(database, settings, requests_per_minute=10)
    spend_all(of, key)
    statements: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    for _ in range(100):
        with pytest.raises(TooMany):
            of.spend_reserved(key, REQUESTS)
    assert statements == []


def test_keys_and_kinds_do_not_share(database: Database, settings: Settings) -> None:
    one, other = principal(database), principal(database)
    of = allowances(database, settings, requests_per_minute=5, feedback_per_key_per_day=7)
    assert [spend_all(of, one), spend_all(of, other)] == [5, 5]
    assert spend_all(of, one, FEEDBACK) == 7


def test_users_have_a_limit_of_their_own(database: Database, settings: Settings) -> None:
    of = allowances(database, settings, requests_per_minute=9, user_requests_per_minute=3)
    assert spend_all(of, principal(database, KeyScope.USER)) == 3
    assert spend_all(of, principal(database)) == 9


def test_many_at_once_are_all_granted_or_none(database: Database, settings: Settings) -> None:
    key = principal(database)
    of = allowances(database, settings, feedback_per_key_per_day=100)
    of.spend(key, FEEDBACK, 60)
    with pytest.raises(TooMany):
        of.spend(key, FEEDBACK, 60)
    with pytest.raises(TooMany, match="1000 at once, of 100"):
        allowances(database, settings, feedback_per_key_per_day=100).spend(key, FEEDBACK, 1_000)
    assert spend_all(allowances(database, settings, feedback_per_key_per_day=100), key, FEEDBACK) >= 38


def test_zero_is_no_limit(database: Database, settings: Settings) -> None:
    key = principal(database)
    of = allowances(database, settings, requests_per_minute=0)
    assert spend_all(of, key, at_most=300) == 300
    assert spend_all(of, OPERATOR, at_most=300) == 300


def test_deleted_key_is_unauthenticated(database: Database, settings: Settings) -> None:
    gone = Principal("k", KeyScope.ADMIN, key_id=new_id())
    with pytest.raises(Unauthenticated):
        allowances(database, settings, requests_per_minute=5).spend(gone, REQUESTS)


def test_reservation_is_a_hundredth() -> None:
    assert [Limit(amount, 60).reservation for amount in (1, 99, 100, 60_000)] == [1, 1, 1, 600]
