"""The export holds every row about its user, of every table, and no other user's."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.engine import Database
from paaplus.db.tables import (
    AdapterHistoryRow,
    AllowanceRow,
    Base,
    ExclusionRow,
    ExpertRow,
    ExposureRatingRow,
    FeedbackRow,
    ImageMapRow,
    MatchExpertRow,
    MatchRow,
    PreferenceEncoderPersonRow,
    PreferenceEncoderRow,
    PreferenceRow,
    PseudoLabelRow,
    QuizPairRow,
    QuizRow,
    ReviewBatchRow,
    ReviewRow,
    SurveyAnswersRow,
    SurveyRow,
    TastePriorPersonRow,
    TastePriorRow,
    ToolRevisionPersonRow,
    ToolRevisionRow,
    UserRow,
    WebhookRow,
)
from paaplus.db.tables.events import EventKind
from paaplus.db.tables.experts import ExpertForm, MatchKind
from paaplus.db.tables.governance import KeyScope
from paaplus.db.tables.models import PointerMove
from paaplus.db.tables.reviews import ReviewOrder, ReviewState
from paaplus.db.types import utcnow
from paaplus.errors import NotFound
from paaplus.ids import new_id, sha256_hex
from paaplus.services import events
from paaplus.services.operations import export
from paaplus.services.users import keys, sessions
from paaplus.storage.blobs import BlobStore
from tests.support.factories import (
    make_adapter,
    make_base_model,
    make_features,
    make_feedback,
    make_image,
    make_job,
    make_receipt,
    make_run,
    make_user,
)


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore((tmp_path / "blobs").as_uri())


DUE_AT = datetime(2026, 4, 5, 6, 7, tzinfo=UTC)


def fill(database: Database, blobs: BlobStore, name: str) -> UUID:
    """A user with at least one row in every table that can have one; `name` is in every text that the user controls."""
    with database.session() as session:
        base = make_base_model(session)
        user = make_user(session, external_id=name, next_due_at=DUE_AT, due_reason="interval")
        own = make_image(session, owner_id=user.id, name=f"{name}.jpg", sha256=blobs.put(name.encode()))
        make_features(session, image_id=own.id, extractor_digest=base.extractor_digest)
        session.add(
            ImageMapRow(image_id=own.id, tool=name, tool_version="1", data=b"", meaning=name, created_at=utcnow())
        )
        session.add(ExposureRatingRow(user_id=user.id, image_id=own.id, score=5.0, created_at=utcnow()))
        event = make_feedback(session, user, image_id=own.id, event_id=f"{name}-1")
        job = make_job(session, user_id=user.id)
        run = make_run(session, user_id=user.id, base_model_id=base.id, job_id=job.id)
        adapter = make_adapter(session, user, base_model_id=base.id, run_id=run.id, data=name.encode())
        make_receipt(session, user_id=user.id, image_id=own.id, base_model_id=base.id, adapter_id=adapter.id)
        common = {"user_id": user.id, "reason": name, "actor": "admin", "created_at": utcnow()}
        session.add(ExclusionRow(id=new_id(), first_sequence=1, last_sequence=1, excluded_epoch=1, **common))
        session.add(AdapterHistoryRow(id=new_id(), move=PointerMove.UNPINNED, details={}, **common))
        key = keys.create(session, name=name, scope=KeyScope.USER, user_id=user.id, actor="admin").row
        session.flush()
        session.flush()
        sessions.open_for(session, key.id)
        session.add(AllowanceRow(key_id=key.id, kind="request", tokens=1.0, updated_at=utcnow()))
        prior = TastePriorRow(
            id=new_id(),
            base_model_id=base.id,
            version=1,
            digest=sha256_hex(name.encode()),
            artifact_sha256=sha256_hex(b""),
            source="deployment",
            num_people=1,
            created_at=utcnow(),
        )
        session.add(prior)
        session.flush()
        session.add(TastePriorPersonRow(taste_prior_id=prior.id, user_id=user.id))
        session.add(
            WebhookRow(id=new_id(), url="https://x", secret=name, kinds=["job.failed"], failures=0, created_at=utcnow())
        )
        session.flush()
        events.write(session, EventKind.JOB_FAILED, user.id, {"kind": name})
        fill_matching(session, user, base.id, own.id, event.id)
        fill_reviews(session, user, own.id, event.id)
        fill_survey(session, user, base.id)
        return user.id


def fill_matching(session: Session, user: UserRow, base_id: UUID, image_id: UUID, feedback_id: int) -> None:
    """The user as an expert, a match with themselves, and a quiz that was finished."""
    now, name = utcnow(), user.external_id
    session.add(ExpertRow(user_id=user.id, name=name, domain=name, form=ExpertForm.POOLED, created_at=now))
    match = MatchRow(
        id=new_id(), user_id=user.id, base_model_id=base_id, kind=MatchKind.GENERIC, evidence={}, reason=name,
        high_water_sequence=1, created_at=now,
    )  # fmt: skip
    quiz = QuizRow(
        id=new_id(), user_id=user.id, base_model_id=base_id, max_pairs=4, finish_reason=name, created_at=now,
        finished_at=now,
    )  # fmt: skip
    session.add_all([match, quiz])
    session.flush()
    session.add(MatchExpertRow(match_id=match.id, expert_id=user.id, share=1.0))
    session.add(
        QuizPairRow(
            id=new_id(),
            quiz_id=quiz.id,
            position=1,
            first_image_id=image_id,
            second_image_id=image_id,
            expected_information=0.1,
            feedback_id=feedback_id,
            created_at=now,
            answered_at=now,
        )
    )


def fill_survey(session: Session, user: UserRow, base_id: UUID) -> None:
    """Answers to a survey, an encoder that was learned from them, and the preference that it made."""
    now, name = utcnow(), user.external_id
    survey = SurveyRow(
        id=new_id(), application=user.application, name=f"survey-{name}"[:64], version=1, domain="d",
        digest=sha256_hex(name.encode()), form={}, created_at=now,
    )  # fmt: skip
    session.add(survey)
    session.flush()
    encoder = PreferenceEncoderRow(
        id=new_id(), survey_id=survey.id, base_model_id=base_id, version=1, digest=sha256_hex(b""), data=b"",
        num_people=1, metrics={}, created_at=now,
    )  # fmt: skip
    answers = SurveyAnswersRow(
        id=new_id(), survey_id=survey.id, user_id=user.id, answers={"answer": name}, created_at=now
    )
    session.add_all([encoder, answers])
    session.flush()
    session.add(PreferenceEncoderPersonRow(preference_encoder_id=encoder.id, user_id=user.id))
    session.add(
        PreferenceRow(
            user_id=user.id, preference=[0.5, 0.75], version=1, preference_encoder_id=encoder.id, updated_at=now
        )
    )


def fill_reviews(session: Session, user: UserRow, image_id: UUID, feedback_id: int) -> None:
    """A label of the user's own image, a review that they did, and a revision that was learned from it."""
    now, name = utcnow(), user.external_id
    session.add(
        PseudoLabelRow(
            id=new_id(), image_id=image_id, tool="generic", tool_version="1", scores={name: 5.0},
            confidences={name: 0.5}, created_at=now,
        )
    )  # fmt: skip
    batch = ReviewBatchRow(
        id=new_id(), application=user.application, name="batch", tools=["generic"], order=ReviewOrder.VALUE, seed=0,
        actor="admin", created_at=now,
    )  # fmt: skip
    revision = ToolRevisionRow(
        id=new_id(), application=user.application, tool=name, tool_version="1", version=1, digest=sha256_hex(b""),
        data=b"", num_reviews=1, metrics={}, created_at=now,
    )  # fmt: skip
    session.add_all([batch, revision])
    session.flush()
    session.add(ToolRevisionPersonRow(tool_revision_id=revision.id, user_id=user.id))
    session.add(
        ReviewRow(
            id=new_id(),
            batch_id=batch.id,
            expert_id=user.id,
            image_id=image_id,
            position=0,
            expected_value=0.5,
            shown={"scores": {"beauty": 5.0}},
            answers={"scores": {"beauty": 6.0}, "events": [name]},
            state=ReviewState.DONE,
            feedback_id=feedback_id,
            created_at=now,
            decided_at=now,
        )
    )


