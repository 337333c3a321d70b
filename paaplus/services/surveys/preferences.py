"""A user's preference: set by the application, or encoded from a survey; and the prior's shift that a survey gives.

A base model whose heads take a preference scores with it. The shift applies to every base model's taste prior.
Shape letters: F = values of a preference, Q = columns of answers, P = prior coordinates, A = aspects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_user
from paaplus.db.tables import (
    BaseModelRow,
    PreferenceEncoderRow,
    PreferenceRow,
    SurveyAnswersRow,
    SurveyRow,
    UserRow,
)
from paaplus.db.tables.users import DueReason
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import InvalidInput, NotFound
from paaplus.scoring.base_scorer import BaseScorer
from paaplus.scoring.preference import checked_preference
from paaplus.services import audit, scheduling
from paaplus.services.adapters import versions
from paaplus.services.registry import base_models
from paaplus.services.surveys import form_answers, forms, preference_encoders
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

MAX_VALUES = 64


@dataclass(frozen=True)
class Shift:
    """A user's survey as a shift of the taste prior's mean."""

    shift_PA: np.ndarray  # float32
    preference: list[float]
    encoder_id: UUID


def preference_of(session: Session, user_id: UUID) -> tuple[list[float], int] | None:
    """A user's preference and its version; None: there is none."""
    return preferences_of(session, [user_id]).get(user_id)


def preferences_of(session: Session, user_ids: Collection[UUID]) -> dict[UUID, tuple[list[float], int]]:
    """Preferences and their versions of those of the users who have one."""
    rows = session.execute(sa.select(PreferenceRow).where(PreferenceRow.user_id.in_(user_ids))).scalars()
    return {row.user_id: (row.preference, row.version) for row in rows}


def shift_of(session: Session, user: UserRow, base_row: BaseModelRow) -> Shift | None:
    """The shift that the user's survey gives to the prior of this base model; None: there is none.

    Answers about image pairs are left out, because they are comparisons in the user's log already.
    """
    row = session.get(PreferenceRow, user.id)
    encoder_row = (
        session.get(PreferenceEncoderRow, row.preference_encoder_id) if row and row.preference_encoder_id else None
    )
    if encoder_row is None or encoder_row.base_model_id != base_row.id:
        return None
    found = session.execute(_answers_in_force(encoder_row.survey_id).where(SurveyAnswersRow.user_id == user.id)).first()
    if found is None:
        return None
    answers_row, survey = found
    encoder, form = preference_encoders.load(encoder_row), forms.parse(survey.form)
    answers_Q = form_answers.encode(form, answers_row.answers)
    preference_F = encoder.encode(np.where(form_answers.pair_columns(form), np.nan, answers_Q))
    shift_PA = encoder.shift(preference_F)
    if not shift_PA.any():
        return None
    return Shift(shift_PA, preference_F.tolist(), encoder_row.id)


def read(session: Session, blobs: BlobStore, user_id: UUID, settings: Settings) -> tuple[PreferenceRow, int]:
    """A user's preference, and the number of values that the default base model takes; 0: it ignores preferences.

    Raises:
        NotFound: the user has no preference.
    """
    row = session.get(PreferenceRow, user_id)
    if row is None:
        raise NotFound(f"user {user_id} has no preference")
    base = _default_base(session, blobs, settings)
    return row, base.preference_dim if base is not None else 0


def give(
    session: Session,
    blobs: BlobStore,
    user_id: UUID,
    preference: Sequence[float],
    *,
    actor: str,
    settings: Settings,
) -> tuple[PreferenceRow, int]:
    """Set a user's preference; returns what `read` does.

    Raises:
        NotFound: no such user.
        InvalidInput: another number of values than the default base model takes, or a value outside 0-1.
    """
    base = _default_base(session, blobs, settings)
    dim = base.preference_dim if base is not None else 0
    if not 0 < len(preference) <= MAX_VALUES:
        raise InvalidInput(f"a preference of {len(preference)} values; 1 to {MAX_VALUES} are accepted")
    values = checked_preference(np.array(preference), dim or len(preference)).tolist()
    user = locked_user(session, user_id)
    row = _write(session, user, values, None)
    audit.record(session, actor=actor, action="preference_set", subject_id=user_id, details={"version": row.version})
    refresh_due(session, user, base)
    return row, dim


