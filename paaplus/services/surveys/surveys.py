"""Surveys: forms by application and name in immutable versions, and what users answered.

An answer to a pair of images is a comparison in the user's feedback log as well, so that trainings learn from it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.tables import BaseModelRow, ImageRow, SurveyAnswersRow, SurveyRow, UserRow
from paaplus.db.tables.feedback import FeedbackKind
from paaplus.db.types import utcnow
from paaplus.db.users import locked_user
from paaplus.errors import Conflict, InvalidInput, NotFound, TooMany
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.feedback import intake
from paaplus.services.feedback.intake import NewEvent
from paaplus.services.names import check_application
from paaplus.services.surveys import forms, preferences
from paaplus.services.surveys.forms import Form
from paaplus.services.users.keys import Principal
from paaplus.settings import Settings
from paaplus.storage.blobs import BlobStore

SOURCE: Final = "survey"  # of the comparisons in the log
MAX_DOMAIN: Final = 64


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a user's answers. `is_new`: they differ from what was answered before."""

    row: SurveyAnswersRow
    survey: SurveyRow
    is_new: bool
    num_comparisons: int  # written to the feedback log by this call


def create(
    session: Session, *, application: str, name: str, domain: str, form: Any, actor: str
) -> tuple[SurveyRow, bool]:
    """The next version of a survey, and whether it is new: the newest version's form again is that version.

    Args:
        domain: of the objects that it is about, e.g. "physique".
        form: as JSON, see `forms.Form`.

    Raises:
        InvalidInput: a name that cannot be one, a form that is none, or one about unknown aspects.
        NotFound: an image of a pair does not exist, or belongs to a single user.
    """
    check_application(application)
    check_name(name)
    if not (0 < len(domain) <= MAX_DOMAIN and domain.isprintable()):
        raise InvalidInput(f"domain {domain!r}: 1 to {MAX_DOMAIN} printable characters")
    parsed = forms.parse(form)
    _check_pairs(session, application, parsed)
    lock_name(session, f"survey:{application}:{name}")
    newest = _newest(session, application, name)
    if newest is not None and (newest.digest, newest.domain, newest.retired_at) == (parsed.digest, domain, None):
        return newest, False
    row = SurveyRow(
        id=new_id(),
        application=application,
        name=name,
        version=newest.version + 1 if newest is not None else 1,
        domain=domain,
        digest=parsed.digest,
        form=parsed.to_dict(),
        created_at=utcnow(),
    )
    session.add(row)
    session.flush()
    audit.record(session, actor=actor, action="survey_created", subject_id=row.id)
    return row, True


def check_name(name: str) -> None:
    """Refuse what cannot name a survey.

    Raises:
        InvalidInput: not 1-64 letters, digits, dots, dashes or underscores.
    """
    if not re.fullmatch(forms.NAME_PATTERN, name):
        raise InvalidInput(f"survey name {name!r}: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")


def get(session: Session, application: str, name: str, version: int | None = None) -> SurveyRow:
    """One version of a survey; None: the newest.

    Raises:
        NotFound: the application has none of that name or version.
    """
    row = _newest(session, application, name, version)
    if row is None:
        wanted = name if version is None else f"{name}@{version}"
        raise NotFound(f"survey {wanted!r} of application {application!r} does not exist")
    return row


def list_surveys(
    session: Session,
    principal: Principal,
    *,
    application: str | None = None,
    limit: int = 100,
    before: UUID | None = None,
) -> list[SurveyRow]:
    """All versions that this principal may see, newest first, retired ones too."""
    query = sa.select(SurveyRow).order_by(SurveyRow.id.desc()).limit(limit)
    for wanted in (principal.application, application):
        if wanted is not None:
            query = query.where(SurveyRow.application == wanted)
    if before is not None:
        query = query.where(SurveyRow.id < before)
    return list(session.execute(query).scalars())


