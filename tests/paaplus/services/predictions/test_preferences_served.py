"""Generic scores with the user's own preference: served, trained with, named in receipts, and rolled back with."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, FeaturesRow
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.services.adaptation import drift
from paaplus.services.adapters import rollbacks
from paaplus.services.images.features import features_digest
from paaplus.services.predictions.answers import Prediction, Target
from paaplus.services.predictions.predict import Predictor
from paaplus.services.predictions.serving import UsedPreference
from paaplus.services.surveys import preferences
from paaplus.settings import Settings
from tests.support.deployment import Deployment
from tests.support.receipts import keep
from tests.support.tiny import frame_base, tiny_heads

WISH, OTHER = [0.1, 0.9, 0.4, 0.7, 0.2], [0.9, 0.1, 0.3, 0.2, 0.8]
IMAGES = range(60, 80)  # never rated


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings, num_images=80, base=frame_base(("posture",)))


def give(deployment: Deployment, user: UUID, preference: list[float]) -> None:
    with deployment.database.session() as session:
        preferences.give(session, deployment.blobs, user, preference, actor="admin", settings=deployment.settings)


def predict(deployment: Deployment, *users: UUID, images: range = IMAGES) -> list[Prediction]:
    predictor = Predictor(deployment.database, deployment.blobs, deployment.settings)
    targets = [Target(user, deployment.images[image]) for user in users for image in images]
    return predictor.answer(targets).items


def scores(items: list[Prediction]) -> list[bytes]:
    return [np.float32(item.scores["posture"]).tobytes() for item in items]


def oracle(deployment: Deployment, preference: list[float] | None, version: AdapterRow | None) -> list[bytes]:
    """The exact scores that must be served, computed item by item."""
    adapter = None
    if version is not None:
        with deployment.database.read_session() as session:
            adapter = adapter_from_bytes(session.get(AdapterRow, version.id).data)
    expected = []
    for image in IMAGES:
        taste_1R = deployment.base.project(deployment.features_ID[image : image + 1], preference)
        score_1A = generic_1A = deployment.base.generic(taste_1R)
        if adapter is not None:
            score_1A = adapter.score(taste_1R, generic_1A)
        expected.append(score_1A[0, 0].tobytes())
    return expected


def test_user_without_a_version_is_scored_with_their_own_preference(deployment: Deployment) -> None:
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    neutral = oracle(deployment, None, None)
    assert scores(predict(deployment, anna)) == neutral
    give(deployment, anna, WISH)
    own = oracle(deployment, WISH, None)
    assert scores(predict(deployment, anna, ben)) == own + neutral
    assert own != neutral
    item = predict(deployment, anna)[0]
    assert (item.source, item.generic) == ("base", item.scores)
    assert item.preference == UsedPreference(tuple(WISH), 1)


def test_scores_have_the_same_bits_alone_and_in_any_batch(deployment: Deployment) -> None:
    people = [deployment.add_user(name) for name in ("anna", "ben", "cleo")]
    for user, preference in zip(people, (WISH, OTHER), strict=False):
        give(deployment, user, preference)
    alone = [scores(predict(deployment, user, images=range(i, i + 1))) for user in people for i in IMAGES]
    predictor = Predictor(deployment.database, deployment.blobs, deployment.settings)
    targets = [Target(user, deployment.images[image]) for user in people for image in IMAGES]
    for order in (range(60), [*range(59, -1, -1)], np.random.default_rng(0).permutation(60).tolist()):
        items = predictor.answer([targets[i] for i in order]).items  # the same process: from the cache, the second time
        assert scores(items) == [alone[i][0] for i in order]


def test_version_keeps_the_preference_that_it_was_trained_with(deployment: Deployment) -> None:
    anna = deployment.add_user()
    give(deployment, anna, WISH)
    deployment.rate(anna, range(40))
    deployment.work()
    first = deployment.active(anna)
    assert (first.preference, first.metrics["preference_version"]) == (WISH, 1)
    expected = oracle(deployment, WISH, first)
    assert scores(predict(deployment, anna)) == expected
    give(deployment, anna, OTHER)
    items = predict(deployment, anna)
    assert scores(items) == expected  # the version's scores are the same
    assert items[0].preference == UsedPreference(tuple(WISH), 1)
    deployment.work()
    second = deployment.active(anna)
    assert (second.number, second.preference) == (2, OTHER)
    assert second.parent_id is None  # its generic scores are others: trained again, on all feedback
    assert second.num_ratings == first.num_ratings
    items = predict(deployment, anna)
    assert scores(items) == oracle(deployment, OTHER, second) != expected
    assert items[0].preference == UsedPreference(tuple(OTHER), 2)
    with deployment.database.session() as session:
        rollbacks.rollback(session, anna, to=1, actor="admin", reason="complaint")
    assert scores(predict(deployment, anna)) == expected
    with deployment.database.session() as session:
        rollbacks.rollback(session, anna, to=0, actor="admin", reason="complaint")
    assert scores(predict(deployment, anna)) == oracle(deployment, OTHER, None)


def test_training_uses_the_preference_for_what_it_learns_from(deployment: Deployment) -> None:
    """The same ratings mean another taste when the generic score under them is another."""
    anna, ben = deployment.add_user("anna"), deployment.add_user("ben")
    give(deployment, anna, WISH)
    for user in (anna, ben):
        deployment.rate(user, range(40))
    deployment.work()
    truth = np.array([deployment.opinion(image) for image in IMAGES])
    error = {
        user: np.abs(np.array([item.scores["posture"] for item in predict(deployment, user)]) - truth).mean()
        for user in (anna, ben)
    }
    generic = np.array([item.generic["posture"] for item in predict(deployment, anna)])
    assert error[anna] < np.abs(generic - truth).mean()  # trained with the generic scores that it is served with


def test_preference_taken_back_is_trained_without(deployment: Deployment) -> None:
    anna = deployment.add_user()
    give(deployment, anna, WISH)
    deployment.rate(anna, range(40))
    deployment.work()
    with deployment.database.session() as session:
        preferences.forget(session, deployment.blobs, anna, actor="admin", settings=deployment.settings)
    deployment.work()
    last = deployment.active(anna)
    assert (last.number, last.preference) == (2, None)
    assert "preference_version" not in last.metrics
    assert scores(predict(deployment, anna)) == oracle(deployment, None, last)


def test_receipts_name_preference_and_branches(deployment: Deployment) -> None:
    anna = deployment.add_user()
    heads = tiny_heads()
    without_mesh_D = deployment.features_ID[60].copy()
    without_mesh_D[8:] = heads.absent_E[4:]
    with deployment.database.session() as session:
        key = deployment.base.extractor_digest, deployment.images[60]
        row = session.get(FeaturesRow, key)
        row.data = without_mesh_D.tobytes()
        row.sha256 = features_digest(*key, row.data)
    give(deployment, anna, WISH)
    items = predict(deployment, anna, images=range(60, 62))
    assert [item.branches for item in items] == [("image", "posture"), ("image", "posture", "mesh")]
    row, _ = keep(deployment.database, items)
    assert row.details == {
        "preference": {"values": WISH, "version": 1},
        "branches": ["image", "posture"],
    }


def test_nothing_is_told_where_there_is_nothing(database: Database, settings: Settings) -> None:
    plain = Deployment(database, settings, num_images=2)
    anna = plain.add_user()
    with database.session() as session:
        preferences.give(session, plain.blobs, anna, WISH, actor="admin", settings=settings)
    (item,) = predict(plain, anna, images=range(1))
    assert (item.preference, item.branches) == (None, None)
    [row] = keep(database, [item])
    assert row.details is None


def test_drift_is_measured_against_what_the_user_is_served(deployment: Deployment) -> None:
    anna = deployment.add_user()
    give(deployment, anna, WISH)
    items = predict(deployment, anna, images=range(10))
    errors: list[float] = []
    store = deployment.context.serving
    serving = store.load([anna], deployment.images[:10])
    for sequence, item in enumerate(items, 1):
        errors += [error for _, error in drift._errors(serving, anna, [(sequence, item.image_id, item.scores)])]
    assert len(errors) == 10
    assert max(errors) < 1e-6