def forget(session: Session, blobs: BlobStore, user_id: UUID, *, actor: str, settings: Settings) -> None:
    """Delete a user's preference. Repeating it changes nothing.

    Raises:
        NotFound: no such user.
    """
    user = locked_user(session, user_id)
    row = session.get(PreferenceRow, user_id)
    if row is None:
        return
    session.delete(row)
    audit.record(session, actor=actor, action="preference_deleted", subject_id=user_id)
    refresh_due(session, user, _default_base(session, blobs, settings))


def encode_for(session: Session, blobs: BlobStore, user: UserRow, survey: SurveyRow, settings: Settings) -> None:
    """Encode a (locked) user's new answers as a preference, if the default base model has an encoder in force."""
    base_row = base_models.find_default(session, settings)
    if base_row is None:
        return
    encoder_row = preference_encoders.in_force(session, survey.id, base_row.id)
    found = session.execute(_answers_in_force(survey.id).where(SurveyAnswersRow.user_id == user.id)).first()
    if encoder_row is None or found is None:
        return
    answers_row, _ = found
    base = base_models.load(blobs, base_row)
    _encode(session, base, user, forms.parse(survey.form), answers_row, encoder_row)


def encode_everybody(session: Session, blobs: BlobStore, survey: SurveyRow, base_row: BaseModelRow) -> int:
    """Encode all users' answers again, after the encoder in force has changed; returns how many.

    Preferences that an application has set stay. If no encoder is in force, preferences that this survey's encoders
    made are deleted.
    """
    base, form = base_models.load(blobs, base_row), forms.parse(survey.form)
    encoder_row = preference_encoders.in_force(session, survey.id, base_row.id)
    of_survey = sa.select(PreferenceEncoderRow.id).where(
        PreferenceEncoderRow.survey_id == survey.id, PreferenceEncoderRow.base_model_id == base_row.id
    )
    rows = session.execute(_answers_in_force(survey.id).order_by(SurveyAnswersRow.user_id)).all()
    num_encoded = 0
    for answers_row, _ in rows:
        user = lock_user(session, answers_row.user_id)
        present = session.get(PreferenceRow, answers_row.user_id)
        if user is None or (present is not None and present.preference_encoder_id is None):
            continue
        if encoder_row is not None:
            _encode(session, base, user, form, answers_row, encoder_row)
            num_encoded += 1
        elif (
            present is not None
            and session.execute(of_survey.where(PreferenceEncoderRow.id == present.preference_encoder_id)).first()
        ):
            session.delete(present)
            refresh_due(session, user, base)
    return num_encoded


def refresh_due(session: Session, user: UserRow, base: BaseScorer | None) -> None:
    """After a preference has changed: make the user due if the active version was trained with another preference."""
    session.flush()
    active = versions.active(session, user.id)
    if base is None or active is None:
        return
    current = preference_of(session, user.id)
    if active.preference != (base.effective(current[0]) if current else None):
        scheduling.due_for(session, user, DueReason.NEW_PREFERENCE)


def _encode(
    session: Session,
    base: BaseScorer,
    user: UserRow,
    form: forms.Form,
    answers_row: SurveyAnswersRow,
    encoder_row: PreferenceEncoderRow,
) -> None:
    encoder = preference_encoders.load(encoder_row)
    values = encoder.encode(form_answers.encode(form, answers_row.answers)).tolist()
    _write(session, user, values, encoder_row.id)
    refresh_due(session, user, base)


def _write(session: Session, user: UserRow, values: list[float], encoder_id: UUID | None) -> PreferenceRow:
    """Write the user's preference; its version counts up if it changes."""
    row = session.get(PreferenceRow, user.id)
    if row is None:
        row = PreferenceRow(user_id=user.id, preference=values, version=1, preference_encoder_id=encoder_id)
        row.updated_at = utcnow()
        session.add(row)
    elif (row.preference, row.preference_encoder_id) != (values, encoder_id):
        row.version += 1
        row.preference, row.preference_encoder_id, row.updated_at = values, encoder_id, utcnow()
    session.flush()
    return row


def _answers_in_force(survey_id: UUID) -> sa.Select[SurveyAnswersRow, SurveyRow]:
    return (
        sa.select(SurveyAnswersRow, SurveyRow)
        .join(SurveyRow, SurveyRow.id == SurveyAnswersRow.survey_id)
        .where(SurveyAnswersRow.survey_id == survey_id, SurveyAnswersRow.superseded_at.is_(None))
    )


def _default_base(session: Session, blobs: BlobStore, settings: Settings) -> BaseScorer | None:
    row = base_models.find_default(session, settings)
    return base_models.load(blobs, row) if row is not None else None
