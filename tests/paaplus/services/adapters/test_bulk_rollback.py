"""Rollbacks of many users: whom a selection finds, what they get, and that the same call again goes on."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import AuditRow, FeedbackRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput
from paaplus.services.adapters import bulk_rollback
from paaplus.services.adapters.bulk_rollback import BulkReport, Selection
from paaplus.settings import Settings
from tests.support.deployment import Deployment


@pytest.fixture
def deployment(database: Database, database_url: str, tmp_path: Path) -> Deployment:
    return Deployment(database, Settings(home=tmp_path / "home", database_url=database_url))


def trained(deployment: Deployment, name: str, seed: int) -> UUID:
    user = deployment.add_user(name)
    deployment.rate(user, range(60), seed=seed)
    deployment.work()
    return user


def roll_back(deployment: Deployment, selection: Selection, **options: object) -> BulkReport:
    return bulk_rollback.roll_back(deployment.database, selection, actor="admin", reason="stolen key", **options)


@pytest.mark.slow
def test_all_go_back_to_the_newest_version_from_before_the_time(deployment: Deployment) -> None:
    users = [trained(deployment, f"user{seed}", seed) for seed in range(2)]
    before = [deployment.scores(user) for user in users]
    since = utcnow()
    for seed, user in enumerate(users):
        deployment.rate(user, range(60, 120), seed=seed)
    deployment.work()
    assert all(deployment.active(user).number == 2 for user in users)

    dry = roll_back(deployment, Selection(since=since), dry_run=True)
    assert {(u.user_id, u.from_number, u.to_number) for u in dry.users} == {(user, 2, 1) for user in users}
    assert all(deployment.active(user).number == 2 for user in users), "a dry run changes nothing"

    first = roll_back(deployment, Selection(since=since), limit=1)
    assert (len(first.users), first.next_after) == (1, first.users[0].user_id)
    rest = roll_back(deployment, Selection(since=since))  # the same call again: it goes on with the others
    assert {u.user_id for u in (*first.users, *rest.users)} == set(users)
    assert rest.next_after is None
    for user, scores in zip(users, before, strict=True):
        assert np.array_equal(deployment.scores(user), scores)
    assert roll_back(deployment, Selection(since=since)).users == []
    with deployment.database.read_session() as session:
        acts = session.execute(sa.select(AuditRow.action)).scalars().all()
    assert sorted(act for act in acts if "roll" in act) == ["bulk_rollback"] * 2 + ["rolled_back"] * 2


def test_only_those_trained_on_a_source_go_back(deployment: Deployment) -> None:
    anna, ben = trained(deployment, "anna", 0), trained(deployment, "ben", 1)
    with deployment.database.session() as session:
        session.execute(sa.update(FeedbackRow).where(FeedbackRow.user_id == ben).values(source="key:stolen"))
    report = roll_back(deployment, Selection(source="key:stolen"))
    assert [(u.user_id, u.to_number, u.error) for u in report.users] == [(ben, None, None)]
    assert deployment.active(ben) is None
    assert deployment.active(anna) is not None
    assert deployment.user(ben).pending_count == 0, "what was rolled back does not train again"


def test_a_run_a_strategy_and_an_application_select_too(deployment: Deployment) -> None:
    anna = trained(deployment, "anna", 0)
    trained(deployment, "ben", 1)
    run = deployment.runs(anna)[0].id
    for selection, count in [
        (Selection(run_id=run), 1),
        (Selection(strategy="bayes"), 2),
        (Selection(strategy="naive"), 0),
        (Selection("elsewhere", strategy="bayes"), 0),
    ]:
        assert len(roll_back(deployment, selection, dry_run=True).users) == count


def test_a_rollback_of_everything_must_be_asked_for(deployment: Deployment) -> None:
    with pytest.raises(InvalidInput, match="say what"):
        Selection("test-app")
    with pytest.raises(InvalidInput, match="reason"):
        bulk_rollback.roll_back(deployment.database, Selection(strategy="bayes"), actor="admin", reason=" ")
