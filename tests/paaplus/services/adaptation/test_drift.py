"""Drift: the scheduler's check finds drifting users; they are trained early and forget faster; on both databases."""

from __future__ import annotations

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.configs import DriftConfig
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, UserRow
from paaplus.scoring.drift import DriftState
from paaplus.services import events, scheduling
from paaplus.services.adaptation import drift
from paaplus.services.feedback import exclusions
from paaplus.settings import Settings
from tests.support.deployment import Deployment

QUICK = {"threshold": 8.0, "min_ratings": 10}


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def watch(deployment: Deployment) -> int:
    return drift.watch(deployment.database, deployment.context.serving)


def known_user(deployment: Deployment, **policy: object) -> object:
    """A user whose first 60 ratings are checked and trained on; the policy then waits for tens of thousands more."""
    user = deployment.add_user(drift=QUICK, **policy)
    deployment.rate(user, range(60))
    watch(deployment)
    deployment.work()
    with deployment.database.session() as session:
        row = session.get(UserRow, user)
        row.policy = {**row.policy, "min_new_feedback": 10_000}
    return user


def test_a_drifting_user_is_due_at_once_and_learns_with_a_short_half_life(deployment: Deployment) -> None:
    user = known_user(deployment)
    deployment.rate(user, range(60, 72), flip=True)
    assert deployment.user(user).due_reason == "interval"
    assert watch(deployment) == 1
    row = deployment.user(user)
    assert row.due_reason == "drift"
    assert 55 <= row.drift["since"] < 72
    with deployment.database.read_session() as session:
        told = events.after(session, user, events.NONE, 100)[-1]
    assert (told.kind, told.data) == ("drift.found", {"since_sequence": row.drift["since"]})
    deployment.rate(user, range(72, 74), flip=True)
    assert deployment.queued_reason(user) == "drift", "more feedback does not postpone it"
    assert deployment.work() == 1
    run = deployment.runs(user)[-1]
    assert run.config["recency_half_life"] == DriftConfig().recency_half_life
    assert run.to_sequence == 74
    assert deployment.user(user).next_due_at is None
    assert forgetting(deployment, user) is None, "held-out ratings from before the drift are no evidence"


def forgetting(deployment: Deployment, user: object) -> float | None:
    checks = deployment.versions(user)[-1].gate_report["checks"]
    return next(check["value"] for check in checks if check["name"] == "forgetting")


def test_a_stable_user_is_not_found(deployment: Deployment) -> None:
    user = known_user(deployment)
    deployment.rate(user, range(60, 100))
    assert watch(deployment) == 0
    row = deployment.user(user)
    assert row.due_reason == "interval"
    assert (row.watched_sequence, row.drift["num_errors"], row.drift["since"]) == (100, 100, None)
    assert drift.training_policy(row) == scheduling.policy_of(row)
    deployment.retrain(user)
    assert forgetting(deployment, user) is not None


def test_no_event_is_checked_twice(deployment: Deployment) -> None:
    user = known_user(deployment)
    deployment.rate(user, range(60, 65))
    watch(deployment)
    before = deployment.user(user).drift
    assert watch(deployment) == 0
    deployment.rate(user, range(60, 65))  # posted again
    watch(deployment)
    assert deployment.user(user).drift == before


def test_errors_are_of_scores_served_before_training(deployment: Deployment) -> None:
    user = deployment.add_user(drift=QUICK)
    deployment.rate(user, range(30))
    deployment.work()  # no scheduler checked them: the training does, with the generic scores
    row = deployment.user(user)
    assert (row.watched_sequence, row.drift["num_errors"]) == (30, 30)
    generic = np.mean([abs(deployment.generic_IA[i, 0] - deployment.opinion(i)) for i in range(30)])
    assert row.drift["mean"] == pytest.approx(generic, abs=1e-5)
    assert deployment.active(user) is not None
    deployment.rate(user, range(30, 31))
    watch(deployment)
    error = abs(deployment.scores(user)[30, 0] - deployment.opinion(30))
    assert deployment.user(user).drift["mean"] == pytest.approx((30 * generic + error) / 31, abs=1e-5)


def test_drift_that_a_training_finds_counts_in_that_training(deployment: Deployment) -> None:
    user = known_user(deployment)
    deployment.rate(user, range(60, 74), flip=True)
    deployment.retrain(user)  # no scheduler looked before
    assert deployment.user(user).watched_sequence == 74
    assert deployment.user(user).drift["since"] is not None
    assert deployment.runs(user)[-1].config["recency_half_life"] == DriftConfig().recency_half_life


def test_one_scan_checks_all_users_in_batches(deployment: Deployment) -> None:
    users = [deployment.add_user(f"user{i}", drift=QUICK) for i in range(7)]
    for user in users:
        deployment.rate(user, range(3))
    drift.watch(deployment.database, deployment.context.serving, batch=2)
    assert [deployment.user(user).watched_sequence for user in users] == [3] * 7


def test_a_paused_user_is_checked_but_not_due(deployment: Deployment) -> None:
    user = known_user(deployment)
    with deployment.database.session() as session:
        row = session.get(UserRow, user)
        row.policy = {**row.policy, "paused": True}
    deployment.rate(user, range(60, 72), flip=True)
    assert watch(deployment) == 1
    assert deployment.user(user).next_due_at is None