def test_every_table_says_whose_its_rows_are() -> None:
    """A new table fails here until it is decided which of its rows an export holds."""
    assert set(export.ABOUT_A_USER) | export.ABOUT_NO_USER == set(Base.metadata.tables)
    assert not set(export.ABOUT_A_USER) & export.ABOUT_NO_USER
    refers = {table.name for table in Base.metadata.tables.values() for key in table.foreign_keys
              if key.column.table.name == "users"}  # fmt: skip
    assert refers <= set(export.ABOUT_A_USER)


def test_export_holds_every_row_of_the_user_and_none_of_another(database: Database, blobs: BlobStore) -> None:
    ada, bob = fill(database, blobs, "ada-canary"), fill(database, blobs, "bob-canary")
    with database.read_session() as session:
        tables = {user: export.read_tables(session, user) for user in (ada, bob)}
        total = {
            name: session.execute(sa.select(sa.func.count()).select_from(Base.metadata.tables[name])).scalar_one()
            for name in export.ABOUT_A_USER
        }
    empty = [name for name in export.ABOUT_A_USER if not (tables[ada][name] and tables[bob][name])]
    assert empty == [], "`fill` writes no row of these tables"
    assert {name: len(tables[ada][name]) + len(tables[bob][name]) for name in total} == total
    assert "bob-canary" not in json.dumps(tables[ada])
    for name, rows in tables[ada].items():
        columns = {column.name for column in Base.metadata.tables[name].columns}
        assert columns - set(rows[0]) == export.LEFT_OUT.get(name, frozenset()), name


