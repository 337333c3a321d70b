"""Taste priors: registered, in force, used by trainings, retired, and stale once a user is erased."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, TastePriorRow
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.users import DueReason
from paaplus.errors import InvalidInput, NotFound, Unavailable
from paaplus.pipelines.train_prior import prior_from_users
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.priors import TastePrior
from paaplus.services import scheduling
from paaplus.services.operations import erasures
from paaplus.services.registry import taste_priors
from paaplus.services.users import users
from paaplus.settings import Settings
from tests.support.deployment import APPLICATION, Deployment
from tests.support.tiny import tiny_base


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    taste_priors._loaded.clear()
    return Deployment(database, settings)


def some_prior(seed: int = 0, base_digest: str = "") -> TastePrior:
    rng = np.random.default_rng(seed)
    return TastePrior(
        base_digest or tiny_base().digest,
        rng.normal(0, 0.1, (8, 1)).astype(np.float32),
        rng.normal(0, 1, (8, 4, 1)).astype(np.float32),
        np.array([0.6], np.float32),
    )


def register(deployment: Deployment, prior: TastePrior, **options: object) -> TastePriorRow:
    with deployment.database.session() as session:
        row = taste_priors.register(
            session,
            deployment.blobs,
            prior,
            deployment.base_row,
            source="test",
            metrics={"num_people": 50},
            actor="admin",
            **options,
        )
        scheduling.refresh_after_prior(session, deployment.base_row.id, row.id)
        return row


def test_versions_are_numbered_and_the_newest_that_is_not_retired_is_in_force(deployment: Deployment) -> None:
    first, second = register(deployment, some_prior(1)), register(deployment, some_prior(2))
    again = register(deployment, some_prior(1))
    assert (first.version, second.version, again.id) == (1, 2, first.id)
    with deployment.database.session() as session:
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION).id == second.id
        taste_priors.retire(session, deployment.base_row.id, 2, actor="admin")
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION).id == first.id
        taste_priors.retire(session, deployment.base_row.id, 1, actor="admin")
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION) is None
        with pytest.raises(NotFound, match="version 3"):
            taste_priors.retire(session, deployment.base_row.id, 3, actor="admin")


def test_a_prior_of_another_base_model_is_refused(deployment: Deployment) -> None:
    with pytest.raises(InvalidInput, match="taste prior of base"):
        register(deployment, some_prior(base_digest="0" * 64))


def test_a_damaged_artifact_is_told_and_not_used(deployment: Deployment) -> None:
    row = register(deployment, some_prior())
    deployment.blobs.delete(row.artifact_sha256)
    with pytest.raises(Unavailable, match="not in storage"):
        taste_priors.load(deployment.blobs, row)


def test_a_version_names_the_prior_that_it_started_from(deployment: Deployment) -> None:
    row = register(deployment, some_prior())
    user = deployment.add_user()
    deployment.rate(user, range(20))
    deployment.work()
    (version,) = deployment.versions(user)
    assert version.taste_prior_id == row.id
    with deployment.database.read_session() as session:
        data = session.get(AdapterRow, version.id).data
    assert adapter_from_bytes(data).uncertainty.prior_digest == row.digest


def test_a_new_prior_makes_those_due_whose_version_started_from_another(deployment: Deployment) -> None:
    bayes, other, nobody = (
        deployment.add_user("bayes"),
        deployment.add_user("other", strategy="replay"),
        deployment.add_user("nobody"),
    )
    for user in (bayes, other):
        deployment.rate(user, range(30))
    deployment.work()
    row = register(deployment, some_prior())
    assert deployment.user(bayes).due_reason == DueReason.NEW_PRIOR
    assert deployment.user(other).due_reason != DueReason.NEW_PRIOR
    assert deployment.user(nobody).next_due_at is None
    assert deployment.work() == 1
    assert deployment.versions(bayes)[-1].taste_prior_id == row.id
    assert deployment.runs(bayes)[-1].outcome != RunOutcome.NOTHING_NEW
    assert deployment.work() == 0  # once is enough


def test_erasing_a_person_marks_the_priors_that_saw_them(deployment: Deployment) -> None:
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    of_anna = register(deployment, some_prior(1), user_ids=[anna])
    of_ben = register(deployment, some_prior(2), user_ids=[ben])
    with deployment.database.session() as session:
        erasures.erase(
            session,
            deployment.blobs,
            anna,
            actor="admin",
            erasures_url=deployment.settings.resolved_erasures_url,
        )
    with deployment.database.read_session() as session:
        stale = {row.id: row.stale_at is not None for row in taste_priors.list_priors(session)}
    assert stale == {of_anna.id: True, of_ben.id: False}


def sharing(deployment: Deployment, count: int, *, invented: bool = False, start: int = 0) -> list[UUID]:
    """Users who share their taste: simulated people, or ratings that somebody made up."""
    consenting, rng = [], np.random.default_rng(start)
    for i in range(start, start + count):
        user = deployment.add_user(f"user{i}")
        if invented:
            ratings = [deployment.rating(user, f"r{k}", k, float(rng.uniform(0, 10)), k) for k in range(40)]
            deployment.post(*ratings)
        else:
            deployment.rate(user, range(40), seed=i)
        with deployment.database.session() as session:
            users.set_sharing(session, user, True, actor="admin")
        consenting.append(user)
    return consenting


def learn(deployment: Deployment, current: TastePrior | None = None) -> tuple:
    key = deployment.settings.holdout_key.get_secret_value()
    return prior_from_users(deployment.base, deployment.database, key, application=APPLICATION, current=current)


@pytest.mark.slow
def test_a_prior_learns_from_those_who_share_and_from_nothing_held_out(deployment: Deployment) -> None:
    alone = deployment.add_user("alone")
    deployment.rate(alone, range(40), seed=99)
    consenting = sharing(deployment, 62)
    prior, metrics, user_ids, _ = learn(deployment)
    assert set(user_ids) <= set(consenting)
    assert 50 <= metrics["num_people"] == len(user_ids)
    assert 0.6 * 40 < metrics["num_ratings"] / len(user_ids) < 0.95 * 40  # one image in five is held out
    assert metrics["trial"]["num_judged"] == len(user_ids)
    assert prior.fits(deployment.base)
    with deployment.database.session() as session:
        for user in consenting[:20]:
            users.set_sharing(session, user, False, actor="admin")
    with pytest.raises(InvalidInput, match="people rated"):
        learn(deployment)


@pytest.mark.slow
def test_sixty_invented_sharers_teach_nobody(deployment: Deployment) -> None:
    """Ratings without an order are no taste: they do not become a prior, alone or among others."""
    sharing(deployment, 60, invented=True)
    with pytest.raises(InvalidInput, match="people rated"):
        learn(deployment)
    with deployment.database.read_session() as session:
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION) is None


@pytest.mark.slow
def test_a_prior_that_is_no_better_than_the_one_in_force_is_refused(deployment: Deployment) -> None:
    sharing(deployment, 62)
    prior, *_ = learn(deployment)
    _, metrics, _, refused = learn(deployment, current=prior)
    assert refused is not None
    assert metrics["trial"]["refused"] == refused


def test_a_prior_of_one_application_does_not_move_another(deployment: Deployment) -> None:
    general = register(deployment, some_prior(1))
    own = register(deployment, some_prior(2), application="another")
    with deployment.database.session() as session:
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION).id == general.id
        assert taste_priors.in_force(session, deployment.base_row.id, "another").id == own.id
        assert taste_priors.in_force(session, deployment.base_row.id, None).id == general.id
    user = deployment.add_user()
    deployment.rate(user, range(20))
    deployment.work()
    assert deployment.versions(user)[-1].taste_prior_id == general.id


def test_a_refused_prior_is_kept_and_not_in_force(deployment: Deployment) -> None:
    row = register(deployment, some_prior(3), refused="no clear gain")
    with deployment.database.read_session() as session:
        assert taste_priors.in_force(session, deployment.base_row.id, APPLICATION) is None
        assert [each.id for each in taste_priors.list_priors(session)] == [row.id]
