"""Surveys: forms in immutable versions, by application and name."""

from __future__ import annotations

import re
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Session

from paaplus.db.locks import lock_name
from paaplus.db.tables import BaseModelRow, ImageRow, SurveyRow
from paaplus.db.types import utcnow
from paaplus.errors import InvalidInput, NotFound
from paaplus.ids import new_id
from paaplus.services import audit
from paaplus.services.names import check_application
from paaplus.services.surveys import forms
from paaplus.services.surveys.forms import Form
from paaplus.services.users.keys import Principal
from paaplus.texts import clean_name

MAX_DOMAIN: Final = 64


def create(
    session: Session, *, application: str, name: str, domain: str, form: Any, actor: str
) -> tuple[SurveyRow, bool]:
    """Create the next version of a survey; returns it and whether it is new. The newest form again makes no version.

    Args:
        domain: of the rated objects, e.g. "physique".
        form: as JSON, see `forms.Form`.

    Raises:
        InvalidInput: an invalid name or form, or a form with unknown aspects.
        NotFound: an image of a pair does not exist, or belongs to a single user.
    """
    check_application(application)
    check_name(name)
    domain = clean_name(domain, MAX_DOMAIN, "the domain")
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
    """Check the name of a survey.

    Raises:
        InvalidInput: not 1-64 letters, digits, dots, dashes or underscores.
    """
    if not re.fullmatch(forms.NAME_PATTERN, name):
        raise InvalidInput(f"survey name {name!r}: 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit")


def get(session: Session, application: str, name: str, version: int | None = None) -> SurveyRow:
    """One version of a survey; None: the newest.

    Raises:
        NotFound: the application has no survey of that name or version.
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
    """All versions of surveys that this principal may see, newest first, also retired ones."""
    query = sa.select(SurveyRow).order_by(SurveyRow.id.desc()).limit(limit)
    for wanted in (principal.application, application):
        if wanted is not None:
            query = query.where(SurveyRow.application == wanted)
    if before is not None:
        query = query.where(SurveyRow.id < before)
    return list(session.execute(query).scalars())


def retire(session: Session, application: str, name: str, version: int, *, actor: str) -> SurveyRow:
    """Retire a version: it takes no more answers; existing answers stay. Repeating it changes nothing.

    Raises:
        NotFound: there is no such version.
    """
    row = get(session, application, name, version)
    if row.retired_at is None:
        row.retired_at = utcnow()
        audit.record(session, actor=actor, action="survey_retired", subject_id=row.id)
    return row


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


def _check_pairs(session: Session, application: str, form: Form) -> None:
    """Check that images of pairs are shared: all users may see them, and no user's erasure deletes them."""
    wanted = {image_id for item in form.pairs for image_id in (item.first, item.second)}
    if not wanted:
        return
    existing = session.execute(
        sa.select(ImageRow.id).where(
            ImageRow.id.in_(wanted), ImageRow.application == application, ImageRow.owner_id.is_(None)
        )
    ).scalars()
    if missing := sorted(wanted - set(existing)):
        raise NotFound(f"image {missing[0]} does not exist in application {application!r}, or belongs to one user")
    known = session.execute(sa.select(BaseModelRow.aspects).where(BaseModelRow.retired_at.is_(None))).scalars()
    aspects = {aspect for names in known for aspect in names}
    if aspects and (unknown := sorted({item.aspect for item in form.pairs} - aspects)):
        raise InvalidInput(f"unknown aspect(s) {unknown}; known: {sorted(aspects)}")
