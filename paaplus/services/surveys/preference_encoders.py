"""Preference encoders: rows by survey and base model; the newest that is not retired is in force."""

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
    """Keep an encoder as the next version of its survey and base model; from now on it is in force.

    The same as the one in force again is the row that it has.

    Args:
        user_ids: users of this deployment among those whom it was learned from.

    Raises:
        InvalidInput: it is of another base model, or for other answers.
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
    """What encodes answers to this survey; None: nothing does."""
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
    """Nothing is encoded with this encoder any more; the one before is in force again.

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
    """Before a user is erased: encoders that were learned from them should be learned again without them."""
    seen = sa.select(PreferenceEncoderPersonRow.preference_encoder_id).where(
        PreferenceEncoderPersonRow.user_id == user_id
    )
    session.execute(
        sa.update(PreferenceEncoderRow)
        .where(PreferenceEncoderRow.id.in_(seen), PreferenceEncoderRow.stale_at.is_(None))
        .values(stale_at=utcnow())
    )


def list_encoders(session: Session, survey_id: UUID | None = None) -> list[PreferenceEncoderRow]:
    """Newest first; of one survey, or of all."""
    query = sa.select(PreferenceEncoderRow).order_by(PreferenceEncoderRow.id.desc())
    if survey_id is not None:
        query = query.where(PreferenceEncoderRow.survey_id == survey_id)
    return list(session.execute(query).scalars())


def load(row: PreferenceEncoderRow) -> PreferenceEncoder:
    """The encoder itself, from this process's memory after the first time.

    Raises:
        Unavailable: its bytes are not what was registered.
    """
    what = f"preference encoder {row.id}"
    return _loaded.get(row.digest, lambda: parsed(what, PreferenceEncoder.from_bytes, row.data, row.digest))