def test_a_damaged_version_does_not_keep_other_users_from_being_checked(deployment: Deployment) -> None:
    broken, other = deployment.add_user("broken"), known_user(deployment)
    deployment.rate(broken, range(40))
    deployment.work()
    with deployment.database.session() as session:
        session.execute(sa.update(AdapterRow).where(AdapterRow.user_id == broken).values(digest="0" * 64))
    deployment.rate(broken, range(40, 45))
    deployment.rate(other, range(60, 72), flip=True)
    assert watch(deployment) == 1
    assert deployment.user(other).due_reason == "drift"
    assert deployment.user(broken).watched_sequence < 45  # checked when it is repaired


def test_a_quarantine_ends_the_drift_that_was_found_in_it(deployment: Deployment) -> None:
    """The same ratings give the same version before rubbish comes and after it was set aside (promise 10)."""
    user = known_user(deployment)
    before = deployment.active(user)
    assert before is not None
    rng = np.random.default_rng(1)
    deployment.post(
        *(deployment.rating(user, f"rubbish{i}", i, float(rng.choice([0.0, 10.0])), i - 60) for i in range(60, 90))
    )
    assert watch(deployment) == 1
    drifted = deployment.user(user)
    assert drift.drifted_since(drifted) is not None
    assert drift.training_policy(drifted).training.recency_half_life == DriftConfig().recency_half_life
    deployment.work()
    with deployment.database.read_session() as session:
        quarantined = {event.sequence for event in exclusions.list_open(session, user)}
    assert set(range(61, 91)) == quarantined
    deployment.retrain(user)
    assert deployment.runs(user)[-1].config["recency_half_life"] == 0.0
    assert deployment.active(user).digest == before.digest


@pytest.mark.slow
def test_a_drift_that_is_set_aside_does_not_hide_the_one_before_it(deployment: Deployment) -> None:
    """A change of taste stays known when rubbish that came after it, and was taken for another one, is excluded."""
    user = known_user(deployment)
    deployment.rate(user, range(60, 74), flip=True)
    assert watch(deployment) == 1
    since = deployment.user(user).drift["since"]
    deployment.retrain(user)
    rng = np.random.default_rng(1)
    deployment.post(
        *(deployment.rating(user, f"rubbish{i}", i, float(rng.choice([0.0, 10.0])), i - 60) for i in range(74, 110))
    )
    assert watch(deployment) == 1
    row = deployment.user(user)
    rubbish = set(range(75, 111))
    assert row.drift["since"] >= 74, "the rubbish was taken for another change"
    assert drift.drifted_since(row) == row.drift["since"]
    assert drift.drifted_since(row, rubbish) == since
    assert drift.training_policy(row, rubbish).training.recency_half_life == DriftConfig().recency_half_life
    assert drift.drifted_since(row, rubbish | set(range(61, 75))) is None


@pytest.mark.parametrize(
    ("state", "invalid", "counts"),
    [
        (DriftState(), {1}, False),
        (DriftState(since=3, found_at=7), {1, 2, 3}, True),
        (DriftState(since=3, found_at=7), {4, 5}, True),
        (DriftState(since=3, found_at=7), {4, 5, 6}, True),
        (DriftState(since=3, found_at=7), {7}, True),
        (DriftState(since=3, found_at=7), {5, 6, 7}, False),
        (DriftState(since=3), {4, 5, 6}, True),  # found by an earlier release
    ],
)
def test_a_drift_counts_while_answers_that_raised_its_alarm_do(
    state: DriftState, invalid: set[int], counts: bool
) -> None:
    assert state.since_valid(invalid) == (3 if counts else None)


def test_checking_drift_needs_no_base_model(database: Database, settings: Settings) -> None:
    from paaplus.services.predictions.serving_store import ServingStore
    from paaplus.storage.blobs import BlobStore
    from tests.support.factories import make_feedback, make_image, make_user

    with database.session() as session:
        make_feedback(session, make_user(session), image_id=make_image(session).id)
    store = ServingStore(database, BlobStore(settings.resolved_storage_url), settings)
    assert drift.watch(database, store) == 0


@pytest.mark.parametrize(("own", "expected"), [(0.0, 50.0), (20.0, 20.0), (80.0, 50.0)])
def test_the_shorter_half_life_counts(own: float, expected: float) -> None:
    user = UserRow(policy={"training": {"recency_half_life": own}}, drift=DriftState(since=3).to_dict())
    assert drift.training_policy(user).training.recency_half_life == expected
    assert drift.drifted_since(user) == 3
    user.drift = None
    assert drift.training_policy(user).training.recency_half_life == own


def test_while_drift_is_worked_out_others_can_write(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan looks at hundreds of users; feedback must not wait for it."""
    user = known_user(deployment)
    deployment.rate(user, range(60, 64))
    after_all, others = DriftState.after_all, []

    def beside_a_writer(self, errors, config):
        other = Database(deployment.settings.resolved_database_url)
        with other.session() as session:
            others.append(session.execute(sa.update(UserRow).values(last_trained_at=None)).rowcount)
        other.dispose()
        return after_all(self, errors, config)

    monkeypatch.setattr(DriftState, "after_all", beside_a_writer)
    watch(deployment)
    assert others == [1, 1], "once for each test"
    assert deployment.user(user).watched_sequence == 64


def test_a_check_that_another_one_overtakes_writes_nothing(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = known_user(deployment)
    deployment.rate(user, range(60, 64))
    write, overtaken = drift._write, []

    def overtakes(database, found):
        if not overtaken:
            overtaken.append(True)
            deployment.rate(user, range(64, 68))
            assert watch(deployment) == 0
            overtaken.append(deployment.user(user).drift)
        return write(database, found)

    monkeypatch.setattr(drift, "_write", overtakes)
    watch(deployment)
    row = deployment.user(user)
    assert (row.watched_sequence, row.drift) == (68, overtaken[1])
