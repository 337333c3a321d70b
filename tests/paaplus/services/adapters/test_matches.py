"""Effects of a match on predictions, confidence and backups; and what is deleted when an expert is erased."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
import sqlalchemy as sa

from paaplus.chaos import invariants
from paaplus.db.engine import Database
from paaplus.db.tables import AdapterHistoryRow, AdapterRow, MatchExpertRow, MatchRow
from paaplus.db.tables.experts import MatchKind
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.models import AdapterState, PointerMove
from paaplus.db.tables.users import DueReason
from paaplus.errors import Unavailable
from paaplus.services import scheduling
from paaplus.services.adapters import matches
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.operations import backup, erasures
from paaplus.services.predictions.predict import Predictor
from paaplus.services.registry import taste_priors
from paaplus.services.users.keys import OPERATOR
from paaplus.settings import Settings
from tests.paaplus.services.experts.test_matching import PAIRS, Clinic
from tests.paaplus.services.registry.test_taste_priors import some_prior
from tests.support.factories import APPLICATION
from tests.support.receipts import keep_one


@pytest.fixture(scope="module")
def clinic_to_copy(sqlite_settings: Settings) -> Clinic:
    """Its experts are trained once for all tests of this file on SQLite."""
    return Clinic(Database(sqlite_settings.resolved_database_url), sqlite_settings)


@pytest.fixture
def clinic(database: Database, settings: Settings, database_kind: str, request: pytest.FixtureRequest) -> Clinic:
    matches._loaded.clear()
    if database_kind == "sqlite":
        made: Clinic = request.getfixturevalue("clinic_to_copy").copy_to(database, settings)
        return made
    return Clinic(database, settings)


def erase(clinic: Clinic, user_id: UUID) -> None:
    with clinic.database.session() as session:
        erasures.erase(
            session,
            clinic.blobs,
            user_id,
            actor="admin",
            erasures_url=clinic.settings.resolved_erasures_url,
        )
    clinic.database.scrub()


def predict(clinic: Clinic, name: str, *, with_confidence: bool = False) -> list:
    predictor = Predictor(clinic.database, clinic.blobs, clinic.settings)
    wanted = [(f"{APPLICATION}/{name}", image_id) for image_id in clinic.images[:5]]
    return predictor.answer(predictor.resolve(OPERATOR, wanted), with_confidence=with_confidence).items


@pytest.mark.parametrize("kind", list(MatchKind))
@pytest.mark.slow
def test_predictions_say_that_they_come_from_a_match(clinic: Clinic, kind: MatchKind) -> None:
    user = clinic.add_user()
    row = clinic.match(user, kind=kind)
    items = predict(clinic, "anna")
    assert {(item.source, item.source_reason) for item in items} == {("match", f"matched_{kind.value}")}
    assert {(item.adapter.number, item.adapter.match_id) for item in items} == {(0, row.id)}
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    items = predict(clinic, "anna")
    assert {(item.source, item.source_reason) for item in items} == {("adapter", "active_adapter")}


def test_confidence_knows_the_prior_of_a_match(clinic: Clinic) -> None:
    clinic.match(clinic.add_user(), kind=MatchKind.EXPERT)
    before = [item.confidence.score_sd["beauty"] for item in predict(clinic, "anna", with_confidence=True)]
    assert min(before) > 0
    ben = clinic.add_user("ben")
    clinic.compare(ben, PAIRS, seed=1)
    clinic.match(ben, kind=MatchKind.EXPERT)
    after = [item.confidence.score_sd["beauty"] for item in predict(clinic, "ben", with_confidence=True)]
    assert np.mean(after) < np.mean(before), "answers must reduce the uncertainty"


def test_a_damaged_prior_is_an_error(clinic: Clinic) -> None:
    row = clinic.match(clinic.add_user())
    file = Path(clinic.settings.resolved_storage_url.removeprefix("file://")) / row.prior_digest[:2] / row.prior_digest
    file.write_bytes(b"something else")
    matches._loaded.clear()
    with pytest.raises(Unavailable, match="damaged"):
        matches.load_prior(clinic.blobs, row.prior_digest)


def test_a_new_prior_does_not_concern_users_with_a_match(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    with clinic.database.session() as session:
        row = taste_priors.register(
            session, clinic.blobs, some_prior(), clinic.base_row, source="t", metrics={"num_people": 50}, actor="a"
        )
        scheduling.refresh_after_prior(session, clinic.base_row.id, row.id)
    assert clinic.user(user).due_reason != DueReason.NEW_PRIOR
    assert clinic.user(clinic.experts[0]).due_reason == DueReason.NEW_PRIOR


@pytest.mark.slow
def test_a_backup_holds_the_priors_of_matches(clinic: Clinic, tmp_path: Path) -> None:
    row = clinic.match(clinic.add_user())
    for image in clinic.images:
        with clinic.database.session() as session:
            session.merge(clinic.image_row(image)).sha256 = clinic.blobs.put(f"file of {image}".encode())
    backup.backup(clinic.database, clinic.blobs, tmp_path / "backup")
    assert list((tmp_path / "backup" / "blobs").rglob(row.prior_digest))


# --- erasing an expert


def test_an_erased_experts_model_is_not_served(clinic: Clinic) -> None:
    expert = clinic.experts[1]
    user = clinic.add_user()
    clinic.compare(user, PAIRS[:6], seed=1)
    row = clinic.match(user, kind=MatchKind.EXPERT, expert_ids=[expert])
    erase(clinic, expert)
    assert not clinic.blobs.exists(row.prior_digest)
    assert clinic.versions(user) == []
    np.testing.assert_array_equal(clinic.scores(user), clinic.generic_IA)
    with clinic.database.read_session() as session:
        now = matches.in_force(session, user)
        assert (now.stale_at is not None, now.prior_digest) == (True, None)
        assert matches.view(session, now, clinic.base_row.id).experts == []
    assert "erased" in clinic.history(user)[-1].reason
    assert clinic.history(user)[-1].details == {"from": 0, "to": None}
    assert clinic.user(user).due_reason == DueReason.NEW_MATCH
    clinic.work()
    (version,) = clinic.versions(user)
    assert (version.number, version.state) == (1, AdapterState.ACTIVE)
    assert clinic.adapter(version).uncertainty.prior_digest is None, "from the prior in force"
    assert clinic.match(user).kind == MatchKind.COMBINATION, "with the remaining expert"


def test_history_and_feedback_outlive_an_erased_experts_version(clinic: Clinic) -> None:
    """A later training, correction and pointer move belong to the user."""
    expert, user = clinic.experts[1], clinic.add_user()
    clinic.match(user, kind=MatchKind.EXPERT, expert_ids=[expert])
    receipt = keep_one(clinic.database, predict(clinic, "anna")[0])
    correction = {"ratings": {"beauty": 3.0}, "scale": {"min": 0, "max": 10}}
    clinic.post(NewEvent(0, user, "correction", FeedbackKind.CORRECTION, correction, receipt_id=receipt))
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    live = clinic.active(user)
    erase(clinic, expert)
    assert clinic.active(user).id == live.id
    assert [(v.number, v.parent_id) for v in clinic.versions(user)] == [(1, None)]
    acts = [(act.move, act.details["from"], act.details["to"]) for act in clinic.history(user)]
    assert acts == [(PointerMove.MATCHED, None, 0), (PointerMove.GATE_PROMOTED, 0, 1)]
    with clinic.database.read_session() as session:
        assert invariants.consistent_history(session).problems == []
        assert invariants.gapless_versions(session).problems == []
        assert invariants.one_lineage(session).problems == []
    clinic.work()
    assert clinic.versions(user)[-1].num_ratings > 15


def test_versions_of_a_combination_stay_and_the_next_training_needs_no_expert(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    clinic.rate(user, range(60, 80), seed=1)
    clinic.work()
    before, row = clinic.scores(user), clinic.match(user)
    digest = row.prior_digest
    erase(clinic, clinic.experts[0])
    assert not clinic.blobs.exists(digest)
    np.testing.assert_array_equal(clinic.scores(user), before)
    assert clinic.user(user).due_reason == DueReason.NEW_MATCH
    assert clinic.work() == 1
    last = clinic.versions(user)[-1]
    assert last.number == 2
    assert clinic.adapter(last).uncertainty.prior_digest is None
    assert clinic.work() == 0
    assert all(item.confidence is not None for item in predict(clinic, "anna", with_confidence=True))


def test_there_is_no_confidence_once_the_prior_is_deleted(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    erase(clinic, clinic.experts[0])
    items = predict(clinic, "anna", with_confidence=True)
    assert {(item.source, item.confidence) for item in items} == {("match", None)}


def test_nothing_of_an_erased_expert_is_found_anywhere(clinic: Clinic, database_kind: str) -> None:
    """Neither the expert's name nor the model's numbers, which every prior made from it contains."""
    expert = clinic.experts[2]
    with clinic.database.read_session() as session:
        [weights] = [
            clinic.adapter(row).weight_RA.tobytes()
            for row in session.execute(sa.select(AdapterRow).where(AdapterRow.user_id == expert)).scalars()
        ]
    users = [clinic.add_user(name) for name in ("anna", "ben")]
    clinic.match(users[0], kind=MatchKind.EXPERT, expert_ids=[expert])
    clinic.match(users[1])
    assert found(clinic, weights, database_kind), "the search must find the model before the erasure"
    erase(clinic, expert)
    assert not found(clinic, weights, database_kind)
    assert not found(clinic, b"Expert2", database_kind)
    with clinic.database.read_session() as session:
        assert session.execute(sa.select(MatchExpertRow).where(MatchExpertRow.expert_id == expert)).first() is None


def found(clinic: Clinic, canary: bytes, database_kind: str) -> bool:
    """Whether any file of the storage or of SQLite, or any row of PostgreSQL, contains the bytes."""
    files = [file for file in Path(clinic.settings.home).rglob("*") if file.is_file()]
    if database_kind == "sqlite":
        folder = Path(clinic.settings.database_url.removeprefix("sqlite:///")).parent
        files += [file for file in folder.glob("paaplus.db*") if file.is_file()]
    rows = b""
    if database_kind == "postgresql":
        with clinic.database.read_session() as session:
            rows += b"".join(session.execute(sa.select(AdapterRow.data)).scalars())
            texts = session.execute(sa.select(MatchRow.reason).union(sa.select(AdapterHistoryRow.reason))).scalars()
            rows += "".join(texts).encode()
    return canary in rows or any(canary in file.read_bytes() for file in files)


def test_an_unused_prior_is_deleted_with_its_last_user(clinic: Clinic) -> None:
    anna, ben = clinic.add_user("anna"), clinic.add_user("ben")
    digest = clinic.match(anna).prior_digest
    assert clinic.match(ben).prior_digest == digest
    erase(clinic, anna)
    assert clinic.blobs.exists(digest)
    erase(clinic, ben)
    assert not clinic.blobs.exists(digest)


def test_a_running_training_does_not_commit_after_an_expert_is_erased(clinic: Clinic) -> None:
    user = clinic.add_user()
    clinic.match(user)
    epoch = clinic.user(user).epoch
    erase(clinic, clinic.experts[0])
    assert clinic.user(user).epoch == epoch + 1
    assert [entry.move for entry in clinic.history(user)] == [PointerMove.MATCHED]
