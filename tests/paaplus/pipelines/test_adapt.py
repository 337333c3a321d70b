"""From feedback to a version, without HTTP: job, training, gate, active pointer, rollback; on both databases."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.db.engine import Database
from paaplus.db.tables import FeaturesRow, JobRow
from paaplus.db.tables.jobs import JobState, RunOutcome
from paaplus.db.tables.models import AdapterState
from paaplus.errors import Conflict, InvalidInput, LeaseLost, NotFound
from paaplus.pipelines import adapt
from paaplus.pipelines.context import NotReady, Running
from paaplus.queue import jobs
from paaplus.services import scheduling
from paaplus.services.adaptation import commit
from paaplus.services.adaptation.snapshot import read_snapshot
from paaplus.services.adapters import rollbacks, versions
from paaplus.services.feedback import exclusions
from paaplus.services.images.features import features_digest
from paaplus.services.registry import base_models
from paaplus.services.users import users
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.factories import make_features
from tests.support.tiny import FEATURE_DIM, tiny_base

STRATEGIES = [("taste_vector", "bayes"), ("taste_vector", "replay"), ("bottleneck", "replay_ewc")]


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


@pytest.fixture(params=STRATEGIES, ids=lambda pair: "-".join(pair))
def policy(request: pytest.FixtureRequest) -> dict[str, object]:
    adapter, strategy = request.param
    return {"adapter": adapter, "strategy": strategy}


def rollback(deployment: Deployment, user: object, **options: object) -> versions.PointerChange:
    with deployment.database.session() as session:
        return rollbacks.rollback(session, user, actor="admin", reason="complaint", **options)


def srcc(deployment: Deployment, user: object, images: range) -> float:
    from scipy.stats import spearmanr

    truth = [deployment.opinion(i) for i in images]
    return float(spearmanr(truth, deployment.scores(user)[images.start : images.stop, 0]).statistic)


def test_versions_improve_from_increment_to_increment(deployment: Deployment, policy: dict[str, object]) -> None:
    user, unseen = deployment.add_user(**policy), range(120, 160)
    generic = srcc(deployment, user, unseen)
    for number, images in enumerate([range(40), range(40, 80), range(80, 120)], start=1):
        deployment.rate(user, images)
        assert deployment.work() == 1
        assert [v.number for v in deployment.versions(user)] == list(range(1, number + 1))
    assert srcc(deployment, user, unseen) > generic + 0.1
    last = deployment.runs(user)[-1]
    assert (last.from_sequence, last.to_sequence) == (80, 120)
    assert last.num_new + last.num_held_out >= 40
    active = deployment.active(user)
    assert active.parent_id == deployment.versions(user)[-2].id
    assert active.gate_report["reason"]
    assert deployment.user(user).trained_sequence == 120


def test_same_log_gives_the_same_digests_wherever_it_lies(
    deployment: Deployment, policy: dict[str, object], sqlite_template: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere.db"
    shutil.copyfile(sqlite_template, copy)
    settings = Settings(home=tmp_path / "elsewhere", database_url=f"sqlite:///{copy}")
    digests = []
    for each in (deployment, Deployment(Database(settings.database_url), settings)):
        user = each.add_user("anna", **policy)
        for images in (range(30), range(30, 60)):
            each.rate(user, images)
            each.rate(user, images)  # retries
            each.work()
        digests.append([version.digest for version in each.versions(user)])
    assert digests[0] == digests[1]
    assert len(digests[0]) == 2


def test_ratings_in_random_order_are_refused_by_the_gate_and_kept_with_the_reason(deployment: Deployment) -> None:
    user = deployment.add_user()
    order = np.random.default_rng(0).permutation(60)
    deployment.post(
        *(deployment.rating(user, f"r{i}", i, deployment.opinion(int(order[i])), index=i) for i in range(60))
    )
    deployment.work()
    refused = deployment.versions(user)[-1]
    assert refused.state == AdapterState.REJECTED
    assert refused.gate_report["reason"].startswith("Refused. Order: the odds that ")
    assert refused.gate_report["feedback"]["num_answers"] == 60
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)
    assert deployment.runs(user)[-1].outcome == RunOutcome.KEPT


def test_rollback_is_bit_for_bit_and_no_later_training_undoes_it(
    deployment: Deployment, policy: dict[str, object]
) -> None:
    user = deployment.add_user(**policy)
    deployment.rate(user, range(40))
    deployment.work()
    first = deployment.scores(user)
    deployment.rate(user, range(40, 80), flip=True)
    deployment.work()
    if deployment.active(user).number == 1:  # if the gate refused it, an admin promotes it
        with deployment.database.session() as session:
            versions.promote(session, user, 2, actor="admin", reason="try")
    assert not np.array_equal(deployment.scores(user), first)

    change = rollback(deployment, user, to=1)
    assert (change.from_number, change.to_number, change.num_excluded) == (2, 1, 40)
    assert np.array_equal(deployment.scores(user), first)
    assert deployment.work() == 0, "excluded events make no user due"
    deployment.retrain(user)
    assert np.abs(deployment.scores(user) - first).max() < 2.0, "a training by hand uses the first 40 ratings only"
    assert deployment.versions(user)[-1].num_ratings <= 40

    deployment.rate(user, range(80, 100))
    deployment.work()
    assert deployment.versions(user)[-1].num_ratings <= 60, "20 new ratings and the first 40, none that was rolled back"

    moves = {(h.move, h.actor, h.reason) for h in _history(deployment, user)}
    assert ("rolled_back", "admin", "complaint") in moves


def _history(deployment: Deployment, user: object):
    with deployment.database.read_session() as session:
        return versions.history(session, user)


def test_rollback_to_the_base_gives_the_generic_scores(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    assert rollback(deployment, user).to_number is None
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)
    with pytest.raises(Conflict, match="nothing to roll back"):
        rollback(deployment, user)


def test_rollback_with_kept_feedback_trains_on_it_again(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    deployment.rate(user, range(40, 80))
    deployment.work()
    rollback(deployment, user, to=1, feedback="keep")
    assert deployment.work() == 0
    deployment.rate(user, range(80, 100))
    deployment.work()
    assert deployment.versions(user)[-1].num_ratings > 64


def test_rollback_to_a_version_that_was_never_active_is_refused(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    with pytest.raises(NotFound, match="version 9"):
        rollback(deployment, user, to=9)
    with pytest.raises(Conflict, match="is the active one"):
        rollback(deployment, user, to=1)


def test_released_events_train_again(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    deployment.rate(user, range(40, 80))
    deployment.work()
    second = deployment.versions(user)[-1]
    rollback(deployment, user, to=1)
    with deployment.database.session() as session:
        assert exclusions.release(session, user, sequences=None, actor="admin", reason="was fine") == 40
    assert deployment.work() == 1
    assert deployment.versions(user)[-1].digest == second.digest, "bayes: the same ratings, the same version"
    with pytest.raises(NotFound, match="not excluded"), deployment.database.session() as session:
        exclusions.release(session, user, sequences=[3], actor="admin", reason="r")


def test_promotion_by_hand_releases_the_feedback_of_the_version(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    deployment.rate(user, range(40, 80))
    deployment.work()
    rollback(deployment, user, to=1)
    with deployment.database.session() as session:
        change = versions.promote(session, user, 2, actor="admin", reason="was fine")
    assert (change.to_number, change.num_released) == (2, 40)
    deployment.rate(user, range(80, 100))
    deployment.work()
    assert deployment.versions(user)[-1].num_ratings > 64


def test_pinned_user_is_trained_but_keeps_the_version(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    with deployment.database.session() as session:
        versions.pin(session, user, 1, actor="admin", reason="exhibition")
    deployment.rate(user, range(40, 80))
    deployment.work()
    assert deployment.active(user).number == 1
    assert deployment.versions(user)[-1].state == AdapterState.CANDIDATE
    with deployment.database.session() as session:
        versions.unpin(session, user, actor="admin", reason="over")
        with pytest.raises(Conflict):
            versions.unpin(session, user, actor="admin", reason="again")
    deployment.rate(user, range(80, 120))
    deployment.work()
    assert deployment.active(user).number == 3


def release(deployment: Deployment, user: object) -> int:
    with deployment.database.session() as session:
        return exclusions.release(session, user, sequences=None, actor="admin", reason="was fine")


def promote(deployment: Deployment, user: object, number: int) -> versions.PointerChange:
    with deployment.database.session() as session:
        return versions.promote(session, user, number, actor="admin", reason="was fine")


def trained_on(deployment: Deployment, user: object, number: int) -> set[int]:
    from paaplus.services.feedback import counted_events, feedback_log

    with deployment.database.read_session() as session:
        version = versions.get_version(session, user, number)
        return feedback_log.read(session, deployment.user(user), None).trained(counted_events.trained_up_to(version))


def three_versions_with_a_gap(deployment: Deployment) -> object:
    """Version 1 on events 1-40; 2 on 41-80 too, rolled back; 3 on 81-120 without them."""
    user = deployment.add_user()
    for images in (range(40), range(40, 80)):
        deployment.rate(user, images)
        deployment.work()
    rollback(deployment, user, to=1)
    deployment.rate(user, range(80, 120))
    deployment.work()
    assert deployment.active(user).number == 3
    assert trained_on(deployment, user, 3) == set(range(1, 41)) | set(range(81, 121))
    return user


def test_promotion_releases_only_the_feedback_of_the_version(deployment: Deployment) -> None:
    user = three_versions_with_a_gap(deployment)
    rollback(deployment, user, to=1)
    assert promote(deployment, user, 3).num_released == 40, "81-120, not what was rolled back before"
    deployment.rate(user, range(120, 150))
    deployment.work()
    assert not trained_on(deployment, user, 4) & set(range(41, 81))


def test_rollback_excludes_feedback_that_the_target_was_not_trained_on_whatever_its_number(
    deployment: Deployment,
) -> None:
    user = three_versions_with_a_gap(deployment)
    assert release(deployment, user) == 40
    deployment.work()
    assert trained_on(deployment, user, 4) >= set(range(41, 81))
    assert rollback(deployment, user, to=3).num_excluded == 40
    deployment.rate(user, range(120, 150))
    deployment.work()
    assert not trained_on(deployment, user, 5) & set(range(41, 81))


def test_rollback_to_a_version_releases_its_excluded_feedback(deployment: Deployment) -> None:
    user = three_versions_with_a_gap(deployment)
    change = rollback(deployment, user, to=2)
    assert (change.num_released, change.num_excluded) == (40, 40)
    second = deployment.scores(user)
    assert deployment.work() == 0
    assert np.array_equal(deployment.scores(user), second)
    deployment.rate(user, range(120, 150))
    deployment.work()
    assert deployment.versions(user)[-1].parent_id == deployment.versions(user)[1].id


def test_rollback_to_a_tainted_version_is_refused(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=1)
    for images in (range(40), range(40, 80)):
        deployment.rate(user, images)
        deployment.work()
    deployment.retract(user, "r3")
    assert deployment.queued_reason(user) == "taken_back", "a retraction does not wait for more feedback"
    deployment.work()
    with pytest.raises(Conflict, match="retracted"):
        rollback(deployment, user, to=1)


def test_retracting_everything_ends_at_the_generic_scores(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    for i in range(40):
        deployment.retract(user, f"r{i}")
    deployment.work()
    assert np.array_equal(deployment.scores(user), deployment.generic_IA)


def test_tainted_version_is_retired_even_if_its_successor_is_refused(
    deployment: Deployment,
) -> None:
    user = deployment.add_user(gate={"min_probability": 1.0})
    deployment.rate(user, range(40))
    deployment.work()
    promote(deployment, user, 1)
    trained = sorted(trained_on(deployment, user, 1))
    deployment.retract(user, f"r{trained[0] - 1}")
    deployment.work()
    assert deployment.versions(user)[-1].state == AdapterState.REJECTED
    assert deployment.active(user) is None
    assert np.array_equal(deployment.scores(user), deployment.generic_IA), "a tainted version is not served"


def test_paused_user_is_not_trained_by_a_job_that_was_queued_before(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    scheduling.scan(deployment.database, deployment.settings)
    with deployment.database.session() as session:
        users.set_policy(session, user, {"paused": True}, actor="admin")
    deployment.work()
    assert deployment.versions(user) == []
    with deployment.database.session() as session:
        users.set_policy(session, user, {}, actor="admin")
    deployment.work()
    assert len(deployment.versions(user)) == 1


def test_rollback_with_kept_feedback_keeps_later_feedback_too(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=10)
    for images in (range(40), range(40, 80)):
        deployment.rate(user, images)
        deployment.work()
    deployment.rate(user, range(80, 89))  # nine are not trained on yet
    rollback(deployment, user, to=1, feedback="keep")
    deployment.rate(user, range(89, 90))
    assert deployment.queued_reason(user) == "new_feedback"


def test_retrain_by_hand_starts_a_delayed_job_now(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    with deployment.database.session() as session:
        jobs.enqueue(session, jobs.JobKind.ADAPT, scheduling.lock_key(user), queue="cpu", reason="interval",
                     user_id=user, max_attempts=3, delay_s=3600)  # fmt: skip
    deployment.retrain(user)
    assert len(deployment.versions(user)) == 1
    assert ("retrain_requested", "test", "by hand") in {(h.move, h.actor, h.reason) for h in _history(deployment, user)}


def test_new_base_model_makes_users_of_the_old_one_due(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    with deployment.database.session() as session:
        newer = base_models.register(session, deployment.blobs, tiny_base(seed=1), {"extractor": "none"}, {})
        assert scheduling.refresh_after_base_model(session, newer.id) == 1
    assert deployment.user(user).due_reason == "new_base_model"
    deployment.work()
    assert deployment.versions(user)[-1].base_model_id == newer.id
    assert deployment.versions(user)[-1].parent_id is None


@pytest.mark.parametrize("paused", ["before", "when due", "when queued"])
def test_new_base_model_reaches_a_paused_user_when_the_pause_ends(deployment: Deployment, paused: str) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()

    def set_policy(**policy: object) -> None:
        with deployment.database.session() as session:
            users.set_policy(session, user, policy, actor="admin")

    if paused == "before":
        set_policy(paused=True)
    with deployment.database.session() as session:
        newer = base_models.register(session, deployment.blobs, tiny_base(seed=1), {"extractor": "none"}, {})
        scheduling.refresh_after_base_model(session, newer.id)
    if paused == "when queued":
        scheduling.scan(deployment.database, deployment.settings)
    set_policy(paused=True)
    for _ in range(2):
        deployment.work()
    assert [version.base_model_id for version in deployment.versions(user)] == [deployment.base_row.id]
    set_policy()
    deployment.work()
    assert deployment.versions(user)[-1].base_model_id == newer.id
    assert deployment.work() == 0


def test_reading_a_snapshot_takes_as_long_with_many_versions_as_with_few(deployment: Deployment) -> None:
    user, statements = deployment.add_user(min_new_feedback=1), list[str]()

    def read() -> int:
        statements.clear()
        snapshot = read_snapshot(deployment.database, deployment.blobs, user, deployment.settings)
        assert snapshot.reference is not None
        return len(statements)

    deployment.rate(user, range(40, 80))
    for image in range(20, 23):
        deployment.rate(user, range(image, image + 1))
        deployment.work()
    sa.event.listen(deployment.database.engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    few = read()
    for image in range(23, 30):
        deployment.rate(user, range(image, image + 1))
        deployment.work()
    assert len(deployment.versions(user)) > 5
    assert read() == few


def test_broken_features_of_one_image_do_not_stop_a_training(deployment: Deployment) -> None:
    with deployment.database.session() as session:
        row = session.get(FeaturesRow, (deployment.base.extractor_digest, deployment.images[150]))
        row.data = np.full(FEATURE_DIM, np.nan, np.float16).tobytes()
        row.sha256 = features_digest(row.extractor_digest, row.image_id, row.data)
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.post(deployment.rating(user, "broken", 150, 5.0))
    deployment.work()
    assert deployment.active(user).number == 1


def test_damaged_features_train_nobody_and_are_extracted_again(deployment: Deployment) -> None:
    user = deployment.add_user()
    key = (deployment.base.extractor_digest, deployment.images[7])
    with deployment.database.session() as session:
        row = session.get_one(FeaturesRow, key)
        good, digest = row.data, row.sha256
        row.data = bytes([good[0] ^ 0x80]) + good[1:]
    deployment.rate(user, range(40))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="w", queues=["cpu"], lease_s=30)
    with pytest.raises(NotReady, match="1 rated image"):
        adapt.run(Running(deployment.context, lease))
    with deployment.database.session() as session:
        assert session.get(FeaturesRow, key) is None
        kinds = session.execute(sa.select(JobRow.kind).where(JobRow.state == JobState.QUEUED)).scalars().all()
        assert kinds == [jobs.JobKind.EXTRACT_FEATURES]
        make_features(session, image_id=key[1], extractor_digest=key[0], data=good)  # what a worker does
        assert session.get_one(FeaturesRow, key).sha256 == digest
    adapt.run(Running(deployment.context, lease))
    assert deployment.active(user).number == 1


@pytest.mark.parametrize("strategy", ["bayes", "replay"])
def test_retraction_restarts_the_lineage_before_it(deployment: Deployment, strategy: str) -> None:
    user = deployment.add_user(strategy=strategy, min_new_feedback=1)
    deployment.rate(user, range(30))
    deployment.work()
    deployment.rate(user, range(30, 60))
    deployment.work()
    trained = [f"r{i}" for i in range(30, 60)]
    deployment.retract(user, trained[0])
    deployment.retract(user, trained[1])
    deployment.work()
    last = deployment.versions(user)[-1]
    assert last.parent_id == deployment.versions(user)[0].id, "version 2 is tainted"
    assert last.high_water_sequence == 62


def test_without_new_feedback_there_is_no_version(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    with deployment.database.session() as session:  # a message that is late or delivered twice
        jobs.enqueue(
            session,
            jobs.JobKind.ADAPT,
            scheduling.lock_key(user),
            queue="cpu",
            reason="new_feedback",
            user_id=user,
            max_attempts=3,
        )
    assert deployment.work() == 1
    assert len(deployment.versions(user)) == 1
    assert deployment.runs(user)[-1].outcome == RunOutcome.NOTHING_NEW


def test_job_waits_for_features_without_counting_the_attempt(deployment: Deployment) -> None:
    user = deployment.add_user(min_new_feedback=1)
    image = deployment.add_image_without_features()
    deployment.images.append(image)
    deployment.post(deployment.rating(user, "early", len(deployment.images) - 1, 5.0))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="w", queues=["cpu"], lease_s=30)
    with pytest.raises(NotReady, match="1 rated image"):
        adapt.run(Running(deployment.context, lease))


def test_commit_after_a_rollback_during_training_is_refused(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    deployment.rate(user, range(40, 80))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="w", queues=["cpu"], lease_s=30)
    original, moved = commit.commit_many, []

    def commit_after_rollback(*args: object) -> object:
        if not moved:
            moved.append(rollback(deployment, user, to=0))
        return original(*args)

    commit.commit_many = commit_after_rollback
    try:
        with pytest.raises(LeaseLost, match="changed while being trained"):
            adapt.run(Running(deployment.context, lease))
    finally:
        commit.commit_many = original
    assert deployment.active(user) is None
    assert len(deployment.versions(user)) == 1


def test_job_delivered_three_times_makes_one_version(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    scheduling.scan(deployment.database, deployment.settings)
    lease = jobs.claim(deployment.database, worker="w", queues=["cpu"], lease_s=30)
    adapt.run(Running(deployment.context, lease))
    for _ in range(2):
        with pytest.raises(LeaseLost):
            adapt.run(Running(deployment.context, lease))
    assert len(deployment.versions(user)) == 1
    with deployment.database.read_session() as session:
        assert jobs.get(session, lease.job_id).state == JobState.SUCCEEDED


def test_a_reason_is_needed(deployment: Deployment) -> None:
    user = deployment.add_user()
    deployment.rate(user, range(40))
    deployment.work()
    with pytest.raises(InvalidInput, match="reason"), deployment.database.session() as session:
        versions.pin(session, user, 1, actor="admin", reason="  ")
