"""Users' answers to surveys. An answer about a pair of images is also a comparison in the user's feedback log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.tables import SurveyAnswersRow, SurveyRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, NotFound
from paaplus.ids import new_id
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.surveys import form_answers, forms, preferences, surveys
from paaplus.services.surveys.forms import Form
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

SOURCE: Final = "survey"  # `FeedbackRow.source` of a comparison


@dataclass(frozen=True, slots=True)
class Answered:
    """A user's answers after `answer`. `is_new`: they differ from the former answers."""

    row: SurveyAnswersRow
    survey: SurveyRow
    is_new: bool
    num_comparisons: int  # written to the feedback log by this call


def answer(
    session: Session,
    blobs: BlobStore,
    user_id: UUID,
    name: str,
    answers: Any,
    *,
    version: int | None = None,
    settings: Settings,
    max_per_day: int = 0,
) -> Answered:
    """Store a user's answers in place of the former ones. Repeating the same answers changes nothing.

    Changed answers about image pairs are appended to the feedback log; a withdrawn one becomes "cannot say". If a
    preference encoder is in force, it sets the user's preference.

    Args:
        answers: by item id, as JSON.
        version: of the survey; None: the newest.
        max_per_day: limit of new events of one user in 24 hours; 0: no limit.

    Raises:
        NotFound: no such user, or no such survey in the user's application.
        InvalidInput: answers that do not fit the form, or an aspect that no base model has any more.
        Conflict: the survey is retired.
        TooMany: the user has reached the daily limit of events.
    """
    user = locked_user(session, user_id)
    survey = surveys.get(session, user.application, name, version)
    if survey.retired_at is not None:
        raise Conflict(f"survey {name}@{survey.version} is retired and takes no answers")
    form = forms.parse(survey.form)
    checked = form_answers.check_answers(form, answers)
    former = _in_force(session, survey.id, user_id)
    if former is not None and former.answers == checked:
        return Answered(former, survey, False, 0)
    if former is not None:
        former.superseded_at = utcnow()
        session.flush()  # before the new row: the unique index allows one in force
    row = SurveyAnswersRow(id=new_id(), survey_id=survey.id, user_id=user_id, answers=checked, created_at=utcnow())
    session.add(row)
    session.flush()
    events = _comparisons(form, row, former.answers if former is not None else {})
    _append(session, user, events, settings, max_per_day)
    preferences.encode_for(session, blobs, user, survey, settings)
    return Answered(row, survey, True, len(events))


def answers_of(
    session: Session, user: UserRow, name: str, version: int | None = None
) -> tuple[SurveyAnswersRow, SurveyRow]:
    """A user's answers in force, to one version of a survey, or to the newest version that the user answered.

    Raises:
        NotFound: there are none.
    """
    query = (
        sa.select(SurveyAnswersRow, SurveyRow)
        .join(SurveyRow, SurveyRow.id == SurveyAnswersRow.survey_id)
        .where(SurveyAnswersRow.user_id == user.id, SurveyAnswersRow.superseded_at.is_(None), SurveyRow.name == name)
        .order_by(SurveyRow.version.desc())
        .limit(1)
    )
    if version is not None:
        query = query.where(SurveyRow.version == version)
    found = session.execute(query).first()
    if found is None:
        raise NotFound(f"user {user.id} has not answered survey {name!r}")
    answers_row, survey = found
    return answers_row, survey


def answers_to(session: Session, survey_id: UUID) -> list[SurveyAnswersRow]:
    """All users' answers in force, in order of user id."""
    query = (
        sa.select(SurveyAnswersRow)
        .where(SurveyAnswersRow.survey_id == survey_id, SurveyAnswersRow.superseded_at.is_(None))
        .order_by(SurveyAnswersRow.user_id)
    )
    return list(session.execute(query).scalars())


def count_answers(session: Session, survey_ids: Sequence[UUID]) -> dict[UUID, int]:
    """Numbers of users who have answered, by survey."""
    query = (
        sa.select(SurveyAnswersRow.survey_id, sa.func.count())
        .where(SurveyAnswersRow.survey_id.in_(survey_ids), SurveyAnswersRow.superseded_at.is_(None))
        .group_by(SurveyAnswersRow.survey_id)
    )
    return {survey_id: int(count) for survey_id, count in session.execute(query)}


def _in_force(session: Session, survey_id: UUID, user_id: UUID) -> SurveyAnswersRow | None:
    return session.execute(
        sa.select(SurveyAnswersRow).where(
            SurveyAnswersRow.survey_id == survey_id,
            SurveyAnswersRow.user_id == user_id,
            SurveyAnswersRow.superseded_at.is_(None),
        )
    ).scalar_one_or_none()


def _comparisons(form: Form, row: SurveyAnswersRow, former: dict[str, Any]) -> list[NewEvent]:
    """Comparison events of the answers about image pairs that have changed."""
    events: list[NewEvent] = []
    for item in form.pairs:
        before, now = former.get(item.id), row.answers.get(item.id)
        if before == now:
            continue
        events.append(
            NewEvent(
                index=len(events),
                user_id=row.user_id,
                event_id=f"survey:{row.id}:{item.id}",
                kind=FeedbackKind.COMPARISON,
                payload={"preference": {item.aspect: now or "cannot_say"}},
                image_id=item.first,
                other_image_id=item.second,
            )
        )
    return events


def _append(session: Session, user: UserRow, events: list[NewEvent], settings: Settings, max_per_day: int) -> None:
    if not events:
        return
    results = intake.append(
        session, user.application, events, source=SOURCE, settings=settings, max_per_day=max_per_day
    )
    for result in results:
        if result.error is not None:
            raise result.error