def test_zip_holds_the_rows_as_json_and_the_pictures_as_files(database: Database, blobs: BlobStore) -> None:
    user_id = fill(database, blobs, "ada")
    file = io.BytesIO()
    export.write_zip(database, blobs, user_id, file)
    with zipfile.ZipFile(file) as archive:
        document = json.loads(archive.read("export.json"))
        [image] = document["tables"]["images"]
        assert archive.read(f"images/{image['id']}.jpg") == b"ada"
    assert base64.b64decode(document["tables"]["adapters"][0]["data"]) == b"ada"
    [user] = document["tables"]["users"]
    assert (user["next_due_at"], user["due_reason"]) == (DUE_AT.isoformat(), "interval")
    assert document["tables"]["feedback"][0]["payload"]["ratings"] == {"beauty": 5}
    assert document["unreadable_images"] == []


def test_events_have_the_ids_that_the_api_shows(database: Database, blobs: BlobStore) -> None:
    user_id = fill(database, blobs, "ada")
    with database.read_session() as session:
        tables = export.read_tables(session, user_id)
        event = session.execute(sa.select(FeedbackRow).where(FeedbackRow.user_id == user_id)).scalar_one()
    assert [row["id"] for row in tables["feedback"]] == [str(event.shown_id)]
    for name in ("reviews", "quiz_pairs"):
        assert {row["feedback_id"] for row in tables[name]} == {str(event.shown_id)}


def test_picture_that_is_gone_is_named_and_keeps_nothing_else_back(database: Database, blobs: BlobStore) -> None:
    user_id = fill(database, blobs, "ada")
    with database.read_session() as session:
        [image] = export.read_tables(session, user_id)["images"]
    blobs.delete(image["sha256"])
    file = io.BytesIO()
    export.write_zip(database, blobs, user_id, file)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["export.json"]
        document = json.loads(archive.read("export.json"))
    assert [entry["image"] for entry in document["unreadable_images"]] == [image["id"]]
    assert document["tables"]["feedback"]


def test_export_of_nobody_is_not_found(database: Database, blobs: BlobStore) -> None:
    with pytest.raises(NotFound):
        export.write_zip(database, blobs, new_id(), io.BytesIO())
