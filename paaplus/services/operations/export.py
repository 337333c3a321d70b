"""Export all data about one user as a zip file: the rows of every table, and the user's own images."""

from __future__ import annotations

import base64
import codecs
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import Enum
from tempfile import TemporaryFile
from typing import IO, Any, Final, cast
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session, aliased

from paaplus import pauses
from paaplus.db.engine import Database
from paaplus.db.tables import (
    AdapterHistoryRow,
    AdapterRow,
    AllowanceRow,
    ApiKeyRow,
    AuditRow,
    Base,
    BrowserSessionRow,
    DeliveryRow,
    DueRow,
    EventRow,
    ExclusionRow,
    ExpertRow,
    ExposureRatingRow,
    FeaturesRow,
    FeedbackRow,
    ImageMapRow,
    ImageRow,
    JobRow,
    MatchExpertRow,
    MatchRow,
    PredictionReceiptRow,
    PreferenceEncoderPersonRow,
    PreferenceRow,
    PseudoLabelRow,
    QuizPairRow,
    QuizRow,
    ReviewRow,
    RunRow,
    SurveyAnswersRow,
    TastePriorPersonRow,
    ToolRevisionPersonRow,
    UserRow,
)
from paaplus.db.tables.feedback import shown_id
from paaplus.db.types import utcnow
from paaplus.db.users import existing_user
from paaplus.errors import Damaged, NotFound
from paaplus.storage.blobs import BlobStore

FORMAT: Final = "paaplus-export-1"
DOCUMENT: Final = "export.json"
ROWS_AT_ONCE: Final = 200
_SUFFIXES: Final = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}


def _own_images(user_id: UUID) -> sa.Select[UUID]:
    return sa.select(ImageRow.id).where(ImageRow.owner_id == user_id)


def _own_keys(user_id: UUID) -> sa.Select[UUID]:
    return sa.select(ApiKeyRow.id).where(ApiKeyRow.user_id == user_id)


def _own_matches(user_id: UUID) -> sa.Select[UUID]:
    return sa.select(MatchRow.id).where(MatchRow.user_id == user_id)


def _audited(user_id: UUID) -> sa.ColumnElement[bool]:
    """SQL condition: audit entries about the user and the user's keys."""
    return sa.or_(AuditRow.subject_id == user_id, AuditRow.subject_id.in_(_own_keys(user_id)))


# By table: which rows are about a user. A test fails for a table that is in neither of these two.
ABOUT_A_USER: Final[Mapping[str, Callable[[UUID], sa.ColumnElement[bool]]]] = {
    "users": lambda user_id: UserRow.id == user_id,
    "due_times": lambda user_id: DueRow.user_id == user_id,
    "images": lambda user_id: ImageRow.owner_id == user_id,
    "features": lambda user_id: FeaturesRow.image_id.in_(_own_images(user_id)),
    "image_maps": lambda user_id: ImageMapRow.image_id.in_(_own_images(user_id)),
    "exposure_ratings": lambda user_id: ExposureRatingRow.user_id == user_id,
    "feedback": lambda user_id: FeedbackRow.user_id == user_id,
    "exclusions": lambda user_id: ExclusionRow.user_id == user_id,
    "prediction_receipts": lambda user_id: PredictionReceiptRow.user_id == user_id,
    "adapters": lambda user_id: AdapterRow.user_id == user_id,
    "adapter_history": lambda user_id: AdapterHistoryRow.user_id == user_id,
    "runs": lambda user_id: RunRow.user_id == user_id,
    "jobs": lambda user_id: JobRow.user_id == user_id,
    "events": lambda user_id: EventRow.user_id == user_id,
    "deliveries": lambda user_id: DeliveryRow.event_id.in_(sa.select(EventRow.id).where(EventRow.user_id == user_id)),
    "api_keys": lambda user_id: ApiKeyRow.user_id == user_id,
    "allowances": lambda user_id: AllowanceRow.key_id.in_(_own_keys(user_id)),
    "browser_sessions": lambda user_id: sa.or_(
        BrowserSessionRow.acting_user_id == user_id, BrowserSessionRow.key_id.in_(_own_keys(user_id))
    ),
    "taste_prior_people": lambda user_id: TastePriorPersonRow.user_id == user_id,
    "audit": _audited,
    "pseudo_labels": lambda user_id: PseudoLabelRow.image_id.in_(_own_images(user_id)),
    "reviews": lambda user_id: ReviewRow.expert_id == user_id,
    "tool_revision_people": lambda user_id: ToolRevisionPersonRow.user_id == user_id,
    "experts": lambda user_id: ExpertRow.user_id == user_id,
    "matches": lambda user_id: MatchRow.user_id == user_id,
    "match_experts": lambda user_id: MatchExpertRow.match_id.in_(_own_matches(user_id)),
    "quizzes": lambda user_id: QuizRow.user_id == user_id,
    "quiz_pairs": lambda user_id: QuizPairRow.quiz_id.in_(sa.select(QuizRow.id).where(QuizRow.user_id == user_id)),
    "survey_answers": lambda user_id: SurveyAnswersRow.user_id == user_id,
    "preferences": lambda user_id: PreferenceRow.user_id == user_id,
    "preference_encoder_people": lambda user_id: PreferenceEncoderPersonRow.user_id == user_id,
}
ABOUT_NO_USER: Final = frozenset(
    {
        "audit_head",
        "base_models",
        "idempotency",  # copies of answers, for a day
        "preference_encoders",
        "review_batches",
        "secrets",
        "serving_changes",  # which ids processes read anew, for some time
        "surveys",
        "taste_priors",
        "tool_revisions",
        "webhooks",
    }
)
# What is said of a row beside its own columns.
ADDED: Final[Mapping[str, tuple[Any, ...]]] = {"users": (UserRow.next_due_at, UserRow.due_reason)}
# The digest of a secret is not data about a person.
LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {
    "api_keys": frozenset({"key_sha256"}),
    "browser_sessions": frozenset({"secret_sha256", "previous_sha256", "form_token"}),
    "feedback": frozenset({"earlier_id", "event_key"}),  # the first is shown as `id`, the second follows from the rest
}


