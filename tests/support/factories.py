"""Rows for database tests: each builder adds one valid row, flushed, and any column can be given by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db import due_times
from paaplus.db.due_times import Due
from paaplus.db.event_keys import short_digest
from paaplus.db.tables import (
    AdapterRow,
    Base,
    BaseModelRow,
    FeaturesRow,
    FeedbackRow,
    ImageRow,
    JobRow,
    PredictionReceiptRow,
    RunRow,
    UserRow,
)
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.tables.jobs import JobKind, JobState, RunOutcome
from paaplus.db.tables.models import AdapterState
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.ids import new_id, sha256_hex
from paaplus.services.images.features import features_digest

APPLICATION = "test-app"

Row = TypeVar("Row", bound=Base)


def make_user(session: Session, **columns: Any) -> UserRow:
    """`next_due_at` and `due_reason` may be given too."""
    defaults = {"application": APPLICATION, "external_id": f"user-{new_id()}", "policy": {}, "created_at": utcnow()}
    due_at, reason = columns.pop("next_due_at", None), columns.pop("due_reason", None)
    user = _add(session, UserRow, defaults, columns)
    if due_at is not None or reason is not None:
        due_times.write(session, {user.id: Due(due_at, reason or DueReason.NEW_FEEDBACK)})
    return user


def make_image(session: Session, **columns: Any) -> ImageRow:
    return _add(session, ImageRow, _image(), columns)


def make_images(session: Session, digests: Iterable[str]) -> list[UUID]:
    """The ids of one image for each content digest, inserted together: many times faster than one by one."""
    rows = [{**_image(), "id": new_id(), "sha256": digest, "upload_sha256": digest} for digest in digests]
    if rows:
        session.execute(sa.insert(ImageRow), rows)
    return [row["id"] for row in rows]


def _image() -> dict[str, Any]:
    return {
        "application": APPLICATION,
        "sha256": _digest(),
        "upload_sha256": _digest(),
        "width_px": 64,
        "height_px": 48,
        "size_bytes": 1234,
        "media_type": "image/jpeg",
        "created_at": utcnow(),
    }


def make_base_model(session: Session, **columns: Any) -> BaseModelRow:
    defaults = {
        "name": f"model-{new_id()}",
        "version": 1,
        "digest": _digest(),
        "extractor_digest": _digest(),
        "artifact_sha256": _digest(),
        "aspects": ["beauty"],
        "feature_dim": 4,
        "config": {},
        "metrics": {},
        "created_at": utcnow(),
    }
    return _add(session, BaseModelRow, defaults, columns)


def make_features(session: Session, *, image_id: UUID, extractor_digest: str, **columns: Any) -> FeaturesRow:
    """The features of an image; `data` is float16 bytes, four zeros by default, with their digest."""
    defaults = {
        "image_id": image_id,
        "extractor_digest": extractor_digest,
        "data": bytes(2 * 4),
        "created_at": utcnow(),
    }
    data = columns.get("data", defaults["data"])
    defaults["sha256"] = features_digest(extractor_digest, image_id, data) if data is not None else None
    return _add(session, FeaturesRow, defaults, columns)


def make_feedback(session: Session, user: UserRow, *, image_id: UUID | None, **columns: Any) -> FeedbackRow:
    """The user's next event, a rating of 5 on a scale of 1 to 7 by default."""
    user.feedback_sequence += 1
    defaults = {
        "user_id": user.id,
        "sequence": user.feedback_sequence,
        "event_id": f"event-{new_id()}",
        "kind": FeedbackKind.RATING,
        "image_id": image_id,
        "payload": {"ratings": {"beauty": 5}, "scale": {"min": 1, "max": 7}},
        "body_digest": short_digest(_digest()),
        "source": "test",
        "received_at": utcnow(),
    }
    return _add(session, FeedbackRow, defaults, columns)


def make_job(session: Session, **columns: Any) -> JobRow:
    """A queued job; it stands for nothing unless `user_id` or `payload` say so."""
    now = utcnow()
    defaults = {
        "kind": JobKind.ADAPT,
        "lock_key": f"user:{new_id()}",
        "queue": "cpu",
        "state": JobState.QUEUED,
        "reason": "new_feedback",
        "payload": {},
        "max_attempts": 5,
        "run_after": now,
        "created_at": now,
    }
    return _add(session, JobRow, defaults, columns)


def make_run(session: Session, *, user_id: UUID, base_model_id: UUID, **columns: Any) -> RunRow:
    now = utcnow()
    defaults = {
        "user_id": user_id,
        "base_model_id": base_model_id,
        "strategy": "bayes",
        "config": {},
        "seed": 0,
        "from_sequence": 0,
        "to_sequence": 1,
        "num_new": 1,
        "num_held_out": 0,
        "device": "cpu",
        "outcome": RunOutcome.PROMOTED,
        "metrics": {},
        "timings": {},
        "started_at": now,
        "finished_at": now,
    }
    return _add(session, RunRow, defaults, columns)


def make_adapter(session: Session, user: UserRow, *, base_model_id: UUID, **columns: Any) -> AdapterRow:
    """The user's next version, active by default. Its bytes are no real adapter unless `data` is given."""
    user.adapter_sequence += 1
    defaults = {
        "user_id": user.id,
        "number": user.adapter_sequence,
        "base_model_id": base_model_id,
        "kind": "taste_vector",
        "strategy": "bayes",
        "digest": _digest(),
        "state": AdapterState.ACTIVE,
        "high_water_sequence": user.feedback_sequence,
        "epoch": user.epoch,
        "num_ratings": 1,
        "size_bytes": 4,
        "gate_report": {},
        "metrics": {},
        "data": b"data",
        "learner_state": b"state",
        "created_at": utcnow(),
    }
    return _add(session, AdapterRow, defaults, columns)


def make_receipt(
    session: Session, *, user_id: UUID, image_id: UUID, base_model_id: UUID, **columns: Any
) -> PredictionReceiptRow:
    defaults = {
        "user_id": user_id,
        "image_id": image_id,
        "base_model_id": base_model_id,
        "scores": {"beauty": 5.0},
        "created_at": utcnow(),
    }
    return _add(session, PredictionReceiptRow, defaults, columns)


def _add(session: Session, table: type[Row], defaults: dict[str, Any], columns: dict[str, Any]) -> Row:
    # An `id` for every table but features, whose key is what it is about, and feedback, whose events are numbered.
    key = {"id": new_id()} if isinstance(getattr(table.__table__.columns.get("id"), "type", None), sa.Uuid) else {}
    row = table(**{**key, **defaults, **columns})
    session.add(row)
    session.flush()
    return row


def _digest() -> str:
    """A SHA-256 of nothing in particular, never the same twice."""
    return sha256_hex(new_id().bytes)
