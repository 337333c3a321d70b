"""Experts: registration, listing with their models, retirement, and models of form head."""

from __future__ import annotations

import numpy as np
import pytest

from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow
from paaplus.db.tables.experts import ExpertForm
from paaplus.db.tables.users import DueReason
from paaplus.errors import InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.scoring.priors import HeadPrior
from paaplus.services.experts import experts, quality
from paaplus.services.feedback import intake
from paaplus.services.operations import erasures
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.paaplus.services.experts.test_matching import Clinic
from tests.support.deployment import Deployment
from tests.support.factories import APPLICATION


@pytest.fixture
def deployment(database: Database, settings: Settings) -> Deployment:
    return Deployment(database, settings)


def register(deployment: Deployment, user_id: object, **columns: object) -> bool:
    options = {"name": "Dr. Ada", "domain": "posture", "form": ExpertForm.POOLED, **columns}
    with deployment.database.session() as session:
        return experts.register(session, user_id, actor="admin", **options)[1]  # type: ignore[arg-type]


def described(deployment: Deployment) -> list[experts.ExpertView]:
    with deployment.database.read_session() as session:
        return experts.describe(session, experts.list_experts(session, OPERATOR), deployment.base_row)


def test_registering_again_changes_the_name_and_nothing_else(deployment: Deployment) -> None:
    user = deployment.add_user()
    assert register(deployment, user)
    assert not register(deployment, user)
    assert not register(deployment, user, name="Prof. Ada")
    [one] = described(deployment)
    assert (one.row.name, one.row.domain, one.row.form) == ("Prof. Ada", "posture", ExpertForm.POOLED)
    assert deployment.user(user).next_due_at is None


@pytest.mark.parametrize("change", [{"name": ""}, {"name": " "}, {"name": "a\nb"}, {"name": "a" * 129}, {"domain": ""}])
def test_an_invalid_name_is_refused(deployment: Deployment, change: dict[str, str]) -> None:
    user = deployment.add_user()
    with pytest.raises(InvalidInput, match=r"an expert's (name|domain) (is empty|has U.000A|has 129 characters)"):
        register(deployment, user, **change)
    assert described(deployment) == []


def test_an_unknown_user_is_no_expert(deployment: Deployment) -> None:
    with pytest.raises(NotFound):
        register(deployment, new_id())
    with deployment.database.session() as session:
        for act in (
            lambda: experts.get(session, new_id()),
            lambda: experts.set_retired(session, new_id(), True, actor="a"),
        ):
            with pytest.raises(NotFound, match="no expert"):
                act()


def test_each_expert_has_a_reason_why_no_user_is_matched(deployment: Deployment) -> None:
    names = ("novice", "other-kind", "ready", "retired")
    people = {name: deployment.add_user(name) for name in names if name != "other-kind"}
    people["other-kind"] = deployment.add_user("other-kind", adapter="bottleneck", strategy="replay")
    for name, user in people.items():
        register(deployment, user, name=name)
        if name != "novice":
            deployment.rate(user, range(20))
    deployment.work()
    with deployment.database.session() as session:
        experts.set_retired(session, people["retired"], True, actor="admin")
        experts.set_retired(session, people["retired"], True, actor="admin")
    reasons = {each.row.name: each.not_matched_because or "" for each in described(deployment)}
    assert "no model yet" in reasons["novice"]
    assert "bottleneck" in reasons["other-kind"]
    assert (reasons["ready"], reasons["retired"]) == ("", "retired")
    with deployment.database.session() as session:
        found = experts.models(session, APPLICATION, deployment.base_row)
        assert [model.user_id for model in found] == [people["ready"]]
        assert experts.models(session, "other-app", deployment.base_row) == []
        assert experts.models(session, APPLICATION, deployment.base_row, without=people["ready"]) == []
        [as_matching_sees] = experts.models_of(session, APPLICATION, deployment.base_row)
        assert as_matching_sees.id == str(people["ready"])
        experts.set_retired(session, people["retired"], False, actor="admin")
        assert len(experts.models(session, APPLICATION, deployment.base_row)) == 2


def test_revised_labels_are_those_that_a_review_wrote(deployment: Deployment) -> None:
    user = deployment.add_user()
    register(deployment, user)
    deployment.rate(user, range(3))
    with deployment.database.session() as session:
        events = [deployment.rating(user, f"review-{i}", i, 5.0, i - 10) for i in range(10, 14)]
        intake.append(session, APPLICATION, events, source="review", settings=deployment.settings)
    [one] = described(deployment)
    assert one.num_revised_labels == 4


