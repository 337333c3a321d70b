"""Matching: the chosen match is served as version 0, and trainings start from it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self
from uuid import UUID

import numpy as np
import pytest

from paaplus.chaos import invariants
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterRow, MatchRow
from paaplus.db.tables.experts import ExpertForm, MatchKind
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.jobs import RunOutcome
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.errors import Conflict, InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.scoring.adapters import adapter_from_bytes
from paaplus.services import scheduling
from paaplus.services.adapters import matches, rollbacks, versions
from paaplus.services.experts import experts, matching
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.operations import erasures
from paaplus.services.predictions.serving_store import ServingStore
from paaplus.services.registry import base_models
from paaplus.settings import Settings
from tests.support.databases import on_both_databases
from tests.support.deployment import Deployment
from tests.support.tiny import tiny_base


class Clinic(Deployment):
    """A deployment with three experts, simulated people of different taste, each with a trained model."""

    def __init__(self, database: Database, settings: Settings, *, num_experts: int = 3) -> None:
        super().__init__(database, settings)
        self.store = ServingStore(database, self.blobs, settings)
        self.experts = [self.add_expert(f"expert{i}", seed=i) for i in range(num_experts)]
        self.work()

    def copy_to(self, database: Database, settings: Settings) -> Self:
        other = super().copy_to(database, settings)
        other.store = ServingStore(database, other.blobs, settings)
        return other

    def add_expert(self, name: str, *, seed: int, form: ExpertForm = ExpertForm.POOLED) -> UUID:
        user = self.add_user(name)
        with self.database.session() as session:
            experts.register(session, user, name=name.title(), domain="posture", form=form, actor="admin")
        self.rate(user, range(60), seed=seed)
        return user

    def match(self, user_id: UUID, **options: Any) -> MatchRow:
        return matching.match(self.database, self.blobs, self.store, self.settings, user_id, actor="key:x", **options)

    def compare(self, user_id: UUID, pairs: list[tuple[int, int]], *, seed: int) -> None:
        """Post which of two images a person of this taste prefers."""
        events = []
        for index, (first, second) in enumerate(pairs):
            better = self.opinion(first, seed=seed) > self.opinion(second, seed=seed)
            events.append(
                NewEvent(
                    index=index,
                    user_id=user_id,
                    event_id=f"c{first}-{second}",
                    kind=FeedbackKind.COMPARISON,
                    payload={"preference": {"beauty": "first" if better else "second"}},
                    image_id=self.images[first],
                    other_image_id=self.images[second],
                )
            )
        self.post(*events)

    def history(self, user_id: UUID) -> list[Any]:
        """Oldest first."""
        with self.database.read_session() as session:
            return list(versions.history(session, user_id))[::-1]

    def adapter(self, version: AdapterRow) -> Any:
        with self.database.read_session() as session:
            return adapter_from_bytes(session.get_one(AdapterRow, version.id).data)


PAIRS = [(i, i + 1) for i in range(60, 100, 2)]


@pytest.fixture(scope="module")
def clinic_to_copy(sqlite_settings: Settings) -> Clinic:
    """Its experts are trained once for all tests of a file on SQLite."""
    return Clinic(Database(sqlite_settings.resolved_database_url), sqlite_settings)


@pytest.fixture
def clinic(database: Database, settings: Settings, database_kind: str, request: pytest.FixtureRequest) -> Clinic:
    matches._loaded.clear()
    if database_kind == "sqlite":
        made: Clinic = request.getfixturevalue("clinic_to_copy").copy_to(database, settings)
        return made
    return Clinic(database, settings)


def test_a_match_serves_what_was_selected_as_version_0(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS, seed=1)
    row = clinic.match(user)
    (version,) = clinic.versions(user)
    assert (version.number, version.state, version.strategy) == (0, AdapterState.ACTIVE, "match")
    assert (version.match_id, version.parent_id, version.run_id) == (row.id, None, None)
    assert row.high_water_sequence == version.high_water_sequence == len(PAIRS)
    assert sum(row.evidence["probabilities"].values()) == pytest.approx(1.0, abs=1e-5)
    generic_I = clinic.generic_IA[:, 0]
    truth_I = np.array([clinic.opinion(i, seed=1) for i in range(len(generic_I))])
    error = np.abs(clinic.scores(user)[:, 0] - truth_I).mean()
    assert error < np.abs(generic_I - truth_I).mean(), "the user's answers must improve the match"
    (move,) = clinic.history(user)
    assert (move.move, move.details["from"], move.details["to"]) == (PointerMove.MATCHED, None, 0)
    assert move.reason == row.reason


def test_the_same_match_again_changes_nothing(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS, seed=1)
    first, epoch = clinic.match(user), clinic.user(user).epoch
    assert clinic.match(user).id == first.id
    assert (len(clinic.versions(user)), len(clinic.history(user)), clinic.user(user).epoch) == (1, 1, epoch)


def test_more_answers_make_another_match_and_another_version(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS[:6], seed=1)
    first = clinic.match(user)
    before = clinic.scores(user)
    clinic.compare(user, PAIRS[6:], seed=1)
    second = clinic.match(user)
    versions = clinic.versions(user)
    assert [(v.number, v.state, v.match_id) for v in versions] == [
        (0, AdapterState.RETIRED, first.id),
        (1, AdapterState.ACTIVE, second.id),
    ]
    assert not np.array_equal(before, clinic.scores(user))
    with clinic.database.read_session() as session:
        assert matches.in_force(session, user).id == second.id
        assert session.get(MatchRow, first.id).superseded_at is not None
        assert invariants.one_effect_per_job(session).problems == []


def test_a_user_without_feedback_is_matched_by_prior_probability(clinic: Clinic) -> None:
    user = clinic.add_user()
    row = clinic.match(user)
    assert (row.evidence["num_ratings"], row.evidence["num_comparisons"], row.evidence["has_survey"]) == (0, 0, False)
    assert row.kind == MatchKind.COMBINATION
    assert row.evidence["probabilities"]["combination"] == pytest.approx(0.9)
    assert [v.number for v in clinic.versions(user)] == [0]


def test_without_experts_the_match_is_the_generic_model(database: Database, settings: Settings) -> None:
    clinic = Clinic(database, settings, num_experts=0)
    user = clinic.add_user()
    row = clinic.match(user)
    assert (row.kind, row.prior_digest) == (MatchKind.GENERIC, None)
    np.testing.assert_array_equal(clinic.scores(user), clinic.generic_IA)


def test_version_0_is_the_closed_form_of_trainable_feedback_alone(clinic: Clinic) -> None:
    """Held-out ratings are never trained on, not even by a match."""
    with_all, without = clinic.add_user("all"), clinic.add_user("less")
    clinic.rate(with_all, range(60, 90), seed=1)
    row = clinic.match(with_all)
    assert row.evidence["num_ratings"] < 30
    clinic.match(without)
    assert not np.array_equal(clinic.scores(with_all), clinic.scores(without))


def test_a_match_of_a_requested_kind(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.rate(user, range(60, 110), seed=2)
    alone = clinic.match(user, kind=MatchKind.EXPERT)
    assert alone.kind == MatchKind.EXPERT
    with clinic.database.read_session() as session:
        view = matches.view(session, alone, clinic.base_row.id)
    assert [(e.user_id, e.name, e.share, e.adapter_number) for e in view.experts] == [
        (clinic.experts[2], "Expert2", 1.0, 1)
    ]
    assert clinic.match(user, kind=MatchKind.GENERIC).prior_digest is None
    assert clinic.match(user, expert_ids=clinic.experts[:1], kind=MatchKind.EXPERT).evidence["num_experts"] == 1


def test_an_expert_who_cannot_be_matched_is_refused_and_nothing_changes(clinic: Clinic) -> None:
    user, untrained = clinic.add_user(), clinic.add_user("novice")
    with clinic.database.session() as session:
        experts.register(session, untrained, name="N", domain="d", form=ExpertForm.POOLED, actor="admin")
    for wanted in ([untrained], [new_id()], [user]):
        with pytest.raises(InvalidInput, match="no expert"):
            clinic.match(user, expert_ids=wanted)
    with clinic.database.session() as session:
        experts.set_retired(session, clinic.experts[0], True, actor="admin")
    with pytest.raises(InvalidInput, match="no expert"):
        clinic.match(user, expert_ids=clinic.experts)
    with pytest.raises(Conflict, match="is an expert"):
        clinic.match(clinic.experts[1])
    with pytest.raises(NotFound):
        clinic.match(new_id())
    assert clinic.versions(user) == []
    assert clinic.match(user).evidence["num_experts"] == 2


def test_a_pinned_user_gets_a_candidate(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    with clinic.database.session() as session:
        versions.pin(session, user, 0, actor="admin", reason="stay")
    clinic.compare(user, PAIRS, seed=1)
    clinic.match(user)
    assert [(v.number, v.state) for v in clinic.versions(user)] == [
        (0, AdapterState.ACTIVE),
        (1, AdapterState.CANDIDATE),
    ]
    last = clinic.history(user)[-1]
    assert last.reason.startswith("pinned: ")
    assert (last.details["from"], last.details["to"], last.details["made"]) == (0, 0, 1)


def test_a_user_with_trained_versions_keeps_them_and_the_next_training_starts_from_the_match(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    before = clinic.scores(user)
    row = clinic.match(user)
    assert clinic.user(user).due_reason == DueReason.NEW_MATCH
    np.testing.assert_array_equal(clinic.scores(user), before)
    assert clinic.work() == 1
    last = clinic.versions(user)[-1]
    assert (last.number, last.match_id, last.taste_prior_id) == (2, row.id, None)
    assert clinic.adapter(last).uncertainty.prior_digest == row.prior_digest
    assert clinic.runs(user)[-1].outcome != RunOutcome.NOTHING_NEW
    assert clinic.work() == 0, "once is enough"


def test_the_first_training_goes_on_from_version_0_under_the_same_prior(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS[:8], seed=1)
    row = clinic.match(user)
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    zero, one = clinic.versions(user)
    assert (one.number, one.parent_id, one.match_id) == (1, zero.id, row.id)
    assert clinic.adapter(one).uncertainty.prior_digest == row.prior_digest
    with clinic.database.session() as session:  # back to what the match served, bit for bit
        change = rollbacks.rollback(session, user, actor="admin", reason="worse")
    assert (change.from_number, change.to_number) == (1, 0)
    assert clinic.active(user).digest == zero.digest


def test_rollback_distinguishes_version_0_from_the_base_model(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS[:8], seed=1)
    clinic.match(user)
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    matched = clinic.versions(user)[0]
    for to, live in ((0, matched.digest), ("base", None)):
        with clinic.database.session() as session:
            change = rollbacks.rollback(session, user, to=to, feedback="keep", actor="admin", reason="r")
        assert change.to_number == (0 if to == 0 else None)
        now = clinic.active(user)
        assert (now.digest if now else None) == live
    np.testing.assert_array_equal(clinic.scores(user), clinic.generic_IA)


def test_a_retracted_answer_leaves_what_is_served(clinic: Clinic) -> None:
    user = clinic.add_user(min_new_feedback=30)
    clinic.compare(user, PAIRS, seed=1)
    clinic.match(user)
    clinic.retract(user, f"c{PAIRS[0][0]}-{PAIRS[0][1]}")
    assert clinic.queued_reason(user) == DueReason.TAKEN_BACK
    clinic.work()
    last = clinic.versions(user)[-1]
    assert (last.number, last.state, last.parent_id) == (1, AdapterState.ACTIVE, None)
    assert last.num_ratings == 0
    assert (
        clinic.adapter(last).uncertainty.prior_digest
        == clinic.adapter(clinic.versions(user)[0]).uncertainty.prior_digest
    )


@pytest.mark.slow
def test_gradient_strategies_start_at_the_match(clinic: Clinic) -> None:
    policy = {"adapter": "taste_vector", "strategy": "replay_ewc", "min_new_feedback": 2}
    plain, matched = clinic.add_user("plain", **policy), clinic.add_user("matched", **policy)
    clinic.match(matched, kind=MatchKind.EXPERT, expert_ids=clinic.experts[:1])
    for user in (plain, matched):
        clinic.rate(user, range(60, 64), seed=0)
    clinic.work()
    truth_I = np.array([clinic.opinion(i, seed=0) for i in range(len(clinic.generic_IA))])
    errors = {user: np.abs(clinic.scores(user)[:, 0] - truth_I).mean() for user in (plain, matched)}
    assert errors[matched] < 0.7 * errors[plain]
    last = clinic.versions(matched)[-1]
    assert (last.number, last.strategy, last.match_id is not None) == (1, "replay_ewc", True)
    clinic.match(matched, kind=MatchKind.EXPERT, expert_ids=clinic.experts[1:2])
    clinic.work()
    again = clinic.versions(matched)[-1]
    assert (again.number, again.match_id != last.match_id) == (2, True), (
        "another starting point must change the training"
    )
    assert clinic.runs(matched)[-1].from_sequence == 0


def test_a_running_training_does_not_commit_over_a_match(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS, seed=1)
    epoch = clinic.user(user).epoch
    clinic.match(user)
    assert clinic.user(user).epoch == epoch + 1
    clinic.work()
    assert all(v.match_id is not None for v in clinic.versions(user))


def test_an_experts_match_ends_when_they_become_one(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    with clinic.database.session() as session:
        experts.register(session, user, name="E", domain="d", form=ExpertForm.POOLED, actor="admin")
        assert matches.in_force(session, user) is None
        [described] = experts.describe(session, [experts.get(session, user)], clinic.base_row)
    assert described.not_matched_because == "their model is a match with others"
    clinic.rate(user, range(40), seed=3)
    clinic.work()
    assert clinic.adapter(clinic.versions(user)[-1]).uncertainty.prior_digest is None
    newcomer = clinic.add_user("newcomer")
    assert clinic.match(newcomer).evidence["num_experts"] == 4


# --- concurrency


@on_both_databases
def test_matches_at_once_are_one_match(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.compare(user, PAIRS, seed=1)
    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda _: clinic.match(user), range(4)))
    assert len({row.id for row in rows}) == 1
    assert [(v.number, v.state) for v in clinic.versions(user)] == [(0, AdapterState.ACTIVE)]


def test_a_match_while_its_expert_is_erased_leaves_nothing_of_them(clinic: Clinic) -> None:
    expert = clinic.experts[1]
    users = [clinic.add_user(f"user{i}") for i in range(6)]

    def matched(user: UUID) -> str | None:
        try:
            return clinic.match(user, expert_ids=[expert], kind=MatchKind.EXPERT).prior_digest
        except InvalidInput:  # erased before
            return None

    def erase() -> None:
        with clinic.database.session() as session:
            erasures.erase(session, clinic.blobs, expert, actor="a", erasures_url=clinic.settings.resolved_erasures_url)

    with ThreadPoolExecutor(4) as pool:
        first = [pool.submit(matched, user) for user in users[:2]]
        gone = pool.submit(erase)
        digests = {future.result() for future in [*first, *[pool.submit(matched, user) for user in users[2:]]]} - {None}
        gone.result()
    assert not [digest for digest in digests if clinic.blobs.exists(digest)]
    assert [clinic.versions(user) for user in users] == [[]] * len(users)
    with clinic.database.read_session() as session:
        for user in users:
            row = matches.in_force(session, user)
            assert row is None or (row.prior_digest is None and row.stale_at is not None)


# --- another base model


def test_a_match_counts_for_its_own_base_model_only(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.rate(user, range(60), seed=1)
    former = clinic.match(user)
    base = tiny_base(seed=1)
    with clinic.database.session() as session:
        row = base_models.register(session, clinic.blobs, base, {"extractor": "none"}, {})
        scheduling.refresh_after_base_model(session, row.id)
        assert matches.in_force(session, user, row.id) is None
        assert not matches.view(session, former, row.id).is_of_default_base
    clinic.work()
    last = clinic.versions(user)[-1]
    assert (last.base_model_id, last.match_id, last.number) == (row.id, None, 1)
    again = clinic.match(user)
    assert (again.base_model_id, again.id != former.id) == (row.id, True)
    assert len(clinic.versions(user)) == 2, "the trained version is kept until the next training"
    assert clinic.user(user).due_reason == DueReason.NEW_MATCH


def test_after_another_base_model_a_match_takes_the_next_number(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    with clinic.database.session() as session:
        base_models.register(session, clinic.blobs, tiny_base(seed=1), {"extractor": "none"}, {})
    row = clinic.match(user)
    assert [(v.number, v.state) for v in clinic.versions(user)] == [(0, AdapterState.RETIRED), (1, AdapterState.ACTIVE)]
    assert clinic.versions(user)[-1].match_id == row.id