def retire(session: Session, application: str, name: str, version: int, *, actor: str) -> SurveyRow:
    """Nobody answers this version any more; answers stay. Doing it again changes nothing.

    Raises:
        NotFound: there is no such version.
    """
    row = get(session, application, name, version)
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="survey_retired", subject_id=row.id)
    return row


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
    """Keep a user's answers instead of what they answered before; the same answers again change nothing.

    What changed about pairs of images goes to the feedback log; one that is answered no more becomes "cannot say". If
    an encoder is in force, the user's preference is what it makes of the answers.

    Args:
        answers: by item id, as JSON.
        version: of the survey; None: the newest.
        max_per_day: new events of one user in 24 hours; 0: any number.

    Raises:
        NotFound: no such user, or no such survey for them.
        InvalidInput: answers that do not fit the form, or an aspect that no base model knows any more.
        Conflict: the survey is retired.
        TooMany: the user's log has had its share for now.
    """
    user = locked_user(session, user_id)
    survey = get(session, user.application, name, version)
    if survey.retired_at is not None:
        raise Conflict(f"survey {name}@{survey.version} is retired: nobody answers it any more")
    form = forms.parse(survey.form)
    checked = forms.check_answers(form, answers)
    former = _in_force(session, survey.id, user_id)
    if former is not None and former.answers == checked:
        return Answered(former, survey, False, 0)
    if former is not None:
        former.superseded_at = utcnow()
        session.flush()  # before the row that follows it: one is in force at any moment
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
    """A user's answers in force, to one version of a survey or to the newest that they answered.

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
    """Everybody's answers in force, in order of user."""
    query = (
        sa.select(SurveyAnswersRow)
        .where(SurveyAnswersRow.survey_id == survey_id, SurveyAnswersRow.superseded_at.is_(None))
        .order_by(SurveyAnswersRow.user_id)
    )
    return list(session.execute(query).scalars())


def count_answers(session: Session, survey_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many users have answered each survey."""
    query = (
        sa.select(SurveyAnswersRow.survey_id, sa.func.count())
        .where(SurveyAnswersRow.survey_id.in_(survey_ids), SurveyAnswersRow.superseded_at.is_(None))
        .group_by(SurveyAnswersRow.survey_id)
    )
    return {survey_id: int(count) for survey_id, count in session.execute(query)}


def _newest(session: Session, application: str, name: str, version: int | None = None) -> SurveyRow | None:
    query = (
        sa.select(SurveyRow)
        .where(SurveyRow.application == application, SurveyRow.name == name)
        .order_by(SurveyRow.version.desc())
        .limit(1)
    )
    if version is not None:
        query = query.where(SurveyRow.version == version)
    return session.execute(query).scalar_one_or_none()


def _in_force(session: Session, survey_id: UUID, user_id: UUID) -> SurveyAnswersRow | None:
    return session.execute(
        sa.select(SurveyAnswersRow).where(
            SurveyAnswersRow.survey_id == survey_id,
            SurveyAnswersRow.user_id == user_id,
            SurveyAnswersRow.superseded_at.is_(None),
        )
    ).scalar_one_or_none()


def _check_pairs(session: Session, application: str, form: Form) -> None:
    """Images of pairs are the application's own, so that everybody may see them and nobody's erasure takes them."""
    wanted = {image_id for item in form.pairs for image_id in (item.first, item.second)}
    if not wanted:
        return
    there = session.execute(
        sa.select(ImageRow.id).where(
            ImageRow.id.in_(wanted), ImageRow.application == application, ImageRow.owner_id.is_(None)
        )
    ).scalars()
    if missing := sorted(wanted - set(there)):
        raise NotFound(f"image {missing[0]} does not exist in application {application!r}, or belongs to one user")
    known = session.execute(sa.select(BaseModelRow.aspects).where(BaseModelRow.retired_at.is_(None))).scalars()
    aspects = {aspect for names in known for aspect in names}
    if aspects and (unknown := sorted({item.aspect for item in form.pairs} - aspects)):
        raise InvalidInput(f"unknown aspect(s) {unknown}; known: {sorted(aspects)}")


def _comparisons(form: Form, row: SurveyAnswersRow, former: dict[str, Any]) -> list[NewEvent]:
    """What these answers say of pairs of images, where they say other than before."""
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
        if result.retry_after_s is not None:
            raise TooMany(result.error_message or "", result.retry_after_s)
        if result.status == "rejected":
            raise (NotFound if result.error_code == NotFound.code else InvalidInput)(result.error_message)
