"""Applications take turns: one that floods the queue makes another wait for two trainings at most."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import JobRow
from paaplus.db.tables.jobs import JobKind
from paaplus.db.types import utcnow
from paaplus.queue import jobs
from paaplus.services.users import users


def people(database: Database, application: str, count: int) -> list[UUID]:
    with database.session() as session:
        return [users.create(session, application=application, external_id=f"u{i}")[0].id for i in range(count)]


def enqueue(database: Database, user_ids: list[UUID], **options: object) -> None:
    with database.session() as session:
        for user_id in user_ids:
            jobs.enqueue(
                session,
                JobKind.ADAPT,
                f"adapt:{user_id}",
                queue="cpu",
                reason="test",
                max_attempts=3,
                user_id=user_id,
                **options,
            )


def work(database: Database, limit: int = 1, **options: object) -> list[UUID]:
    """Claim and complete one batch; the users in it."""
    leases = jobs.claim_together(database, worker="w", queues=["cpu"], lease_s=30, limit=limit, **options)
    with database.session() as session:
        for lease in leases:
            jobs.complete(session, lease)
    return [lease.user_id for lease in leases]


def test_a_flood_of_one_application_makes_another_wait_for_two_trainings_at_most(database: Database) -> None:
    flood, quiet = people(database, "flood", 40), people(database, "quiet", 3)
    enqueue(database, flood, priority=1)
    for _ in range(5):
        work(database)
    for user in quiet:
        enqueue(database, [user])
        order = [work(database)[0] for _ in range(3)]
        assert user in order[:2]


def test_a_batch_deals_its_places_out(database: Database) -> None:
    flood, quiet = people(database, "flood", 40), people(database, "quiet", 3)
    enqueue(database, flood)
    enqueue(database, quiet)
    batch = work(database, limit=8)
    assert len(batch) == 8
    assert set(quiet) < set(batch)
    assert len(work(database, limit=64)) == 35
    assert work(database) == []


@pytest.mark.parametrize("weights", [{}, {"one": 3.0}])
@pytest.mark.slow
def test_applications_share_by_their_weights(database: Database, weights: dict[str, float]) -> None:
    one, two = people(database, "one", 40), people(database, "two", 40)
    enqueue(database, two)
    enqueue(database, one)
    done = [work(database, weights=weights)[0] for _ in range(20)]
    assert sum(user in one for user in done) == (15 if weights else 10)


def test_what_was_started_long_ago_does_not_count(database: Database) -> None:
    one, two = people(database, "one", 10), people(database, "two", 10)
    enqueue(database, one[:6])
    work(database, limit=6)
    with database.session() as session:
        session.execute(sa.update(JobRow).values(started_at=utcnow() - timedelta(hours=1)))
    enqueue(database, one[6:])
    enqueue(database, two)
    done = [work(database)[0] for _ in range(4)]
    assert sum(user in one for user in done) == 2


def test_within_an_application_priority_and_time_decide(database: Database) -> None:
    users_ = people(database, "one", 3)
    enqueue(database, users_[:2])
    enqueue(database, users_[2:], priority=1)
    assert [work(database)[0] for _ in range(3)] == [users_[2], users_[0], users_[1]]


def test_jobs_of_no_application_take_turns_too(database: Database) -> None:
    enqueue(database, people(database, "flood", 10))
    work(database)
    with database.session() as session:
        job = jobs.enqueue(
            session, JobKind.EXTRACT_FEATURES, "features", queue="cpu", reason="test", max_attempts=3, delay_s=0.0
        )
    leases = jobs.claim_together(database, worker="w", queues=["cpu"], lease_s=30, limit=4)
    assert [lease.job_id for lease in leases] == [job]