def write_zip(database: Database, blobs: BlobStore, user_id: UUID, file: IO[bytes]) -> None:
    """Write `export.json` and `images/` into a zip file, with all rows from one moment.

    Rows go to a temporary file one by one, so the memory does not grow with the user's data. An image whose file cannot
    be read is listed under `unreadable_images`.

    Raises:
        NotFound: no such user.
        Unavailable: the storage does not answer.
    """
    with TemporaryFile("w+", encoding="utf-8") as rows:
        with database.read_session() as session:
            existing_user(session, user_id)
            _write_tables(session, user_id, rows)
            images = session.execute(
                sa.select(ImageRow.id, ImageRow.sha256, ImageRow.media_type)
                .where(ImageRow.owner_id == user_id)
                .order_by(ImageRow.id)
            ).all()
        unreadable = []
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for image_id, sha256, media_type in images:
                pauses.pause()
                try:
                    data = blobs.get(sha256)
                except (Damaged, NotFound) as error:
                    unreadable.append({"image": str(image_id), "error": str(error)})
                    continue
                # Stored without compression, because images are compressed already.
                archive.writestr(f"images/{image_id}{_SUFFIXES[media_type]}", data, zipfile.ZIP_STORED)
            head = {"format": FORMAT, "user_id": str(user_id), "exported_at": utcnow().isoformat()}
            with archive.open(DOCUMENT, "w", force_zip64=True) as entry:
                document = codecs.getwriter("utf-8")(entry)
                document.write(json.dumps(head)[:-1] + ',\n"tables": ')
                rows.seek(0)
                shutil.copyfileobj(rows, document)
                document.write(f',\n"unreadable_images": {json.dumps(unreadable)}}}\n')


def _write_tables(session: Session, user_id: UUID, file: IO[str]) -> None:
    """Write all rows about the user as a JSON object of lists, by table."""
    opening = "{"
    for name, about in ABOUT_A_USER.items():
        file.write(f"{opening}{json.dumps(name)}: [")
        separator = "\n"
        pauses.pause()
        for row in _rows(session, Base.metadata.tables[name], about(user_id)):
            file.write(separator + json.dumps(row, ensure_ascii=False))
            separator = ",\n"
        file.write("]")
        opening = ",\n"
    file.write("}")


def read_tables(session: Session, user_id: UUID) -> dict[str, list[dict[str, Any]]]:
    """All rows about the user, by table, as JSON values: bytes in base64, times in ISO 8601.

    Raises:
        NotFound: no such user.
    """
    existing_user(session, user_id)
    return {
        name: list(_rows(session, Base.metadata.tables[name], about(user_id))) for name, about in ABOUT_A_USER.items()
    }


def _rows(session: Session, table: sa.Table, about: sa.ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    columns = [column for column in table.columns if column.name not in LEFT_OUT.get(table.name, frozenset())]
    told = [*columns, *ADDED.get(table.name, ())]
    query = sa.select(*told).where(about).order_by(*table.primary_key.columns)
    number_of_event = _number_of_event(table)
    if number_of_event is not None:  # clients know the event by another id
        event = aliased(FeedbackRow)
        query = query.join_from(table, event, event.id == number_of_event, isouter=True).add_columns(
            event.earlier_id, event.user_id, event.sequence, event.received_at
        )
    found = session.execute(query, execution_options={"yield_per": ROWS_AT_ONCE})
    for number, row in enumerate(found, 1):
        if number % ROWS_AT_ONCE == 0:
            pauses.pause()
        values = {column.key: _plain(value) for column, value in zip(told, row, strict=False)}
        if number_of_event is not None and values[number_of_event.name] is not None:
            values[number_of_event.name] = str(shown_id(*row[len(told) :]))
        yield values


def _number_of_event(table: sa.Table) -> sa.Column[Any] | None:
    """The column that has the database's own number of an event."""
    number = cast(sa.Column[Any], FeedbackRow.__table__.c.id)
    return next((c for c in table.columns if c is number or c.references(number)), None)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    return value.value if isinstance(value, Enum) else value
