"""Preference encoders, by survey and base model. The newest that is not retired is in force."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.tables import BaseModelRow, PreferenceEncoderPersonRow, PreferenceEncoderRow, SurveyRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.scoring.preference import PreferenceEncoder
from paaplus.services import audit
from paaplus.services.registry.artifacts import LoadedOnce, parsed
from paaplus.services.surveys import forms

NUM_KEPT: Final = 8

_loaded: LoadedOnce[PreferenceEncoder] = LoadedOnce(NUM_KEPT)


def register(
    session: Session,
    encoder: PreferenceEncoder,
    survey: SurveyRow,
    base_model: BaseModelRow,
    *,
    metrics: dict[str, Any],
    user_ids: Collection[UUID] = (),
    actor: str,
) -> PreferenceEncoderRow:
    """Store an encoder as the next version for its survey and base model, and put it in force.

    If it equals the one in force, that one's row is returned.

    Args:
        user_ids: users of this deployment whom it was learned from.

    Raises:
        InvalidInput: it is for another base model or another form.
    """
    if encoder.base_digest != base_model.digest:
        raise InvalidInput(f"a preference encoder of base {encoder.base_digest[:12]}, not of {base_model.digest[:12]}")
    if encoder.columns != tuple(forms.columns(forms.parse(survey.form))):
        raise InvalidInput(
            f"a preference encoder for other answers than those of survey {survey.name}@{survey.version}"
        )
    lock_name(session, f"preference_encoder:{survey.id}:{base_model.id}")
    known = in_force(session, survey.id, base_model.id)
    if known is not None and known.digest == encoder.digest:
        return known
    newest = session.execute(
        sa.select(sa.func.max(PreferenceEncoderRow.version)).where(
            PreferenceEncoderRow.survey_id == survey.id, PreferenceEncoderRow.base_model_id == base_model.id
        )
    )
    row = PreferenceEncoderRow(
        id=new_id(),
        survey_id=survey.id,
        base_model_id=base_model.id,
        version=(newest.scalar_one() or 0) + 1,
        digest=encoder.digest,
        data=encoder.to_bytes(),
        num_people=int(metrics["num_people"]),
        metrics=metrics,
        created_at=utcnow(),
    )
    session.add(row)
    session.flush()
    session.add_all(
        PreferenceEncoderPersonRow(preference_encoder_id=row.id, user_id=user_id) for user_id in sorted(user_ids)
    )
    audit.record(session, actor=actor, action="preference_encoder_registered", subject_id=row.id)
    return row


def in_force(session: Session, survey_id: UUID, base_model_id: UUID) -> PreferenceEncoderRow | None:
    """The encoder of answers to this survey; None: there is none."""
    return session.execute(
        sa.select(PreferenceEncoderRow)
        .where(
            PreferenceEncoderRow.survey_id == survey_id,
            PreferenceEncoderRow.base_model_id == base_model_id,
            PreferenceEncoderRow.retired_at.is_(None),
        )
        .order_by(PreferenceEncoderRow.version.desc())
        .limit(1)
    ).scalar_one_or_none()


def retire(
    session: Session, survey: SurveyRow, base_model_id: UUID, version: int, *, actor: str
) -> PreferenceEncoderRow:
    """Retire an encoder; the one before it is in force again.

    Raises:
        NotFound: there is no such version.
    """
    row = session.execute(
        sa.select(PreferenceEncoderRow).where(
            PreferenceEncoderRow.survey_id == survey.id,
            PreferenceEncoderRow.base_model_id == base_model_id,
            PreferenceEncoderRow.version == version,
        )
    ).scalar_one_or_none()
    if row is None:
        raise NotFound(f"survey {survey.name}@{survey.version} has no preference encoder version {version}")
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="preference_encoder_retired", subject_id=row.id)
    return row


def mark_stale(session: Session, user_id: UUID) -> None:
    """Mark encoders that were learned from a user who is about to be erased."""
    learned = sa.select(PreferenceEncoderPersonRow.preference_encoder_id).where(
        PreferenceEncoderPersonRow.user_id == user_id
    )
    session.execute(
        sa.update(PreferenceEncoderRow)
        .where(PreferenceEncoderRow.id.in_(learned), PreferenceEncoderRow.stale_at.is_(None))
        .values(stale_at=utcnow())
    )


def list_encoders(session: Session, survey_id: UUID | None = None) -> list[PreferenceEncoderRow]:
    """Encoders of one survey, or of all, newest first."""
    query = sa.select(PreferenceEncoderRow).order_by(PreferenceEncoderRow.id.desc())
    if survey_id is not None:
        query = query.where(PreferenceEncoderRow.survey_id == survey_id)
    return list(session.execute(query).scalars())


def load(row: PreferenceEncoderRow) -> PreferenceEncoder:
    """Load an encoder, cached in this process.

    Raises:
        Unavailable: its stored bytes are damaged.
    """
    what = f"preference encoder {row.id}"
    return _loaded.get(row.digest, lambda: parsed(what, PreferenceEncoder.from_bytes, row.data, row.digest))