def test_held_out_labels_measure_the_model(deployment: Deployment) -> None:
    user = deployment.add_user()
    register(deployment, user)
    deployment.rate(user, range(100), seed=1)
    deployment.work()
    store = ServingStore(deployment.database, deployment.blobs, deployment.settings)
    found = quality.held_out(deployment.database, store, deployment.settings, user)
    assert 5 < found.num_images < 40
    assert found.srcc["beauty"] > 0.9
    assert found.generic_srcc["beauty"] < found.srcc["beauty"]
    novice = deployment.add_user("novice")
    empty = quality.held_out(deployment.database, store, deployment.settings, novice)
    assert (empty.num_images, empty.srcc, empty.generic_srcc) == (0, {"beauty": None}, {"beauty": None})


def test_agreement_is_on_shared_images(deployment: Deployment) -> None:
    people = [deployment.add_user(f"e{i}") for i in range(3)]
    for user in people:
        register(deployment, user)
    deployment.post(*[deployment.rating(people[0], f"a{i}", i, float(i), i) for i in range(6)])
    deployment.post(*[deployment.rating(people[1], f"b{i}", i, float(i) + 2, i) for i in range(2, 8)])
    deployment.post(deployment.rating(people[2], "c", 5, 9.0))
    with deployment.database.read_session() as session:
        found = {(each.first, each.second): each for each in quality.agreement(session, APPLICATION)}
    pair = found[people[0], people[1]]
    assert (pair.num_images, pair.srcc, pair.mean_difference) == (4, 1.0, 2.0)
    assert (found[people[0], people[2]].num_images, found[people[0], people[2]].srcc) == (1, None)


def test_a_head_of_its_own_ignores_the_generic_score(deployment: Deployment) -> None:
    pooled, head = deployment.add_user("pooled"), deployment.add_user("head")
    register(deployment, head, form=ExpertForm.HEAD)
    for user in (pooled, head):
        deployment.rate(user, range(60), seed=1)
    deployment.work()
    found = {name: deployment.versions(user)[-1] for name, user in (("pooled", pooled), ("head", head))}
    with deployment.database.read_session() as session:
        adapters = {name: adapter_from_bytes(session.get_one(AdapterRow, row.id).data) for name, row in found.items()}
    assert adapters["head"].alpha_A == pytest.approx(0.0, abs=1e-6)
    assert adapters["pooled"].alpha_A > 0.5
    assert adapters["head"].uncertainty.prior_digest == HeadPrior(deployment.base).digest
    truth_I = np.array([deployment.opinion(i, seed=1) for i in range(160)])
    for user in (pooled, head):
        assert np.abs(deployment.scores(user)[:, 0] - truth_I).mean() < 0.35


def test_a_changed_form_is_trained_again(deployment: Deployment) -> None:
    user = deployment.add_user()
    register(deployment, user)
    deployment.rate(user, range(30), seed=1)
    deployment.work()
    register(deployment, user, form=ExpertForm.HEAD)
    assert deployment.user(user).due_reason == DueReason.NEW_MATCH
    assert deployment.work() == 1
    assert len(deployment.versions(user)) == 2
    assert deployment.work() == 0


def test_an_expert_of_form_head_can_be_matched_with(database: Database, settings: Settings) -> None:
    clinic = Clinic(database, settings, num_experts=0)
    clinic.add_expert("head", seed=1, form=ExpertForm.HEAD)
    clinic.work()
    user = clinic.add_user()
    clinic.rate(user, range(60, 70), seed=1)
    clinic.match(user)
    truth_I = np.array([clinic.opinion(i, seed=1) for i in range(160)])
    errors = np.abs(clinic.scores(user)[:, 0] - truth_I), np.abs(clinic.generic_IA[:, 0] - truth_I)
    assert errors[0].mean() < errors[1].mean()


def test_erased_users_are_no_experts(deployment: Deployment) -> None:
    user = deployment.add_user()
    register(deployment, user)
    with deployment.database.session() as session:
        erasures.erase(
            session, deployment.blobs, user, actor="a", erasures_url=deployment.settings.resolved_erasures_url
        )
    assert described(deployment) == []
